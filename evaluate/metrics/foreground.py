"""UUSIC 2025's two scores of a binary mask (contract, section 2; the organisers' evaluation/metrics.py)."""

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]

_EPSILON = 1e-6


def foreground_dice(prediction: Mask, truth: Mask) -> float:
    """Return 2|P and G| / (|P| + |G| + 1e-6) of masks (H, W); 0 where both are empty."""
    return float(2 * np.count_nonzero(prediction & truth) / (prediction.sum() + truth.sum() + _EPSILON))


def surface_dice(prediction: Mask, truth: Mask) -> float:
    """Return the normalised surface Dice (NSD) of masks (H, W) at a tolerance of 1 pixel.

    This is the share of the pixels of both inner boundaries that lie within one pixel of the other boundary. As 1e-6
    is added to the denominator only, the score is 0 where both masks are empty or fill the image.
    """
    ours, theirs = inner_boundary(prediction), inner_boundary(truth)
    near = np.count_nonzero(ours & _within_one_pixel(theirs)) + np.count_nonzero(theirs & _within_one_pixel(ours))
    return float(near / (ours.sum() + theirs.sum() + _EPSILON))


def inner_boundary(mask: Mask) -> Mask:
    """Return the pixels of a mask with one of their four neighbours outside of it. The image's edge does not count.

    Source: scikit-image's `find_boundaries(mode="inner")`, which the organisers use.
    """
    return mask & _within_one_pixel(~mask)


def _within_one_pixel(mask: Mask) -> Mask:
    """The pixels at a Euclidean distance of at most 1: those of the mask and their four neighbours."""
    near = mask.copy()
    near[1:] |= mask[:-1]
    near[:-1] |= mask[1:]
    near[:, 1:] |= mask[:, :-1]
    near[:, :-1] |= mask[:, 1:]
    return near
