"""Dice similarity coefficient and Hausdorff distance of one mask, per class (contract, section 1.5)."""

import math

import numpy as np
import numpy.typing as npt

from challenge.imaging.geometry import opencv_nearest

Labels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


def on_grid_of(prediction: Labels, truth: Labels) -> Labels:
    """Return `prediction` resized to the shape of `truth` as the official script does it (OpenCV's INTER_NEAREST)."""
    if prediction.shape == truth.shape:
        return prediction
    rows, columns = map(opencv_nearest, prediction.shape, truth.shape)
    return np.ascontiguousarray(prediction[rows[:, None], columns])


def dice(prediction: Labels, truth: Labels, num_classes: int) -> Floats:
    """Return 2|P and G| / (|P| + |G|) of the classes 0..num_classes-1, 1 where a class is empty in both.

    Both masks are (H, W) class indices on the same grid; the result is (num_classes,).
    """
    both = np.bincount(truth[prediction == truth], minlength=256)
    total = np.bincount(prediction.ravel(), minlength=256) + np.bincount(truth.ravel(), minlength=256)
    return np.asarray(np.divide(2.0 * both, total, out=np.ones(256), where=total > 0)[:num_classes])


def hausdorff(prediction: Labels, truth: Labels, num_classes: int) -> Floats:
    """Return the symmetric Hausdorff distance in pixels of the classes 0..num_classes-1.

    0 where a class is empty in both masks, the image's diagonal where it is empty in exactly one. Both masks are
    (H, W) class indices on the same grid; the result is (num_classes,).
    """
    return np.array([_hausdorff(prediction == index, truth == index) for index in range(num_classes)])


def diagonal(shape: tuple[int, ...]) -> float:
    """Return sqrt(height^2 + width^2) of a (height, width): the worst distance on that grid."""
    return math.hypot(*shape)


def _hausdorff(prediction: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> float:
    filled = prediction.any(), truth.any()
    if not all(filled):
        return diagonal(truth.shape) if any(filled) else 0.0
    if np.array_equal(prediction, truth):
        return 0.0
    import SimpleITK as sitk  # takes a second to import, and Dice does not need it

    window = _window(prediction, truth)
    images = [sitk.GetImageFromArray(mask[window].astype(np.uint8)) for mask in (prediction, truth)]
    distance = sitk.HausdorffDistanceImageFilter()
    distance.Execute(*images)
    return float(distance.GetHausdorffDistance())


def _window(prediction: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
    """A part of the image with the same Hausdorff distance, which is quicker to search.

    This is the smaller one of two boxes: around all pixels of both masks, or around all pixels *outside* either mask
    with a frame of one pixel. That frame lies in both masks, and is nearer than anything beyond it.
    """
    boxes = [_bounds(prediction | truth), _bounds(~(prediction & truth))]
    return min(boxes, key=lambda box: (box[0].stop - box[0].start) * (box[1].stop - box[1].start))


def _bounds(mask: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return slice(max(rows[0] - 1, 0), rows[-1] + 2), slice(max(columns[0] - 1, 0), columns[-1] + 2)
