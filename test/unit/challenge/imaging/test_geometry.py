import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from challenge.imaging import geometry
from challenge.imaging.geometry import Fit, Resize, Window
from challenge.imaging.resampling import Resampling, antialiased_bilinear, opencv_bilinear

FITS = st.sampled_from(Fit)
SIDES = st.integers(16, 900)
Rectangle = tuple[int, int, int, int]


@st.composite
def rectangles(draw: st.DrawFn) -> tuple[int, int, Rectangle]:
    """An image size and a rectangle (x0, y0, x1, y1) in it, both anywhere."""
    width, height = draw(SIDES), draw(SIDES)
    x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return width, height, (x0, y0, draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height)))


def filled(width: int, height: int, rectangle: Rectangle, value: int = 1) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    x0, y0, x1, y1 = rectangle
    mask[y0:y1, x0:x1] = value
    return mask


def assert_survived(mask: np.ndarray, rectangle: Rectangle, resize: Resize, grid: int) -> None:
    """The borders may have moved by one pixel of the coarser grid and one of the native one, nothing else.

    What a crop does not show is background.
    """
    x0, y0, x1, y1 = rectangle
    shown = resize.shown
    across = shown.width / resize.inner_width * resize.size / grid + 1
    down = shown.height / resize.inner_height * resize.size / grid + 1
    y, x = np.mgrid[: resize.height, : resize.width] + 0.5
    inside = (x > shown.left) & (x < shown.right) & (y > shown.top) & (y < shown.bottom)
    within = (x > x0 + across) & (x < x1 - across) & (y > y0 + down) & (y < y1 - down) & inside
    beyond = (x < x0 - across) | (x > x1 + across) | (y < y0 - down) | (y > y1 + down) | ~inside
    assert mask.shape == (resize.height, resize.width)
    assert mask.dtype == np.uint8
    assert (mask[within] == 1).all()
    assert (mask[beyond] == 0).all()


def one_hot(labels: np.ndarray, planes: int) -> np.ndarray:
    return np.stack([(labels == index) * np.float32(8) for index in range(planes)]).astype(np.float32)


@settings(max_examples=80, deadline=None)
@given(rectangles(), FITS)
def test_masks_survive_a_round_trip_as_labels(case: tuple[int, int, Rectangle], fit: Fit) -> None:
    width, height, rectangle = case
    resize = Resize.of(width, height, 256, fit)
    on_grid = resize.mask(filled(width, height, rectangle))
    assert on_grid.shape == (256, 256)
    assert_survived(resize.labels_to_native(on_grid), rectangle, resize, 256)


