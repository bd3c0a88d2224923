"""BMP files with a black-and-white palette: their pixels as images, as true masks and as OpenCV reads them."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from challenge.errors import ImageError, MaskError
from challenge.imaging.decode import read_image
from challenge.masks.opencv_grey import read_grey
from challenge.masks.true_masks import read_true_mask

HEIGHT, WIDTH = 24, 32
SHAPE = (np.hypot(*np.mgrid[-10 : HEIGHT - 10, -13 : WIDTH - 13]) < 7).astype(np.uint8)


@pytest.mark.parametrize("colours", [(0, 255), (255, 0)], ids=["black first", "white first"])
@pytest.mark.parametrize("packed", [False, True])
def test_of_bytes(tmp_path: Path, colours: tuple[int, int], packed: bool) -> None:
    """Pillow reads one bit per pixel."""
    indices = SHAPE if colours[1] else 1 - SHAPE
    image = Image.fromarray(indices, "P")
    image.putpalette([colour for colour in colours for _ in range(3)])
    path = tmp_path / "mask.bmp"
    image.save(path)
    if packed:
        runs = b"".join(b"".join(bytes([1, index]) for index in row) + bytes(2) for row in indices[::-1])
        data = bytearray(path.read_bytes()[:62])
        data[30:38] = struct.pack("<II", 1, len(runs) + 2)
        path.write_bytes(bytes(data) + runs + b"\0\1")
    assert path.read_bytes()[28:30] == b"\x08\0"
    np.testing.assert_array_equal(read_true_mask(path, 2).labels, SHAPE)
    np.testing.assert_array_equal(read_image(path).pixels[..., 0], 255 * SHAPE)
    np.testing.assert_array_equal(read_grey(path, 1 << 20).values, cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))


def test_of_four_bits(tmp_path: Path) -> None:
    header = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 4, 0, 0, 0, 0, 2, 0)
    pixels = np.packbits(np.kron(SHAPE, np.array([0, 0, 0, 1], np.uint8)), axis=1).tobytes()
    path = tmp_path / "mask.bmp"
    path.write_bytes(
        b"BM" + struct.pack("<IHHI", 62 + len(pixels), 0, 0, 62) + header + b"\0\0\0\0\xff\xff\xff\0" + pixels
    )
    with pytest.raises(MaskError, match="4 bits with a grey palette is not supported"):
        read_true_mask(path, 2)
    with pytest.raises(ImageError):
        read_image(path)
    assert read_grey(path, 1 << 20).doubt
