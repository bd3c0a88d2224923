"""Means over points, rows and classes, on cases where mean and median differ."""

import numpy as np
import pytest

from challenge.tasks import TaskKind, TaskSpec
from evaluate.scores.cases import MaskCase, Outcome, PointsCase
from evaluate.scores.columns import task_score
from evaluate.scores.metric_table import Column


def common(number: int) -> dict[str, object]:
    return {
        "row": f"a.csv, line {number}",
        "image_path": f"../{number}.png",
        "task_id": "t",
        "group": f"g{number}",
        "outcome": Outcome.ANSWERED,
    }


@pytest.mark.parametrize("column", Column)
def test_the_radial_error_is_the_mean_over_the_points_and_then_over_the_rows(column: Column) -> None:
    cases = [
        PointsCase(**common(0), errors=(1.0, 2.0, 9.0)),
        PointsCase(**common(1), errors=(0.0, 0.0, 30.0)),
        PointsCase(**common(2), errors=(1.0, 1.0, 1.0)),
    ]
    score = task_score(TaskSpec("t", TaskKind.REGRESSION, 3), cases, column)
    assert score is not None
    assert score.metrics()["MRE"] == pytest.approx((4 + 10 + 1) / 3)
    assert score.parts()["MRE"].tolist() == pytest.approx([2 / 3, 1, 40 / 3])
    assert score.metrics(np.array([[1, 0, 3], [0, 2, 0]]))["MRE"].tolist() == pytest.approx([7 / 4, 10])


@pytest.mark.parametrize("column", Column)
def test_dice_and_distance_are_means_over_the_classes_without_background(column: Column) -> None:
    cases = [
        MaskCase(**common(0), dice=(1.0, 0.2, 0.3, 1.0), hausdorff=(99.0, 1.0, 2.0, 9.0)),
        MaskCase(**common(1), dice=(0.0, 0.5, 0.5, 0.5), hausdorff=(99.0, 8.0, 8.0, 8.0)),
    ]
    score = task_score(TaskSpec("t", TaskKind.SEGMENTATION, 4), cases, column)
    assert score is not None
    assert score.metrics()["DSC"] == pytest.approx((0.5 + 0.5) / 2)
    assert score.metrics()["HD"] == pytest.approx((4 + 8) / 2)
    assert score.parts()["DSC"].tolist() == pytest.approx([0.5, 0.35, 0.4, 0.75])