@settings(max_examples=80, deadline=None)
@given(rectangles(), FITS, st.sampled_from([64, 128, 256]), st.integers(2, 4))
def test_masks_survive_a_round_trip_as_logits_of_any_grid(
    case: tuple[int, int, Rectangle], fit: Fit, grid: int, planes: int
) -> None:
    width, height, rectangle = case
    resize = Resize.of(width, height, 256, fit)
    on_grid = Resize.of(width, height, grid, fit).mask(filled(width, height, rectangle))
    native = resize.logits_to_native(one_hot(on_grid, planes))
    # A letterbox is rounded to whole pixels on either grid: up to one more pixel of the coarser one.
    slack = 2 if fit is Fit.LETTERBOX and grid != 256 else 1
    assert_survived(native, rectangle, resize, grid // slack)


@settings(max_examples=200, deadline=None)
@given(SIDES, SIDES, FITS, st.sampled_from([64, 224, 256]), st.lists(st.floats(-0.5, 1.5), min_size=2, max_size=8))
def test_points_and_boxes_survive_a_round_trip(
    width: int, height: int, fit: Fit, size: int, shares: list[float]
) -> None:
    resize = Resize.of(width, height, size, fit)
    points = np.reshape(shares[: len(shares) // 2 * 2], (-1, 2)) * (width, height)
    np.testing.assert_allclose(resize.to_native(resize.to_grid(points)), points, atol=1e-9 * max(width, height))


@given(SIDES, SIDES, FITS)
def test_the_images_corners_are_the_windows_corners(width: int, height: int, fit: Fit) -> None:
    resize = Resize.of(width, height, 256, fit)
    shown = resize.shown
    corners = resize.to_grid([(shown.left, shown.top), (shown.right, shown.bottom)])
    right, bottom = resize.left + resize.inner_width, resize.top + resize.inner_height
    np.testing.assert_allclose(corners, [(resize.left, resize.top), (right, bottom)], atol=1e-9)
    assert resize.left >= 0
    assert resize.top >= 0
    assert right <= 256
    assert bottom <= 256


@settings(max_examples=60, deadline=None)
@given(rectangles(), FITS)
def test_masks_and_points_share_one_convention(case: tuple[int, int, Rectangle], fit: Fit) -> None:
    width, height, (x0, y0, x1, y1) = case
    resize = Resize.of(width, height, 256, fit)
    rows, columns = np.nonzero(resize.mask(filled(width, height, (x0, y0, x1, y1))))
    (left, top), (right, bottom) = np.clip(resize.to_grid([(x0, y0), (x1, y1)]), 0, 256)
    # Nearest by pixel centres: a grid pixel is set if and only if its centre lies in the rectangle.
    if len(columns):
        assert columns.min() + 0.5 >= left - 1e-6
        assert columns.max() + 0.5 <= right + 1e-6
        assert rows.min() + 0.5 >= top - 1e-6
        assert rows.max() + 0.5 <= bottom + 1e-6
        assert columns.min() - 0.5 <= left + 1e-6
        assert columns.max() + 1.5 >= right - 1e-6
    else:
        assert right - left < 1 + 1e-6 or bottom - top < 1 + 1e-6


def test_a_stretch_is_a_simple_factor() -> None:
    resize = Resize.of(1024, 512, 256)
    assert resize.to_grid((512, 512)).tolist() == [128, 256]
    assert resize.to_native((128, 256)).tolist() == [512, 512]


@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([64, 256]))
def test_a_letterbox_keeps_the_aspect_and_is_centred(width: int, height: int, size: int) -> None:
    resize = Resize.of(width, height, size, Fit.LETTERBOX)
    factor = size / max(width, height)
    assert max(resize.inner_width, resize.inner_height) == size
    assert abs(resize.inner_width - width * factor) < 1
    assert abs(resize.inner_height - height * factor) < 1
    assert abs(size - resize.inner_width - 2 * resize.left) <= 1
    assert abs(size - resize.inner_height - 2 * resize.top) <= 1


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_a_crop_shows_the_centre_square_in_native_proportions(width: int, height: int) -> None:
    resize = Resize.of(width, height, 64, Fit.CROP)
    shown = resize.shown
    assert shown.width == shown.height == min(width, height)
    assert abs(shown.left + shown.right - width) <= 1
    assert abs(shown.top + shown.bottom - height) <= 1
    assert resize.aspect == 1


def test_a_crop_by_hand() -> None:
    resize = Resize.of(200, 100, 50, Fit.CROP)
    assert resize.shown == Window(50, 0, 150, 100)
    assert resize.to_grid([(50, 0), (100, 50), (150, 100), (0, 0)]).tolist() == [[0, 0], [25, 25], [50, 50], [-25, 0]]
    assert resize.to_native([(0, 0), (50, 50)]).tolist() == [[50, 0], [150, 100]]
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[:, 50:150] = 200
    assert (resize.image(pixels, Resampling.ANTIALIASED) == 200).all()
    whole = np.full((50, 50), 3, np.uint8)
    for labels in (resize.labels_to_native(whole), resize.logits_to_native(one_hot(whole, 4))):
        assert (labels[:, 50:150] == 3).all()
        assert not labels[:, :50].any()
        assert not labels[:, 150:].any()


def test_a_huge_crop_costs_no_more_memory_than_its_square() -> None:
    line = np.full((1, 60_000, 3), 9, np.uint8)
    assert (Resize.of(60_000, 1, 32, Fit.CROP).image(line, Resampling.ANTIALIASED) == 9).all()


def test_images_are_resampled_into_their_window() -> None:
    pixels = np.random.default_rng(0).integers(1, 256, (90, 120, 3), np.uint8)
    stretched = Resize.of(120, 90, 64).image(pixels, Resampling.OPENCV)
    np.testing.assert_array_equal(stretched, opencv_bilinear(pixels, 64, 64))
    boxed = Resize.of(120, 90, 64, Fit.LETTERBOX).image(pixels, Resampling.ANTIALIASED)
    np.testing.assert_array_equal(boxed[8:56], antialiased_bilinear(pixels, 64, 48))
    assert not boxed[:8].any()
    assert not boxed[56:].any()


def test_nothing_changes_at_the_grids_own_size() -> None:
    resize = Resize.of(256, 256, 256)
    labels = np.random.default_rng(1).integers(0, 5, (256, 256), np.uint8)
    pixels = np.repeat(labels[..., None], 3, axis=2)
    np.testing.assert_array_equal(resize.mask(labels), labels)
    np.testing.assert_array_equal(resize.labels_to_native(labels), labels)
    np.testing.assert_array_equal(resize.logits_to_native(one_hot(labels, 5)), labels)
    for resampling in Resampling:
        np.testing.assert_array_equal(resize.image(pixels, resampling), pixels)


def smooth_logits(seed: int, planes: int, size: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).normal(size=(planes, 9, 9)).astype(np.float32)
    cv2 = pytest.importorskip("cv2")
    return np.stack([cv2.resize(plane, (size, size), interpolation=cv2.INTER_CUBIC) for plane in coarse])


@pytest.mark.parametrize("planes", [2, 3, 5])
@pytest.mark.parametrize(("width", "height"), [(640, 480), (257, 900), (1500, 1100)])
def test_logits_are_enlarged_bilinearly_then_compared(planes: int, width: int, height: int) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is the oracle here")
    logits = smooth_logits(width, planes, 256)
    large = [cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) for plane in logits]
    native = Resize.of(width, height, 256).logits_to_native(logits)
    # Rounding decides where two classes are equal within 1e-6.
    assert (native == np.argmax(large, axis=0)).mean() > 0.99999


@pytest.mark.parametrize("fit", Fit)
@pytest.mark.parametrize("planes", [2, 4])
@pytest.mark.parametrize(("width", "height"), [(640, 480), (97, 1203), (64, 48)])
def test_strips_equal_the_whole(
    monkeypatch: pytest.MonkeyPatch, fit: Fit, planes: int, width: int, height: int
) -> None:
    resize, logits = Resize.of(width, height, 256, fit), smooth_logits(3, planes, 256)
    monkeypatch.setattr(geometry, "_STRIP_PIXELS", width * height * planes)
    whole = resize.logits_to_native(logits)
    for rows in (1, 7, 50):
        monkeypatch.setattr(geometry, "_STRIP_PIXELS", rows * width * planes)
        # The strips' borders are exact in float32 only up to 1e-5 pixels: a tie may fall the other way.
        assert (resize.logits_to_native(logits) != whole).sum() <= 2


def test_two_classes_are_decided_like_many() -> None:
    logits = smooth_logits(5, 2, 64)
    three = np.concatenate([logits, np.full((1, 64, 64), -1e4, np.float32)])
    resize = Resize.of(500, 300, 256)
    assert (resize.logits_to_native(logits) != resize.logits_to_native(three)).mean() < 1e-5


def test_a_margin_of_a_letterbox_never_reaches_the_answer() -> None:
    resize = Resize.of(400, 100, 256, Fit.LETTERBOX)
    labels = np.full((256, 256), 3, np.uint8)
    labels[resize.top : resize.top + resize.inner_height] = 1
    assert (resize.labels_to_native(labels) == 1).all()


def test_a_grid_pixel_has_the_aspect_of_the_image() -> None:
    assert Resize.of(200, 100, 64).aspect == 2
    assert Resize.of(100, 200, 64).aspect == 0.5
    assert Resize.of(200, 100, 64, Fit.LETTERBOX).aspect == 1


def test_a_letterbox_by_hand() -> None:
    assert Resize.of(200, 100, 64, Fit.LETTERBOX) == Resize(200, 100, 64, 0, 16, 64, 32)
    assert Resize.of(100, 200, 64, Fit.LETTERBOX) == Resize(100, 200, 64, 16, 0, 32, 64)
    assert Resize.of(1000, 1, 64, Fit.LETTERBOX) == Resize(1000, 1, 64, 0, 31, 64, 1)


def test_points_of_an_oblong_image_by_hand() -> None:
    resize = Resize.of(200, 100, 64, Fit.LETTERBOX)
    assert resize.to_grid([(50, 25), (200, 100)]).tolist() == [[16, 24], [64, 48]]
    assert resize.to_native([(16, 24), (64, 48)]).tolist() == [[50, 25], [200, 100]]
    assert Resize.of(200, 100, 50).to_grid((20, 20)).tolist() == [5, 10]


def test_a_grid_pixel_of_a_mask_is_the_value_at_its_centre() -> None:
    wide = np.arange(6, dtype=np.uint8)[None].repeat(2, axis=0)  # columns 0..5, two rows
    # Four grid columns: their centres lie at 0.75, 2.25, 3.75 and 5.25 native pixels.
    assert Resize.of(6, 2, 4).mask(wide).tolist() == [[0, 2, 3, 5]] * 4
    assert Resize.of(2, 6, 4).mask(np.ascontiguousarray(wide.T)).tolist() == [[n] * 4 for n in (0, 2, 3, 5)]


@pytest.mark.parametrize("planes", [2, 3, 5])
def test_the_first_of_equally_likely_classes_is_chosen(planes: int) -> None:
    """As arg max does, which the official baseline uses."""
    resize = Resize.of(20, 10, 8)
    assert not resize.logits_to_native(np.zeros((planes, 4, 4), np.float32)).any()
    last = np.zeros((planes, 4, 4), np.float32)
    last[0] = -1
    assert (resize.logits_to_native(last) == 1).all()


def test_logits_between_two_cells_are_their_mean() -> None:
    # Two cells of 4 native pixels each; class 1 leads by 3 on the left and trails by 1 on the right: it wins up to
    # native pixel 4.5 of 8, where 3 falls to 0 on its way to -1.
    logits = np.zeros((2, 1, 2), np.float32)
    logits[1, 0] = 3, -1
    square = np.repeat(logits, 2, axis=1)
    labels = Resize.of(8, 6, 2).logits_to_native(square)
    assert labels.tolist() == [[1, 1, 1, 1, 1, 0, 0, 0]] * 6
    labels = Resize.of(6, 8, 2).logits_to_native(np.ascontiguousarray(square.transpose(0, 2, 1)))
    assert labels.T.tolist() == [[1, 1, 1, 1, 1, 0, 0, 0]] * 6


# Pillow's filter is a tent of two native pixels to either side here: a seventh of its weight is across the border.
@pytest.mark.parametrize(("resampling", "edge"), [(Resampling.OPENCV, 0), (Resampling.ANTIALIASED, 29)])
def test_images_are_resized_column_by_column_and_row_by_row(resampling: Resampling, edge: int) -> None:
    pixels = np.zeros((2, 4, 3), np.uint8)
    pixels[:, 2:] = 200
    pixels[1, :, 1] = 100
    grid = Resize.of(4, 2, 2).image(pixels, resampling)
    assert grid[:, :, 0].tolist() == [[edge, 200 - edge]] * 2
    assert grid[1, :, 1].tolist() == [100, 100]
