import math

import numpy as np
import pytest
from PIL import Image

from challenge.predictions import (
    BlankMask,
    BoxPrediction,
    ClassPrediction,
    MaskPrediction,
    PointsPrediction,
    Prediction,
)
from evaluate.pages.overlays import PALETTE, class_colour, overlay

GREY = Image.new("L", (200, 100), 90)


def near(image: Image.Image, colour: tuple[int, int, int], tolerance: int = 12) -> np.ndarray:
    """Return (H, W): which pixels have about that colour."""
    return np.abs(np.asarray(image).astype(int) - colour).max(axis=2) <= tolerance


def rectangle_mask(value: int = 1, width: int = 200, height: int = 100) -> MaskPrediction:
    labels = np.zeros((height, width), np.uint8)
    labels[height // 4 : height // 2, width // 4 : width // 2] = value
    return MaskPrediction(labels)


def box(*pixels: float) -> BoxPrediction:
    x0, y0, x1, y1 = pixels
    return BoxPrediction((x0, y0, x1, y1), (0, 0, 0, 0))


def points(*pixels: float) -> PointsPrediction:
    return PointsPrediction(pixels, tuple(0.0 for _ in pixels))


@pytest.mark.parametrize("size", [(64, 48), (1500, 1100), (100, 300), (1, 1), (5000, 20)])
@pytest.mark.parametrize("side", [200, 640])
def test_the_longer_side_is_as_asked_whatever_the_image(size: tuple[int, int], side: int) -> None:
    drawn = overlay(Image.new("L", size), None, side=side)
    assert drawn.mode == "RGB"
    assert max(drawn.size) == side
    assert abs(min(drawn.size) - max(1, side * min(size) / max(size))) <= 1


@pytest.mark.parametrize("prediction", [None, BlankMask(200, 100), MaskPrediction(np.zeros((100, 200), np.uint8))])
def test_nothing_to_draw_leaves_the_picture_unchanged(prediction: Prediction | None) -> None:
    drawn = np.asarray(overlay(GREY, prediction, side=200))
    assert (drawn == 90).all()


def test_a_masks_contour_runs_along_its_border() -> None:
    drawn = overlay(GREY, rectangle_mask())
    contour = near(drawn, class_colour(1))
    rows, columns = np.nonzero(contour)
    scale = 640 / 200
    assert columns.min() == pytest.approx(50 * scale, abs=2)
    assert columns.max() == pytest.approx(100 * scale, abs=2)
    assert rows.min() == pytest.approx(25 * scale, abs=2)
    assert rows.max() == pytest.approx(50 * scale, abs=2)
    assert not contour[int(30 * scale) : int(45 * scale), int(60 * scale) : int(90 * scale)].any()  # only shaded within
    assert (np.asarray(drawn)[10, 10] == 90).all()


def test_every_class_has_a_colour_of_its_own() -> None:
    labels = np.zeros((100, 200), np.uint8)
    for index in range(1, 6):
        labels[10:90, index * 30 : index * 30 + 20] = index
    drawn = overlay(GREY, MaskPrediction(labels))
    assert len({class_colour(index) for index in range(1, len(PALETTE) + 1)}) == len(PALETTE)
    assert all(near(drawn, class_colour(index)).sum() > 200 for index in range(1, 6))


def test_even_a_single_pixel_is_visible() -> None:
    labels = np.zeros((1000, 1500), np.uint8)
    labels[500, 700] = 2
    assert near(overlay(Image.new("L", (1500, 1000), 90), MaskPrediction(labels)), class_colour(2), 90).any()


def test_masks_that_touch_the_border_or_fill_the_image() -> None:
    drawn = overlay(GREY, MaskPrediction(np.ones((100, 200), np.uint8)))
    contour = near(drawn, class_colour(1))
    assert contour[0].all()
    assert contour[:, 0].all()
    assert contour[-1].all()
    assert contour[:, -1].all()


def test_a_mask_of_another_size_is_scaled() -> None:
    large, small = overlay(GREY, rectangle_mask()), overlay(GREY, rectangle_mask(1, 100, 50))
    difference = near(large, class_colour(1)) != near(small, class_colour(1))
    assert difference.mean() < 0.01


def test_truth_is_pale_and_thinner() -> None:
    prediction, truth = overlay(GREY, rectangle_mask()), overlay(GREY, None, rectangle_mask())
    assert not near(truth, class_colour(1)).any()
    pale = near(truth, class_colour(1, pale=True))
    assert 0 < pale.sum() < near(prediction, class_colour(1)).sum()
    both = overlay(GREY, rectangle_mask(), rectangle_mask())
    assert near(both, class_colour(1)).any()
    assert near(both, class_colour(1, pale=True)).any()


@pytest.mark.parametrize("pixels", [(20.0, 10.0, 120.0, 80.0), (120.0, 80.0, 20.0, 10.0)])
def test_boxes_are_outlined_upside_down_ones_too(pixels: tuple[float, ...]) -> None:
    rows, columns = np.nonzero(near(overlay(GREY, box(*pixels)), class_colour(1)))
    scale = 640 / 200
    assert columns.min() == pytest.approx(20 * scale, abs=2)
    assert columns.max() == pytest.approx(120 * scale, abs=2)
    assert rows.min() == pytest.approx(10 * scale, abs=2)
    assert rows.max() == pytest.approx(80 * scale, abs=2)


@pytest.mark.parametrize(
    "prediction",
    [
        box(math.nan, 1, 2, 3),
        box(-1e6, -5, 1e7, 4e6),
        box(5, 5, 5, 5),
        points(math.nan, 4, 1e7, -1e7),
        points(),
        ClassPrediction((), 0),
        ClassPrediction((math.nan, 2.0), 5),
        MaskPrediction(np.full((3, 2), 255, np.uint8)),
    ],
)
def test_odd_answers_do_not_break_the_picture(prediction: Prediction) -> None:
    drawn = overlay(GREY, prediction, prediction)
    assert drawn.width == 640
    assert drawn.height >= 320


def test_points_are_dots_joined_in_pairs() -> None:
    drawn = near(overlay(GREY, points(20, 50, 180, 50, 100, 90)), class_colour(1), 20)
    scale = 640 / 200
    middle = drawn[int(50 * scale)]
    assert middle[int(26 * scale) : int(174 * scale)].all()
    assert not middle[: int(15 * scale)].any()
    third = overlay(GREY, points(20, 50, 180, 50, 100, 90))
    assert near(third, class_colour(2))[int(90 * scale), int(100 * scale)]


def test_a_missing_point_removes_its_line() -> None:
    drawn = overlay(GREY, None, points(100, 50, math.nan, math.nan))
    marked = (np.asarray(drawn) != 90).any(axis=2)
    rows, columns = np.nonzero(marked)
    assert near(drawn, class_colour(1, pale=True))[160, 320]
    assert max(np.ptp(rows), np.ptp(columns)) < 30


def test_points_are_numbered() -> None:
    def ink(*pixels: float) -> int:
        return int(near(overlay(GREY, points(*pixels)), (240, 243, 247), 30).sum())

    assert ink(20, 50) > 10
    assert ink(20, 50, 100, 50) > 1.5 * ink(20, 50)


def test_a_true_point_that_is_far_from_the_predicted_one_has_its_number() -> None:
    """Swapped ends: the lines lie on each other, so only the numbers tell."""

    def numbers(*truth: float) -> np.ndarray:
        """The pixels that a number of the truth covers; those of the prediction stand on the other side of a point."""
        drawn = np.asarray(overlay(GREY, points(20, 50, 180, 50), points(*truth))).astype(int)
        plain = np.asarray(overlay(GREY, points(20, 50, 180, 50))).astype(int)
        return (np.abs(drawn - plain).max(axis=2) > 30)[165:, :]  # below the line and its dots

    assert numbers(180, 50, 20, 50).sum() > numbers(20, 50, 180, 50).sum() + 20
    assert numbers(20, 50, 180, 50).sum() == numbers(21, 50, 179, 50).sum()


def test_class_bars_are_below_the_picture() -> None:
    drawn = overlay(GREY, ClassPrediction((0.2, 0.7, 0.1), 1))
    assert drawn.width == 640
    assert drawn.height > 320
    assert (np.asarray(drawn)[:320] == 90).all()
    bars = near(drawn, class_colour(1))[320:]
    rows = bars.any(axis=1)
    assert rows.sum() < 40  # one bar is coloured: the answer's
    longer = near(overlay(GREY, ClassPrediction((0.05, 0.9, 0.05), 1)), class_colour(1)).sum()
    assert longer > bars.sum() * 1.2
    assert overlay(GREY, ClassPrediction((0.125,) * 8, 0)).height > drawn.height


def test_the_true_class_is_marked() -> None:
    prediction = ClassPrediction((0.2, 0.7, 0.1), 1)
    without = overlay(GREY, prediction)
    first, last = (overlay(GREY, prediction, ClassPrediction((), index)) for index in (0, 2))
    rows = [np.nonzero(near(image, class_colour(1, pale=True)).any(axis=1))[0].mean() for image in (first, last)]
    assert not near(without, class_colour(1, pale=True)).any()
    assert rows[0] < rows[1]


def test_the_image_itself_is_not_changed() -> None:
    image = GREY.copy()
    overlay(image, rectangle_mask(), rectangle_mask(2))
    assert image.tobytes() == GREY.tobytes()
