"""One prediction against its truth, by hand; and how a score is worded."""

import numpy as np
import pytest

from challenge.manifest import Row, Sample
from challenge.predictions import BlankMask, BoxPrediction, ClassPrediction, MaskPrediction, PointsPrediction
from challenge.tasks import TaskKind
from evaluate.scores.cases import BoxCase, LabelCase, MaskCase, Outcome, PointsCase
from evaluate.scores.metric_table import headline, metrics_of, part_text
from evaluate.scores.one_case import measure_foreground, measure_one


def sample(kind: TaskKind, **cells: str) -> Sample:
    return Sample("a.png", "t", kind, 2, Row("a.csv", 2), None, cells)


def mask(left: int, width: int = 8) -> np.ndarray:
    labels = np.zeros((6, width), np.uint8)
    labels[2:4, left : left + 2] = 1
    return labels


def test_masks_are_compared_on_the_grid_of_the_truth() -> None:
    found = measure_one(sample(TaskKind.SEGMENTATION), MaskPrediction(mask(3)), mask(2))
    assert isinstance(found, MaskCase)
    assert found.outcome is Outcome.ANSWERED
    assert found.dice == pytest.approx((84 / 88, 0.5))
    assert found.hausdorff[1] == 1.0
    assert found.diagonal == 10.0
    doubled = np.repeat(np.repeat(mask(2), 2, axis=0), 2, axis=1)
    again = measure_one(sample(TaskKind.SEGMENTATION), MaskPrediction(doubled), mask(2))
    assert isinstance(again, MaskCase)
    assert again.dice == (1.0, 1.0)


def test_a_blank_mask_is_a_mask_of_zeros() -> None:
    truth = sample(TaskKind.SEGMENTATION)
    assert measure_one(truth, BlankMask(8, 6), mask(2)) == measure_one(truth, MaskPrediction(mask(2) * 0), mask(2))


def test_the_foreground_counts_whatever_its_value() -> None:
    found = measure_foreground(sample(TaskKind.SEGMENTATION), mask(2) * 255, mask(2))
    assert found.dice == pytest.approx(1.0, abs=1e-6)
    assert found.nsd == pytest.approx(1.0, abs=1e-6)


def test_classes_boxes_and_points_are_compared_with_the_row() -> None:
    label = measure_one(sample(TaskKind.CLASSIFICATION, mask="1"), ClassPrediction((0.2, 0.8), 1))
    assert isinstance(label, LabelCase)
    assert (label.true, label.predicted, label.probabilities) == (1, 1, (0.2, 0.8))
    corners = dict(zip(("x_min", "y_min", "x_max", "y_max"), "0042", strict=True))
    box = measure_one(sample(TaskKind.DETECTION, **corners), BoxPrediction((2, 0, 6, 2), (0.2, 0, 0.6, 0.2)))
    assert isinstance(box, BoxCase)
    assert box.iou == pytest.approx(1 / 3)
    row = sample(TaskKind.REGRESSION, point_1_xy="[3, 4]")
    points = measure_one(row, PointsPrediction((3, 5, 3, 4), (0.3, 0.5, 0.3, 0.4)))
    assert isinstance(points, PointsCase)
    assert (points.errors, points.absent) == ((1.0, 5.0), (1,))  # a missing point is taken as (0, 0)


@pytest.mark.parametrize(
    ("kind", "prediction"),
    [
        (TaskKind.SEGMENTATION, MaskPrediction(mask(2))),
        (TaskKind.CLASSIFICATION, ClassPrediction((0.5, 0.5), 0)),
        (TaskKind.DETECTION, BoxPrediction((0, 0, 1, 1), (0, 0, 1, 1))),
    ],
)
def test_without_a_truth_nothing_is_measured(kind: TaskKind, prediction: MaskPrediction) -> None:
    assert measure_one(sample(kind), prediction).outcome is Outcome.NO_TRUTH


def test_another_number_of_points_is_an_error() -> None:
    with pytest.raises(ValueError, match="reshape"):
        measure_one(sample(TaskKind.REGRESSION, point_1_xy="[3, 4]"), PointsPrediction((1, 2), (0, 0)))


def test_scores_are_worded_in_one_place() -> None:
    dice, distance = metrics_of(TaskKind.SEGMENTATION)
    assert headline(TaskKind.SEGMENTATION) is dice
    assert (dice.text(0.85364), dice.brief(0.85364)) == ("0.8536", "0.854")
    assert (distance.text(12.348), distance.brief(12.348)) == ("12.35", "12.3 px")
    assert distance.brief(12.348, unit=False) == "12.3"
    assert distance.range_text(1.26, 2) == "1.3\u200a\u2013\u200a2.0"
    assert [part_text(name, 0.5) for name in ("DSC", "F1", "HD", "MRE")] == ["0.5000", "0.5000", "0.50", "0.50"]
    assert part_text("F1", None) == "n/a"
