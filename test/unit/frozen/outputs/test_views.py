"""Views: what a network sees, and how its answers come back. Networks here are functions that are easy to follow."""

import numpy as np
import pytest

from challenge.tasks import TaskKind
from model.frozen.outputs.postprocess import Postprocessing
from model.frozen.outputs.views import FLIP, VIEWS

SIZE = 64
AFFINE = [name for name in VIEWS if name != FLIP]


def cell(*values):
    """A grid (5, 1, 1)."""
    return [[[value]] for value in values]


def spot(x, y, aspect=1.0):
    """A grid (1, S, S, 3) with a round spot, as it lies in the native image, around x and y (0..1)."""
    columns, rows = np.meshgrid((np.arange(SIZE) + 0.5) / SIZE, (np.arange(SIZE) + 0.5) / SIZE)
    near = ((columns - x) * aspect) ** 2 + (rows - y) ** 2
    return np.repeat((255 * np.exp(-near * 100))[None, ..., None], 3, axis=3).astype(np.uint8)


def centre(images):
    """The centre of what is bright: raw points (B, 2)."""
    bright = images[..., 0].astype(float)
    middle = (np.arange(images.shape[1]) + 0.5) / images.shape[1]
    total = bright.sum(axis=(1, 2))
    return np.stack([(bright.sum(axis=1) @ middle) / total, (bright.sum(axis=2) @ middle) / total], axis=1).astype("f4")


def maps(images):
    """Raw maps (B, 2, S, S) of what is bright."""
    bright = images[..., 0].astype(np.float32)
    return np.stack([np.full_like(bright, 100), bright], axis=1)


@pytest.mark.parametrize("aspect", [1.0, 1.6])
@pytest.mark.parametrize("name", VIEWS)
def test_points_and_maps_come_back_to_where_they_were(name, aspect):
    view, images = VIEWS[name], spot(0.6, 0.42, aspect)
    seen = view.images(images, [aspect])
    assert (seen.shape, seen.dtype) == (images.shape, np.uint8)
    assert np.abs(centre(seen) - centre(images)).max() > 0.01
    points = view.back(centre(seen), centre(images), TaskKind.REGRESSION, [aspect], ())
    np.testing.assert_allclose(points, centre(images), atol=2e-3)
    back = view.back(maps(seen), maps(images), TaskKind.SEGMENTATION, [aspect], ())
    assert back.dtype == np.float32
    agree = (back.argmax(axis=1) == maps(images).argmax(axis=1)).mean()
    assert agree > 0.99


@pytest.mark.parametrize("degrees", [-10, 10])
def test_a_rotation_keeps_native_proportions(degrees):
    """A spot beside the centre moves along a circle of native pixels, though grid pixels are twice as wide as high."""
    seen = centre(VIEWS[f"rotate {degrees}"].images(spot(0.7, 0.5, 2.0), [2.0]))[0] - 0.5
    native = seen * (2, 1)
    assert np.hypot(*native) == pytest.approx(0.4, abs=0.01)
    assert np.degrees(np.arctan2(native[1], native[0])) == pytest.approx(degrees, abs=0.5)


def test_cells_that_a_view_does_not_show_keep_the_images_own_answer():
    plain, zeros = np.full((1, 2, SIZE, SIZE), 7, np.float32), np.zeros((1, 2, SIZE, SIZE), np.float32)
    back = VIEWS["scale 1.2"].back(zeros, plain, TaskKind.SEGMENTATION, [1.0], ())
    assert back[0, 0, 0, 0] == back[0, 1, -1, -1] == 7
    assert back[0, :, SIZE // 2, SIZE // 2].tolist() == [0, 0]
    assert (VIEWS["scale 0.85"].back(zeros, plain, TaskKind.SEGMENTATION, [1.0], ()) == 0).all()


def test_boxes_come_back_from_flips_and_scales_and_not_from_rotations():
    box = np.array([cell(0.4, 0.5, 0.6, 0.7, 3)], np.float32)
    for name, seen in ((FLIP, (0.4, 0.5, 0.6, 0.7)), ("scale 1.2", (0.38, 0.5, 0.62, 0.74))):
        view = VIEWS[name]
        assert view.suits(TaskKind.DETECTION)
        back = view.back(np.array([cell(*seen, 3)], np.float32), box * 0, TaskKind.DETECTION, [1.0], ())
        np.testing.assert_allclose(back, box, atol=1e-6)
    assert not VIEWS["rotate 10"].suits(TaskKind.DETECTION)
    assert VIEWS["rotate 10"].suits(TaskKind.REGRESSION)


@pytest.mark.parametrize(
    ("kind", "answer", "mirrored"),
    [
        (TaskKind.SEGMENTATION, [[[1, 2, 3]], [[4, 5, 6]]], [[[3, 2, 1]], [[6, 5, 4]]]),
        (TaskKind.REGRESSION, [0.1, 0.2, 0.7, 0.4, 0.3, 0.9], [0.3, 0.4, 0.9, 0.2, 0.7, 0.9]),
        (TaskKind.DETECTION, cell(0.1, 0.2, 0.5, 0.6, 3), cell(0.5, 0.2, 0.9, 0.6, 3)),
    ],
)  # fmt: skip
def test_a_network_that_is_equivariant_to_the_flip_gains_nothing_and_errors_are_halved(kind, answer, mirrored):
    postprocessing = Postprocessing(views=(FLIP,), point_order=(1, 0, 2) if kind is TaskKind.REGRESSION else ())
    outputs, other = (np.array([values], np.float32) for values in (answer, mirrored))
    np.testing.assert_allclose(postprocessing.join_views(outputs, {FLIP: other}, kind, [1.0]), outputs, atol=1e-6)
    away = postprocessing.join_views(outputs, {FLIP: other + np.float32(0.2)}, kind, [1.0])
    assert away.dtype == np.float32
    assert np.abs(away - outputs).max() == pytest.approx(0.1, abs=1e-6)


@pytest.mark.parametrize("name", VIEWS)
def test_classes_stay_as_they_are(name):
    logits = np.array([[0.5, -1.0]], np.float32)
    assert VIEWS[name].back(logits, logits, TaskKind.CLASSIFICATION, [1.0], ()) is logits


@pytest.mark.parametrize("name", AFFINE)
def test_what_is_not_finite_stays_so(name):
    spoilt = np.full((1, 2, 8, 8), np.nan, np.float32)
    back = VIEWS[name].back(spoilt, np.zeros_like(spoilt), TaskKind.SEGMENTATION, [1.0], ())
    assert np.isnan(back[0, :, 4, 4]).all()
