"""Dice and Hausdorff distance against hand-made masks, SimpleITK on whole images, brute force and OpenCV."""

import math

import cv2
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.metrics import f1_score

from evaluate.metrics.segmentation import diagonal, dice, hausdorff, on_grid_of


def square(shape: tuple[int, int], top: int, left: int, size: int, label: int = 1) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[top : top + size, left : left + size] = label
    return mask


def official_hausdorff(prediction: np.ndarray, truth: np.ndarray) -> float:
    """The official formula on the whole image."""
    if not prediction.any() and not truth.any():
        return 0.0
    if not prediction.any() or not truth.any():
        return math.sqrt(truth.shape[0] ** 2 + truth.shape[1] ** 2)
    distance = sitk.HausdorffDistanceImageFilter()
    distance.Execute(*(sitk.GetImageFromArray(mask.astype(np.uint8) * 255) for mask in (prediction, truth)))
    return distance.GetHausdorffDistance()


def brute_force_hausdorff(prediction: np.ndarray, truth: np.ndarray) -> float:
    distances = cdist(np.argwhere(prediction), np.argwhere(truth))
    return max(distances.min(axis=0).max(), distances.min(axis=1).max())


@st.composite
def masks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    """Two label maps on one grid: rectangles anywhere (at the border, nested, far apart, none) and some dots."""
    height, width, classes = draw(st.integers(1, 40)), draw(st.integers(1, 40)), draw(st.integers(2, 4))

    def one() -> np.ndarray:
        labels = np.zeros((height, width), np.uint8)
        for _ in range(draw(st.integers(0, 4))):
            top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
            tall, wide = draw(st.integers(1, height)), draw(st.integers(1, width))
            labels[top : top + tall, left : left + wide] = draw(st.integers(0, classes - 1))
        return labels

    return one(), one(), classes


def test_hand_made_squares() -> None:
    truth, prediction = square((30, 40), 5, 5, 10), square((30, 40), 5, 9, 10)
    assert dice(prediction, truth, 2)[1] == pytest.approx(2 * 60 / 200)
    assert hausdorff(prediction, truth, 2)[1] == 4.0
    corner = square((30, 40), 8, 9, 10)
    assert hausdorff(corner, truth, 2)[1] == pytest.approx(5.0)  # 3 down, 4 right


def test_class_that_is_empty_in_both_is_perfect() -> None:
    mask = square((20, 20), 2, 2, 5)
    assert dice(mask, mask, 3).tolist() == [1.0, 1.0, 1.0]
    assert hausdorff(mask, mask, 3).tolist() == [0.0, 0.0, 0.0]


def test_class_that_is_empty_in_one_is_worst() -> None:
    empty, mask = np.zeros((30, 40), np.uint8), square((30, 40), 2, 2, 5)
    for pair in ((empty, mask), (mask, empty)):
        assert dice(*pair, 2)[1] == 0.0
        assert hausdorff(*pair, 2)[1] == diagonal((30, 40)) == 50.0


def test_labels_beyond_the_last_class_belong_to_no_class() -> None:
    truth, prediction = square((20, 20), 2, 2, 6), square((20, 20), 2, 2, 6, label=9)
    assert dice(prediction, truth, 2)[1] == 0.0
    assert hausdorff(prediction, truth, 2)[1] == diagonal((20, 20))


@settings(deadline=None, max_examples=60)
@given(masks())
def test_hausdorff_equals_simpleitk_on_the_whole_image_and_brute_force(
    pair: tuple[np.ndarray, np.ndarray, int],
) -> None:
    prediction, truth, classes = pair
    found = hausdorff(prediction, truth, classes)
    for label in range(classes):
        ours, theirs = prediction == label, truth == label
        assert found[label] == pytest.approx(official_hausdorff(ours, theirs), abs=1e-9)
        if ours.any() and theirs.any():
            assert found[label] == pytest.approx(brute_force_hausdorff(ours, theirs), abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(masks())
def test_dice_equals_the_f1_score_of_the_pixels(pair: tuple[np.ndarray, np.ndarray, int]) -> None:
    prediction, truth, classes = pair
    labels = list(range(classes))
    theirs = f1_score(truth.ravel(), prediction.ravel(), labels=labels, average=None, zero_division=1.0)
    assert dice(prediction, truth, classes) == pytest.approx(theirs, abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(masks())
def test_metrics_are_symmetric_and_perfect_only_for_the_truth(pair: tuple[np.ndarray, np.ndarray, int]) -> None:
    prediction, truth, classes = pair
    assert dice(prediction, truth, classes).tolist() == dice(truth, prediction, classes).tolist()
    assert hausdorff(prediction, truth, classes) == pytest.approx(hausdorff(truth, prediction, classes))
    assert dice(truth, truth, classes).tolist() == [1.0] * classes
    assert hausdorff(truth, truth, classes).tolist() == [0.0] * classes


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 300), st.integers(1, 300))
def test_resize_equals_opencv_nearest(height: int, width: int, new_height: int, new_width: int) -> None:
    rng = np.random.default_rng(height * width)
    source = rng.integers(0, 255, (height, width), np.uint8)
    expected = cv2.resize(source, (new_width, new_height), interpolation=cv2.INTER_NEAREST)
    assert np.array_equal(on_grid_of(source, np.zeros((new_height, new_width), np.uint8)), expected)


def test_resize_takes_the_pixel_before_if_the_product_is_too_small() -> None:
    """Pixel 49 of 98 lies on 1.0 of 2 source pixels; in floating point, and so officially, just below."""
    resized = on_grid_of(np.array([[7, 9]], np.uint8), np.zeros((1, 98), np.uint8))
    assert resized[0, 48:51].tolist() == [7, 7, 9]
    assert np.array_equal(resized, cv2.resize(np.array([[7, 9]], np.uint8), (98, 1), interpolation=cv2.INTER_NEAREST))
