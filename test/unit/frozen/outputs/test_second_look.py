"""A second look at what was found: where it looks, and how both looks are joined."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from challenge.imaging.geometry import Fit, Resize, Window
from challenge.imaging.resampling import Resampling
from challenge.predictions import BoxPrediction, MaskPrediction
from challenge.tasks import TaskKind, TaskSpec
from model.frozen.outputs.decode import answer
from model.frozen.outputs.postprocess import Postprocessing, SecondLook
from model.frozen.outputs.second_look import Crop, Look, window_of

TWICE = Postprocessing(second_look=SecondLook())
MASK = TaskSpec("mask", TaskKind.SEGMENTATION, 2)
CLASSES = TaskSpec("classes", TaskKind.SEGMENTATION, 4)
BOX = TaskSpec("box", TaskKind.DETECTION, 1)


def mask_logits(size, top, bottom, left, right, classes=2):
    """Logits of class 1 inside the rectangle and of background elsewhere."""
    logits = np.zeros((classes, size, size), np.float32)
    logits[0] = 4
    logits[1, top:bottom, left:right] = 8
    return logits


def box_output(*corners):
    return np.array([*corners, 1], np.float32).reshape(5, 1, 1)


def softmax(logits):
    odds = np.exp(np.asarray(logits, np.float64))
    return odds / odds.sum(axis=0)


def test_the_crop_is_larger_than_the_box_and_has_the_image_s_proportions():
    resize = Resize.of(200, 100, 64)
    raw = mask_logits(16, 6, 10, 2, 10)  # a quarter of the height, half of the width, centre (75, 50)
    assert window_of(raw, TaskKind.SEGMENTATION, resize, TWICE) == Window(0, 10, 160, 90)
    small = mask_logits(16, 6, 8, 11, 13)  # the least side decides; centre (150, 43.75) is too near to the right edge
    assert window_of(small, TaskKind.SEGMENTATION, resize, TWICE) == Window(80, 14, 200, 74)
    close = Postprocessing(second_look=SecondLook(zoom=2.0, least_side=0.1))
    assert window_of(small, TaskKind.SEGMENTATION, resize, close) == Window(125, 31, 175, 56)


def test_the_crop_around_a_box_is_that_of_its_native_corners():
    resize = Resize.of(200, 100, 64)
    around = Window(20, 20, 140, 80)
    assert window_of(box_output(0.3, 0.4, 0.5, 0.6), TaskKind.DETECTION, resize, TWICE) == around
    swapped = box_output(0.5, 0.6, 0.3, 0.4)
    assert window_of(swapped, TaskKind.DETECTION, resize, TWICE) == around


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 300), st.integers(1, 300), st.sampled_from(Fit),
    st.lists(st.integers(0, 15), min_size=4, max_size=4), st.floats(1, 3), st.floats(0.01, 1),
)  # fmt: skip
def test_the_crop_is_inside_the_image(width, height, fit, sides, zoom, least_side):
    resize = Resize.of(width, height, 64, fit)
    top, bottom, left, right = (*sorted(sides[:2]), *sorted(sides[2:]))
    raw = mask_logits(16, top, bottom + 1, left, right + 1)
    twice = Postprocessing(second_look=SecondLook(zoom, least_side))
    window = window_of(raw, TaskKind.SEGMENTATION, resize, twice)
    if window:
        assert 0 <= window.left < window.right <= width
        assert 0 <= window.top < window.bottom <= height


@pytest.mark.parametrize(
    ("raw", "look"),
    [
        (mask_logits(16, 0, 0, 0, 0), SecondLook()),  # nothing was found
        (mask_logits(16, 0, 10, 0, 10), SecondLook()),  # 1.6 of it is the whole image
        (mask_logits(16, 4, 8, 4, 8), None),
        (mask_logits(16, 4, 9, 4, 10), SecondLook(largest_area=0.1)),  # 30 of 256 cells
        (np.full((2, 16, 16), np.nan, np.float32), SecondLook()),
    ],
)
def test_no_second_look(raw, look):
    resize = Resize.of(200, 100, 64)
    assert window_of(raw, TaskKind.SEGMENTATION, resize, Postprocessing(second_look=look)) is None


def test_a_crop_has_no_second_look():
    resize = Resize.of(200, 100, 64, Fit.CROP)
    assert window_of(mask_logits(16, 4, 9, 4, 9), TaskKind.SEGMENTATION, resize, TWICE) is None


def test_an_area_just_small_enough_is_looked_at_again():
    resize, small = Resize.of(200, 100, 64), Postprocessing(second_look=SecondLook(largest_area=0.1))
    assert window_of(mask_logits(16, 4, 9, 4, 9), TaskKind.SEGMENTATION, resize, small)
    assert window_of(box_output(0, 0, 0.31, 0.31), TaskKind.DETECTION, resize, small)
    assert not window_of(box_output(0, 0, 0.33, 0.33), TaskKind.DETECTION, resize, small)


def test_the_mask_is_cleaned_before_it_says_where_to_look():
    raw = mask_logits(16, 6, 8, 6, 8)
    raw[1, 15, 15] = 8
    resize = Resize.of(160, 160, 64)
    one = Postprocessing(largest_component=True, second_look=SecondLook(least_side=0.1))
    assert window_of(raw, TaskKind.SEGMENTATION, resize, one) == Window(54, 54, 86, 86)


def test_the_crop_is_cut_at_native_resolution():
    image = np.zeros((100, 200, 3), np.uint8)
    image[20:30, 50:70] = 255
    crop = Crop.of(image, Window(50, 20, 70, 30), 64, Fit.STRETCH, Resampling.ANTIALIASED)
    assert crop.pixels.shape == (64, 64, 3)
    assert crop.pixels.min() == 255
    assert (crop.resize.width, crop.resize.height) == (20, 10)


@pytest.mark.parametrize("spec", [MASK, CLASSES])
@pytest.mark.parametrize("mask_resize", ["logits", "labels"])
def test_inside_the_class_has_the_largest_mean_probability_and_outside_the_first_look_decides(spec, mask_resize):
    rng = np.random.default_rng(1)
    shape = (spec.num_classes, 12, 12)
    first, second = (rng.normal(0, 3, shape).astype(np.float32) for _ in range(2))
    resize, window = Resize.of(12, 12, 12), Window(3, 2, 9, 10)
    there = Resize.of(6, 8, 12)
    look = Look(window, there, second)
    prediction, reason = answer(first, spec, resize, look=look, mask_resize=mask_resize)
    assert isinstance(prediction, MaskPrediction)
    assert reason is None
    expected = first.argmax(axis=0)
    whole = Window(0, 0, 6, 8)
    ((_, native),) = there.planes_to_native(list(second), whole)
    expected[2:10, 3:9] = (softmax(first[:, 2:10, 3:9]) + softmax(native)).argmax(axis=0)
    np.testing.assert_array_equal(prediction.labels, expected)
    alone = answer(first, spec, resize, mask_resize=mask_resize)[0].labels
    assert (prediction.labels != alone).any()


def test_a_confident_look_outvotes_a_doubtful_one():
    """The mean of the probabilities, not of the logits, where there are more than two classes."""
    first, second = (np.array(values, np.float32).reshape(3, 1, 1) for values in ([0, 1.5, 1.4], [9, 9, 0]))
    resize = Resize.of(1, 1, 1)
    spec = TaskSpec("classes", TaskKind.SEGMENTATION, 3)
    joined = answer(first, spec, resize, look=Look(Window(0, 0, 1, 1), resize, second))[0]
    assert joined.labels.tolist() == [[1]]


def test_structures_outside_the_crop_are_kept():
    first = mask_logits(64, 2, 6, 2, 6)
    first[:, 50:60, 50:60] = [[[0]], [[8]]]
    resize, window = Resize.of(64, 64, 64), Window(30, 30, 64, 64)
    nothing = np.zeros((2, 64, 64), np.float32)
    nothing[0] = 20
    joined = answer(first, MASK, resize, look=Look(window, Resize.of(34, 34, 64), nothing))[0].labels
    assert joined[2:6, 2:6].all()
    assert joined.sum() == 16


def test_the_joined_mask_is_cleaned():
    first, second = mask_logits(32, 4, 8, 4, 8), mask_logits(32, 8, 24, 8, 24)
    second[0, 12:16, 12:16], second[1, 12:16, 12:16] = 8, 0
    clean = Postprocessing(largest_component=True, fill_holes=True, second_look=SecondLook())
    look = Look(Window(16, 16, 32, 32), Resize.of(16, 16, 32), second * 3)
    joined = answer(first, MASK, Resize.of(32, 32, 32), look=look, postprocessing=clean)[0].labels
    assert joined[20:28, 20:28].all()
    assert not joined[:16, :16].any()


def test_the_joined_box_is_the_mean_of_both_in_native_pixels():
    resize, window = Resize.of(200, 100, 64), Window(20, 20, 140, 80)
    look = Look(window, Resize.of(120, 60, 64), box_output(0.25, 0.5, 0.75, 1))
    joined = answer(box_output(0.3, 0.4, 0.5, 0.6), BOX, resize, look=look)[0]
    assert isinstance(joined, BoxPrediction)
    np.testing.assert_allclose(joined.pixels, ((60 + 50) / 2, (40 + 50) / 2, (100 + 110) / 2, (60 + 80) / 2), rtol=1e-6)
    np.testing.assert_allclose(joined.normalized, np.array(joined.pixels) / (200, 100, 200, 100))


@pytest.mark.parametrize("wrong", [{"zoom": 0.9}, {"least_side": 0}, {"least_side": 1.1}, {"largest_area": 0}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="needs a zoom"):
        SecondLook(**wrong)
