"""Risk-coverage and rank correlation against cases by hand."""

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from challenge.tasks import TaskKind
from evaluate.confidence.pages import picture, table
from evaluate.confidence.reading import Judged, error_of
from evaluate.confidence.risk import COVERAGES, KEPT, findings, rank_correlation, risk
from evaluate.scores.cases import BoxCase, LabelCase, MaskCase, Outcome, PointsCase

SURE = np.array([0.9, 0.8, 0.7, 0.6])


@pytest.mark.parametrize(
    ("errors", "coverage", "expected"),
    [([0, 0, 1, 1], 1.0, 0.5), ([0, 0, 1, 1], 0.5, 0), ([0, 0, 1, 1], 0.75, 1 / 3), ([1, 0, 0, 0], 0.25, 1),
     ([1, 0, 0, 0], 0.01, 1), ([0, 2, 0, 0], 0.3, 1)],
)  # fmt: skip
def test_the_risk_is_the_mean_error_of_the_surest(errors, coverage, expected):
    assert risk(SURE, np.array(errors, float), coverage) == pytest.approx(expected)


def test_the_order_of_equally_sure_answers_does_not_matter():
    sure, errors = np.array([0.9, 0.5, 0.5, 0.5]), np.array([0.0, 0.0, 0.0, 0.6])
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):
        assert risk(sure[order], errors[order], 0.5) == pytest.approx(0.1)


def test_rank_correlation_is_spearman_s():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 5, 40).astype(float), rng.normal(size=40)
    assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic)
    assert rank_correlation(SURE, SURE[::-1]) == -1
    assert math.isnan(rank_correlation(SURE, np.ones(4)))


def rows(task_id, kind, errors, spreads=None):
    """Rows of falling confidence, each in a group of its own."""
    return [
        Judged(task_id, kind, f"{task_id} {number}", error, 1 - number / 100, spreads and spreads[number])
        for number, error in enumerate(errors)
    ]


def test_findings_are_per_task_and_their_mean_per_kind():
    errors = np.linspace(0, 1, 10).tolist()
    judged = [
        *rows("a", TaskKind.SEGMENTATION, errors),
        *rows("b", TaskKind.SEGMENTATION, errors[::-1]),
        *rows("c", TaskKind.REGRESSION, errors, [float(number) for number in range(10, 0, -1)]),
    ]
    found = findings(judged, draws=50)
    assert [(one.task_id, one.measure) for one in found] == [
        ("a", "Soft Dice Confidence"), ("b", "Soft Dice Confidence"), (None, "Soft Dice Confidence"),
        ("c", "map's maximum"), (None, "map's maximum"), ("c", "map's spread"), (None, "map's spread"),
    ]  # fmt: skip
    assert [one.correlation.value for one in found] == pytest.approx([-1, 1, 0, -1, -1, 1, 1])
    a, b, mean = found[:3]
    assert dict(zip(KEPT, a.kept, strict=True)) == pytest.approx({1.0: 0.5, 0.8: 3.5 / 9, 0.5: 2 / 9})
    assert dict(zip(KEPT, mean.kept, strict=True))[0.5] == pytest.approx(0.5)
    np.testing.assert_allclose(mean.curve, (a.curve + b.curve) / 2)
    np.testing.assert_allclose(a.best, a.curve)
    assert (b.best <= b.curve + 1e-9).all()
    assert (a.curve[0], a.curve[-1]) == pytest.approx((0.0, 0.5))
    assert len(a.curve) == len(COVERAGES)
    assert mean.rows == 20


def test_the_interval_is_over_groups():
    rng = np.random.default_rng(0)
    judged = rows("a", TaskKind.CLASSIFICATION, (rng.random(30) < 0.3).astype(float).tolist())
    (alone, _) = findings(judged, draws=200)
    assert alone.correlation.low < alone.correlation.value < alone.correlation.high
    one_group = [Judged(row.task_id, row.kind, "g", row.error, row.confidence) for row in judged]
    assert findings(one_group, draws=20)[0].correlation.low is None


def test_the_table_and_the_picture_hold_what_was_found():
    judged = rows("a_task", TaskKind.REGRESSION, [1.0, 2.0, 4.0], [1.0, 2.0, 3.0])
    found = findings(judged, draws=20)
    text = table(found)
    assert "| regression | a_task | map's maximum | 3 | -1.00" in text
    assert "| regression | a_task | map's spread | 3 | -1.00" in text
    assert "2.3 px" in text
    assert "**mean**" in text
    assert picture(found, "a title").startswith(b"\x89PNG")


def test_errors_are_0_for_perfect_answers_and_leave_out_background_and_absent_points():
    about = {"row": "a, line 2", "image_path": "a", "task_id": "t", "group": "g", "outcome": Outcome.ANSWERED}
    assert error_of(MaskCase(**about, dice=(0.1, 1.0, 0.5))) == pytest.approx(0.25)
    assert error_of(LabelCase(**about, true=1, predicted=1)) == 0
    assert error_of(LabelCase(**about, true=1, predicted=0)) == 1
    assert error_of(BoxCase(**about, iou=0.75)) == 0.25
    assert error_of(PointsCase(**about, errors=(2.0, 99.0, 4.0), absent=(1,))) == 3
