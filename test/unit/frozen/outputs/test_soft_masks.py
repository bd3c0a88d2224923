"""Probabilities of masks: those of the resized logits, joined like the labels, and of the same arg max."""

import numpy as np
import pytest

from challenge.imaging.geometry import Fit, Resize, Window
from challenge.tasks import TaskKind, TaskSpec
from model.frozen.outputs.decode import answer
from model.frozen.outputs.postprocess import Postprocessing
from model.frozen.outputs.second_look import Look
from model.frozen.outputs.soft_masks import follow, soft_mask


def logits(classes, seed=0, size=8):
    return np.random.default_rng(seed).normal(scale=2, size=(classes, size, size)).astype(np.float32)


def labels_of(soft):
    """The arg max, and where it is clear in spite of the rounding."""
    whole = np.concatenate([1 - soft.sum(axis=0, keepdims=True, dtype=np.float32), soft])
    first, second = np.sort(whole, axis=0)[[-1, -2]]
    return whole.argmax(axis=0), first - second > 0.01


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("fit", Fit)
def test_a_grid_of_the_image_s_size_gives_the_softmax(classes, fit):
    raw = logits(classes)
    soft = soft_mask(raw, Resize.of(8, 8, 8, fit))
    expected = np.exp(raw) / np.exp(raw).sum(axis=0)
    assert (soft.dtype, soft.shape) == (np.float16, (classes - 1, 8, 8))
    np.testing.assert_allclose(soft, expected[1:], atol=1e-3)


def test_huge_logits_are_no_trouble():
    raw = np.stack([np.full((4, 4), 1e4), np.full((4, 4), -1e4)]).astype(np.float32)
    assert not soft_mask(raw, Resize.of(9, 7, 8)).any()
    assert (soft_mask(raw[::-1].copy(), Resize.of(9, 7, 8)) == 1).all()


def test_what_the_network_does_not_see_is_0():
    soft = soft_mask(logits(2) + 99 * np.array([0, 1], np.float32)[:, None, None], Resize.of(20, 10, 8, Fit.CROP))
    assert (soft[0, :, 5:15] == 1).all()
    assert not soft[0, :, :5].any()
    assert not soft[0, :, 15:].any()


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("looked", [False, True])
@pytest.mark.parametrize("cleaned", [False, True])
def test_the_arg_max_is_the_mask(classes, looked, cleaned):
    resize = Resize.of(61, 47, 32)
    window = Window(10, 5, 50, 40)
    look = Look(window, Resize.of(window.width, window.height, 32), logits(classes, 1)) if looked else None
    how = Postprocessing(largest_component=cleaned, fill_holes=cleaned)
    spec = TaskSpec("t", TaskKind.SEGMENTATION, classes)
    plain, _ = answer(logits(classes), spec, resize, look=look, postprocessing=how)
    asked, _ = answer(logits(classes), spec, resize, look=look, postprocessing=how, soft_masks=True)
    assert plain.soft is None
    assert np.array_equal(plain.labels, asked.labels)
    found, clear = labels_of(asked.soft)
    assert clear.mean() > 0.9
    assert np.array_equal(found[clear], asked.labels[clear])


def test_a_second_look_gives_the_mean_inside_its_window_alone():
    resize, window = Resize.of(8, 8, 8), Window(2, 2, 6, 6)
    first, second = logits(2), np.zeros((2, 8, 8), np.float32)
    look = Look(window, Resize.of(4, 4, 8), second)  # probability 1/2 everywhere
    alone, both = soft_mask(first, resize), soft_mask(first, resize, look)
    inside = (slice(None), slice(2, 6), slice(2, 6))
    np.testing.assert_allclose(both[inside], (alone[inside] + 0.5) / 2, atol=1e-3)
    both[inside] = alone[inside]
    assert np.array_equal(alone, both)


def test_a_pixel_that_changes_its_class_exchanges_the_two_probabilities():
    soft = np.array([[[0.75, 0.25, 0.5, 0.625]], [[0.125, 0.25, 0.25, 0.25]]], np.float16)
    follow(soft, np.array([[1, 0, 1, 1]], np.uint8), np.array([[0, 2, 1, 2]], np.uint8))
    assert soft[:, 0].tolist() == [[0.125, 0.25, 0.5, 0.25], [0.125, 0.5, 0.25, 0.625]]
