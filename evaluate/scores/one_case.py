"""One prediction and its truth -> the row's case. Scores, pictures and training measure a prediction here."""

import numpy as np
import numpy.typing as npt

from challenge.manifest import Sample
from challenge.predictions import (
    BlankMask,
    BoxPrediction,
    ClassPrediction,
    MaskPrediction,
    PointsPrediction,
    Prediction,
)
from challenge.targets import box, label, points
from evaluate.metrics.detection import iou
from evaluate.metrics.foreground import foreground_dice, surface_dice
from evaluate.metrics.regression import radial_errors
from evaluate.metrics.segmentation import diagonal, dice, hausdorff, on_grid_of
from evaluate.scores.cases import BoxCase, Case, ForegroundCase, LabelCase, MaskCase, Outcome, PointsCase

Labels = npt.NDArray[np.uint8]
MaskScores = tuple[tuple[float, ...], tuple[float, ...]]
"""Dice and Hausdorff distance (pixels) of the classes 0..K-1."""


def measure_one(sample: Sample, prediction: Prediction, true_mask: Labels | None = None) -> Case:
    """Compare a prediction with the truth of its row, which must be of the same kind.

    `true_mask` (H, W) holds class indices; only masks need it. Labels, and boxes and points in native pixels, are
    read from the row. The outcome is NO_TRUTH if the row has no label or no box, or if a mask has no `true_mask`.
    Raises ManifestError for a malformed cell, ValueError for another number of points than the row asks for.
    """
    match prediction:
        case MaskPrediction(labels):
            return measure_mask(sample, labels, true_mask)
        case BlankMask(width, height):
            return measure_mask(sample, np.zeros((height, width), np.uint8), true_mask)
        case ClassPrediction():
            return _measure_label(sample, prediction)
        case BoxPrediction():
            return _measure_box(sample, prediction)
        case PointsPrediction():
            return _measure_points(sample, prediction)


def measure_mask(sample: Sample, labels: Labels, truth: Labels | None) -> MaskCase:
    """Compare a mask with the true one; both are (H, W) class indices. `labels` is resized to the grid of `truth`."""
    if truth is None:
        return MaskCase.of(sample, Outcome.NO_TRUTH, "there is no true mask")
    found, distances = mask_scores(labels, truth, sample.num_classes)
    return MaskCase.of(sample, Outcome.ANSWERED, dice=found, hausdorff=distances, diagonal=diagonal(truth.shape))


def mask_scores(labels: Labels, truth: Labels, num_classes: int) -> MaskScores:
    """Return Dice and Hausdorff distance of each class; `labels` is resized to the grid of `truth`."""
    resized = on_grid_of(labels, truth)
    found = dice(resized, truth, num_classes), hausdorff(resized, truth, num_classes)
    return tuple(found[0].tolist()), tuple(found[1].tolist())


def measure_foreground(sample: Sample, labels: Labels, truth: Labels) -> ForegroundCase:
    """Compare the foreground of two masks as UUSIC does; `labels` is resized to the grid of `truth`."""
    ours, theirs = on_grid_of(labels, truth) > 0, truth > 0
    return ForegroundCase.of(
        sample, Outcome.ANSWERED, dice=foreground_dice(ours, theirs), nsd=surface_dice(ours, theirs)
    )


def absent_points(sample: Sample) -> tuple[int, ...]:
    """Return the indices of the row's missing true points. Raises ManifestError for a malformed cell."""
    return tuple(index for index, point in enumerate(points(sample)) if point is None)


def _measure_label(sample: Sample, answer: ClassPrediction) -> LabelCase:
    true = label(sample)
    if true is None:
        return LabelCase.of(sample, Outcome.NO_TRUTH, "the row has no label")
    return LabelCase.of(
        sample, Outcome.ANSWERED, true=true, predicted=answer.predicted_class, probabilities=answer.probabilities
    )


def _measure_box(sample: Sample, answer: BoxPrediction) -> BoxCase:
    true = box(sample)
    if true is None:
        return BoxCase.of(sample, Outcome.NO_TRUTH, "the row has no box")
    return BoxCase.of(sample, Outcome.ANSWERED, iou=float(iou(answer.pixels, true)))


def _measure_points(sample: Sample, answer: PointsPrediction) -> PointsCase:
    # The official script takes a missing true point as (0, 0).
    true = [point or (0.0, 0.0) for point in points(sample)]
    errors = radial_errors(np.reshape(answer.pixels, (len(true), 2)), true)
    return PointsCase.of(sample, Outcome.ANSWERED, errors=tuple(errors.tolist()), absent=absent_points(sample))
