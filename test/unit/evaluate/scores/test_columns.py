"""Which cases count in which column, per class and per point, on hand-made cases; intervals of small samples."""

import numpy as np
import pytest

from challenge.tasks import TaskKind, TaskSpec
from evaluate.metrics.bootstrap import group_weights
from evaluate.scores.aggregate import sample_kind, sample_task
from evaluate.scores.cases import BoxCase, Case, LabelCase, MaskCase, Outcome, PointsCase
from evaluate.scores.columns import task_notes, task_score
from evaluate.scores.metric_table import Column


def common(number: int, outcome: Outcome = Outcome.ANSWERED) -> dict[str, object]:
    return {
        "row": f"a.csv, line {number}",
        "image_path": f"../{number}.png",
        "task_id": "t",
        "group": f"g{number}",
        "outcome": outcome,
    }


def labels(*pairs: tuple[int, int | None], classes: int) -> list[Case]:
    """Cases of (true, predicted); None is a missing answer."""
    cases: list[Case] = []
    for number, (true, predicted) in enumerate(pairs):
        if predicted is None:
            cases.append(LabelCase(**common(number, Outcome.MISSING), true=true))
        else:
            probabilities = tuple(float(label == predicted) for label in range(classes))
            cases.append(LabelCase(**common(number), true=true, predicted=predicted, probabilities=probabilities))
    return cases


def test_official_f1_per_class_shifts_if_a_class_never_occurs() -> None:
    spec = TaskSpec("t", TaskKind.CLASSIFICATION, 4)
    cases = labels((0, 0), (2, 2), (3, 2), (3, 3), classes=4)
    f1 = {0: 1.0, 2: 2 / 3, 3: 2 / 3}
    official, strict = (task_score(spec, cases, column) for column in Column)
    assert official is not None
    assert strict is not None
    assert official.parts()["F1"].tolist() == pytest.approx([f1[0], f1[2], f1[3], 0.0])
    assert strict.parts()["F1"][[0, 2, 3]].tolist() == pytest.approx([f1[0], f1[2], f1[3]])
    assert np.isnan(strict.parts()["F1"][1])
    assert any("is in wrong columns" in note for note in task_notes(spec, cases))


