"""Intersection over union of one predicted and one true box (contract, section 1.5)."""

import numpy as np
import numpy.typing as npt

from evaluate.metrics.weighting import Floats, ratio


def iou(prediction: npt.ArrayLike, truth: npt.ArrayLike) -> Floats:
    """Return the intersection over the union of boxes (..., 4) x0, y0, x1, y1 in the same pixels, as (...).

    Areas are signed, as in the official script, so that a box upside down scores 0; 0 where the union is 0.
    """
    ours, theirs = np.asarray(prediction, np.float64), np.asarray(truth, np.float64)
    low, high = np.maximum(ours[..., :2], theirs[..., :2]), np.minimum(ours[..., 2:], theirs[..., 2:])
    intersection = np.maximum(high - low, 0.0).prod(axis=-1)
    union = _area(ours) + _area(theirs) - intersection
    return ratio(intersection, union, 0.0) + 0.0  # no negative zero


def _area(box: Floats) -> Floats:
    area: Floats = (box[..., 2:] - box[..., :2]).prod(axis=-1)
    return area
