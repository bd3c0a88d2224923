"""IoU and radial errors against hand-made cases and counted pixels; weighted means; the bootstrap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluate.metrics.bootstrap import group_weights, interval, p_value
from evaluate.metrics.detection import iou
from evaluate.metrics.regression import radial_errors
from evaluate.metrics.weighting import weighted_mean


@st.composite
def boxes(draw: st.DrawFn) -> tuple[int, int, int, int]:
    x0, y0 = draw(st.integers(0, 19)), draw(st.integers(0, 19))
    return x0, y0, x0 + draw(st.integers(1, 20)), y0 + draw(st.integers(1, 20))


@given(boxes(), boxes())
def test_iou_equals_counted_pixels(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> None:
    filled = np.zeros((2, 40, 40), bool)
    for plane, (x0, y0, x1, y1) in zip(filled, (first, second), strict=True):
        plane[y0:y1, x0:x1] = True
    expected = (filled[0] & filled[1]).sum() / (filled[0] | filled[1]).sum()
    assert iou(first, second) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        ((0, 0, 10, 10), 1.0),
        ((5, 0, 15, 10), 50 / 150),
        ((10, 0, 20, 10), 0.0),
        ((10, 10, 0, 0), 0.0),  # upside down: areas are signed, the intersection is empty
        ((10, 0, 0, 10), 0.0),
        ((3, 3, 3, 3), 0.0),
    ],
)
def test_iou_by_hand(prediction: tuple[int, int, int, int], expected: float) -> None:
    assert iou(prediction, (0, 0, 10, 10)) == pytest.approx(expected)


def test_iou_of_two_empty_boxes_is_zero() -> None:
    assert iou((3, 3, 3, 3), (3, 3, 3, 3)) == 0.0


def test_radial_errors_by_hand() -> None:
    found = radial_errors([[3, 4], [10, 10], [1, 1]], [[0, 0], [10, 12], [np.nan, np.nan]])
    assert found[:2].tolist() == [5.0, 2.0]
    assert np.isnan(found[2])


def test_weighted_mean_repeats_rows_and_is_undefined_without_any() -> None:
    found = weighted_mean([1.0, 2.0, 6.0], [[1, 1, 1], [0, 2, 1], [0, 0, 0]])
    assert found[:2].tolist() == [3.0, pytest.approx(10 / 3)]
    assert np.isnan(found[2])


def test_rows_of_a_group_are_drawn_together() -> None:
    weights = group_weights(["a", "b", "a", "c", "b"], draws=200)
    assert weights.shape == (200, 5)
    assert np.array_equal(weights[:, 0], weights[:, 2])
    assert np.array_equal(weights[:, 1], weights[:, 4])
    groups = weights[:, [0, 1, 3]]
    assert (groups.sum(axis=1) == 3).all()
    assert not np.array_equal(groups[:, 0], groups[:, 1])


def test_draws_are_the_same_each_time_and_depend_on_the_seed() -> None:
    groups = [str(index) for index in range(20)]
    assert np.array_equal(group_weights(groups, 50, seed=3), group_weights(groups, 50, seed=3))
    assert not np.array_equal(group_weights(groups, 50, seed=3), group_weights(groups, 50, seed=4))


def test_interval_of_a_mean_is_about_two_standard_errors_wide() -> None:
    values = np.random.default_rng(0).normal(5.0, 2.0, 400)
    weights = group_weights([str(index) for index in range(400)], draws=2000)
    found = interval(weighted_mean(values, weights))
    assert found is not None
    standard_error = values.std() / 20
    assert found[0] == pytest.approx(values.mean() - 1.96 * standard_error, abs=0.15 * standard_error)
    assert found[1] == pytest.approx(values.mean() + 1.96 * standard_error, abs=0.15 * standard_error)


def test_interval_leaves_undefined_draws_out_unless_they_are_the_majority() -> None:
    found = interval([1.0, 2.0, np.nan])
    assert found == pytest.approx((1.025, 1.975))
    assert interval([1.0, 2.0, np.nan, np.nan, np.nan]) is None
    assert interval([]) is None


def test_draws_without_spread_give_no_interval() -> None:
    assert interval([0.0, 0.0, 0.0]) is None


def test_the_p_value_is_twice_the_share_of_draws_beyond_zero() -> None:
    differences = np.concatenate([np.full(97, 0.1), np.full(2, -0.1)])
    assert p_value(differences) == pytest.approx(2 * 3 / 100)
    assert p_value(-differences) == pytest.approx(2 * 3 / 100)
    assert p_value(np.zeros(99)) == 1.0
    assert p_value([np.nan]) is None
