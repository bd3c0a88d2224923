"""The one rule for numbers of more than 8 bits."""

import numpy as np
import pytest

from challenge.imaging.intensity import Stated, to_eight_bit

EIGHT = np.array([[13, 100, 209]], np.uint8)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 100, 255]], np.uint16), [0, 100, 255]),
        (np.array([[0, 300, 1023]], np.uint16), [0, 75, 255]),
        (np.array([[15, 16, 4095]], np.uint16), [0, 1, 255]),
        (np.array([[63, 64, 16383]], np.uint16), [0, 1, 255]),
        (np.array([[256, 257, 65535]], np.uint16), [0, 1, 255]),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64, np.uint32, np.float32, np.float64])
def test_the_smallest_range_that_holds_the_largest_number(values, expected, dtype):
    pixels, _ = to_eight_bit(values.astype(dtype))
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, [expected])


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.float32])
def test_a_guessed_range_is_noted_and_a_full_range_is_not(dtype):
    assert to_eight_bit(EIGHT.astype(dtype))[1]
    assert to_eight_bit(EIGHT) == (pytest.approx(EIGHT), ())
    assert to_eight_bit(EIGHT.astype(np.uint16) * 257) == (pytest.approx(EIGHT), ())


def test_a_stated_range_is_used_unless_the_numbers_are_far_below_it():
    values = np.array([[0, 160, 900]], np.uint16)
    assert to_eight_bit(values, Stated(maximum=4095)) == (pytest.approx(values // 16), ())
    pixels, notes = to_eight_bit(EIGHT.astype(np.uint16), Stated(maximum=4095))
    np.testing.assert_array_equal(pixels, EIGHT)
    assert notes == ("numbers up to 209 of 4095: scaled from 0..255",)
    values = np.array([[0, 500, 1000]], np.uint16)
    assert to_eight_bit(values, Stated(maximum=1000)) == (pytest.approx(np.array([[0, 128, 255]])), ())


def test_a_window_is_used_if_enough_numbers_are_inside():
    values = np.array([[0, 100, 300, 500, 4000]], np.uint16)
    pixels, notes = to_eight_bit(values, Stated(window=(100, 610)))
    np.testing.assert_array_equal(pixels, [[0, 0, 100, 200, 255]])
    assert notes == ()
    for useless in ((5000, 6000), (-9000, -1), (0, 4_000_000), (7, 7)):
        pixels, notes = to_eight_bit(values, Stated(window=useless))
        np.testing.assert_array_equal(pixels, values // 16)
        assert "window" in notes[0]


def test_padding_and_nan_become_black_and_are_ignored():
    values = np.array([[-32768, 16, 3344]], np.int16)
    np.testing.assert_array_equal(to_eight_bit(values, Stated(padding=(-32768, -32768)))[0], [[0, 1, 209]])
    np.testing.assert_array_equal(to_eight_bit(values, Stated(padding=(-32768, 20)))[0], [[0, 0, 209]])
    floats = np.array([[np.nan, np.inf, -np.inf, 100, 209]], np.float32)
    np.testing.assert_array_equal(to_eight_bit(floats)[0], [[0, 0, 0, 100, 209]])
    pixels, notes = to_eight_bit(values, Stated(padding=(-32768, 32767)))
    assert not pixels.any()
    assert notes


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[-5, 0, 5]], np.int32), [0, 128, 255]),
        (np.array([[0, 1, 2]], np.uint16), [0, 128, 255]),
        (np.array([[1e6, 2e6, 3e6]]), [0, 128, 255]),
        (np.array([[10.25, 20.25, 30.25]]), [0, 128, 255]),
        (np.array([[0.0, 0.2, 0.5]]), [0, 51, 128]),
        (np.array([[0.0, 0.01, 0.02]]), [0, 128, 255]),
        (np.array([[-128, -1, 127]], np.int8), [0, 127, 255]),
        (np.array([[3.5, 3.5]]), [0, 0]),
    ],
)
def test_other_numbers(values, expected):
    pixels, notes = to_eight_bit(values)
    np.testing.assert_array_equal(pixels, [expected])
    assert notes


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_a_bright_mark_that_makes_everything_else_black_is_noted(dtype):
    values = np.random.default_rng(0).integers(0, 4096, (100, 100)).astype(dtype)
    values[:3, :20] = 65535
    assert "nearly black: few numbers are as large as 65535" in to_eight_bit(values)[1]
    values[:10, :20] = 65535
    assert "nearly black" not in str(to_eight_bit(values)[1])
