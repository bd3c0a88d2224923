import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from challenge.imaging.geometry import Resize
from challenge.imaging.resampling import RESAMPLERS, Resampling, antialiased_bilinear, opencv_bilinear

cv2 = pytest.importorskip("cv2", reason="OpenCV is the oracle here; it comes with requirements-dev.txt")

SIZES = st.integers(1, 600)


def noise(seed: int, width: int, height: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), SIZES, SIZES)
def test_bit_equal_to_opencv_at_the_networks_size(seed: int, width: int, height: int) -> None:
    image = noise(seed, width, height)
    expected = cv2.resize(image, (256, 256), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(opencv_bilinear(image, 256, 256), expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), SIZES, SIZES, st.integers(1, 400), st.integers(1, 400))
def test_bit_equal_to_opencv_at_any_size(seed: int, width: int, height: int, to_width: int, to_height: int) -> None:
    image = noise(seed, width, height)
    expected = cv2.resize(image, (to_width, to_height), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(opencv_bilinear(image, to_width, to_height), expected)


@pytest.mark.parametrize(
    ("width", "height"),
    [(256, 256), (64, 48), (1, 1), (1, 300), (300, 1), (512, 512), (1024, 768), (1500, 1100), (255, 257), (2, 2)],
)
def test_bit_equal_to_opencv_at_critical_sizes(width: int, height: int) -> None:
    image = noise(width, width, height)
    expected = cv2.resize(image, (256, 256), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(opencv_bilinear(image, 256, 256), expected)


def test_equal_size_is_a_copy() -> None:
    image = noise(0, 20, 10)
    resized = opencv_bilinear(image, 20, 10)
    np.testing.assert_array_equal(resized, image)
    assert not np.shares_memory(resized, image)


def test_methods_differ_where_antialiasing_matters() -> None:
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::8] = 255
    assert antialiased_bilinear(stripes, 64, 64).std() < 2
    assert opencv_bilinear(stripes, 64, 64).std() < 2  # its taps fall between the stripes
    assert abs(int(antialiased_bilinear(stripes, 64, 64).mean()) - 32) < 3
    assert opencv_bilinear(stripes, 64, 64).max() == 0


@pytest.mark.parametrize("resampling", Resampling)
def test_constant_images_stay_constant(resampling: Resampling) -> None:
    for value in (0, 1, 127, 255):
        image = np.full((33, 517, 3), value, np.uint8)
        resized = RESAMPLERS[resampling](image, 256, 256)
        assert resized.shape == (256, 256, 3)
        assert resized.dtype == np.uint8
        assert (resized == value).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 1600), st.integers(1, 1200), st.sampled_from([7, 64, 224, 256]))
def test_labels_are_enlarged_as_by_opencvs_nearest(seed: int, width: int, height: int, size: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 5, (size, size), np.uint8)
    expected = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(Resize.of(width, height, size).labels_to_native(labels), expected)


@pytest.mark.parametrize("method", list(Resampling))
@pytest.mark.parametrize("size", [(256, 256), (40, 300), (97, 31)])
def test_a_grey_image_is_resized_once_for_its_three_channels(method, size):
    grey = np.random.default_rng(0).integers(0, 256, (97, 31), np.uint8)
    view = np.broadcast_to(grey[..., None], (97, 31, 3))
    resized = RESAMPLERS[method](view, *size)
    np.testing.assert_array_equal(resized, RESAMPLERS[method](np.array(view), *size))
    assert resized.flags.writeable