def test_predicted_class_out_of_range_is_a_wrong_answer_and_noted() -> None:
    spec = TaskSpec("t", TaskKind.CLASSIFICATION, 2)
    cases = labels((0, 0), (1, 1), (1, 7), classes=2)
    score = task_score(spec, cases, Column.OFFICIAL)
    assert score is not None
    assert score.metrics()["Accuracy"] == pytest.approx(2 / 3)
    assert score.metrics()["F1_macro"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert any("outside 0..1: 7" in note for note in task_notes(spec, cases))


def test_missing_label_counts_as_a_wrong_class_with_probability_zero() -> None:
    spec = TaskSpec("t", TaskKind.CLASSIFICATION, 3)
    cases = labels((0, 0), (1, 1), (2, 2), (2, None), classes=3)
    official, strict = (task_score(spec, cases, column) for column in Column)
    assert official is not None
    assert strict is not None
    assert (official.rows, strict.rows) == ([0, 1, 2], [0, 1, 2, 3])
    assert official.metrics()["AUC"] == 1.0
    # The missing row's probabilities are a half, a half, 0. Classes 0 and 1 are still ranked first (1 against 0, 0
    # and a half); of class 2 the answered row beats both others, the missing one ties with them.
    assert strict.metrics()["AUC"] == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert strict.metrics()["Accuracy"] == 0.75


def test_missing_mask_and_box_count_as_worst() -> None:
    masks: list[Case] = [
        MaskCase(**common(0), dice=(1.0, 0.8), hausdorff=(0.0, 2.0), diagonal=50.0),
        MaskCase(**common(1, Outcome.MISSING), diagonal=50.0),
        MaskCase(**common(2, Outcome.NO_TRUTH)),
    ]
    spec = TaskSpec("t", TaskKind.SEGMENTATION, 2)
    score = task_score(spec, masks, Column.STRICT)
    assert score is not None
    assert {name: float(value) for name, value in score.metrics().items()} == {"DSC": 0.4, "HD": 26.0}
    assert score.parts()["HD"].tolist() == [25.0, 26.0]
    boxes: list[Case] = [BoxCase(**common(0), iou=0.5), BoxCase(**common(1, Outcome.MISSING))]
    score = task_score(TaskSpec("t", TaskKind.DETECTION, 1), boxes, Column.STRICT)
    assert score is not None
    assert score.metrics()["IoU"] == 0.25


def test_points_absent_from_the_truth_leave_the_strict_means() -> None:
    cases: list[Case] = [
        PointsCase(**common(0), errors=(2.0, 40.0), absent=(1,)),
        PointsCase(**common(1), errors=(4.0, 6.0)),
        PointsCase(**common(2), errors=(30.0, 50.0), absent=(0, 1)),
        PointsCase(**common(3, Outcome.MISSING), absent=(1,), diagonal=100.0),
    ]
    spec = TaskSpec("t", TaskKind.REGRESSION, 2)
    official, strict = (task_score(spec, cases, column) for column in Column)
    assert official is not None
    assert strict is not None
    assert official.metrics()["MRE"] == pytest.approx((21 + 5 + 40) / 3)
    assert strict.metrics()["MRE"] == pytest.approx((2 + 5 + 100) / 3)
    assert strict.parts()["MRE"].tolist() == pytest.approx([106 / 3, 6.0])
    assert "4 true points are missing" in task_notes(spec, cases)[-1]


def test_without_counted_rows_there_is_no_score() -> None:
    spec = TaskSpec("t", TaskKind.DETECTION, 1)
    cases: list[Case] = [BoxCase(**common(0, Outcome.MISSING)), BoxCase(**common(1, Outcome.NO_TRUTH))]
    assert task_score(spec, cases, Column.OFFICIAL) is None
    assert task_score(spec, cases, Column.STRICT) is not None


def test_draws_where_a_score_is_undefined_are_left_out() -> None:
    """Draws that happen to hold one class only must not pull MCC towards its 0 for "undefined"."""
    spec = TaskSpec("t", TaskKind.CLASSIFICATION, 3)
    cases = labels((0, 0), (1, 1), (2, 2), classes=3)
    weights = group_weights([case.group for case in cases], draws=300)
    sampled = sample_task(spec, cases, weights)["MCC", Column.OFFICIAL]
    assert sampled.value == 1.0
    assert np.isnan(sampled.draws).any()
    assert set(sampled.draws[~np.isnan(sampled.draws)]) == {1.0}


def test_a_single_group_has_no_interval() -> None:
    cases: list[Case] = [BoxCase(**{**common(n), "group": "same"}, iou=n / 4) for n in range(4)]
    weights = group_weights([case.group for case in cases], draws=50)
    estimate = sample_task(TaskSpec("t", TaskKind.DETECTION, 1), cases, weights)["IoU", Column.STRICT].estimate()
    assert (estimate.value, estimate.low, estimate.high) == (0.375, None, None)


def test_kind_is_the_plain_mean_over_its_tasks() -> None:
    few: list[Case] = [BoxCase(**common(0), iou=1.0), BoxCase(**common(1), iou=1.0)]
    many: list[Case] = [BoxCase(**common(n), iou=0.2) for n in range(10)]
    none: list[Case] = [BoxCase(**common(0, Outcome.MISSING))]
    spec = TaskSpec("t", TaskKind.DETECTION, 1)
    tasks = [sample_task(spec, cases, group_weights([c.group for c in cases], 20)) for cases in (few, many, none)]
    found = sample_kind(tasks)
    assert found["IoU", Column.OFFICIAL].value == pytest.approx(0.6)
    assert found["IoU", Column.STRICT].value == pytest.approx(0.4)
