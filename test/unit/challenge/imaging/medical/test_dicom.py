"""Hand-made DICOM files: common mistakes of writers, and what the header says about the numbers."""

import contextlib
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from challenge.errors import ImageError
from challenge.imaging.decode import DecodedImage, read_image, read_size

WIDTH, HEIGHT = 40, 30
GREY = np.random.default_rng(0).integers(13, 210, (HEIGHT, WIDTH), np.uint8)
WIDE = GREY.astype(np.uint16)
_EXPLICIT, _JPEG = b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.4.50"
_CLASS = b"1.2.840.10008.5.1.4.1.1.6.1"


def element(tag, kind: bytes, value: bytes) -> bytes:
    value += (b"\0" if kind in (b"UI", b"OB") else b" ") * (len(value) % 2)
    if kind in (b"OB", b"OW"):
        return struct.pack("<HH2sHI", *tag, kind, 0, len(value)) + value
    return struct.pack("<HH2sH", *tag, kind, len(value)) + value


def us(number: int) -> bytes:
    return struct.pack("<h" if number < 0 else "<H", number)


def dicom(values, photometric=b"MONOCHROME2", bits=None, more=None, frames=()) -> bytes:
    """`more` are further elements of group 28: number -> (type, value). `frames` are JPEG files."""
    height, width = values.shape[:2]
    allocated, samples = 8 * values.itemsize, 3 if values.ndim == 3 else 1
    group = {0x02: (b"US", us(samples)), 0x04: (b"CS", photometric), 0x10: (b"US", us(height)),
             0x11: (b"US", us(width)),
             0x100: (b"US", us(allocated)), 0x101: (b"US", us(bits or allocated)),
             0x102: (b"US", us((bits or allocated) - 1)), 0x103: (b"US", us(int(values.dtype.kind == "i"))),
             **({0x06: (b"US", us(0))} if samples == 3 else {}), **(more or {})}  # fmt: skip
    body = element((8, 0x16), b"UI", _CLASS) + element((8, 0x18), b"UI", b"1.2.3")
    body += b"".join(element((0x28, number), *content) for number, content in sorted(group.items()))
    if frames:
        items = [b"", *(frame + b"\0" * (len(frame) % 2) for frame in frames)]
        body += b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff"
        body += b"".join(b"\xfe\xff\0\xe0" + struct.pack("<I", len(item)) + item for item in items)
        body += b"\xfe\xff\xdd\xe0\0\0\0\0"
    else:
        body += element((0x7FE0, 0x10), b"OW" if allocated > 8 else b"OB", values.tobytes())
    meta = element((2, 1), b"OB", b"\0\1") + element((2, 2), b"UI", _CLASS) + element((2, 3), b"UI", b"1.2.3")
    meta += element((2, 0x10), b"UI", _JPEG if frames else _EXPLICIT) + element((2, 0x12), b"UI", b"1.2")
    return bytes(128) + b"DICM" + element((2, 0), b"UL", struct.pack("<I", len(meta))) + meta + body


def jpeg(values, **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "JPEG", quality=95, subsampling=0, **options)
    return stream.getvalue()


@pytest.fixture
def read(tmp_path: Path):
    def inner(data: bytes, name: str = "scan.dcm") -> DecodedImage:
        (tmp_path / name).write_bytes(data)
        image = read_image(tmp_path / name)
        assert read_size(tmp_path / name) == image.size
        return image

    return inner


def assert_grey(image: DecodedImage, expected, is_noted=False) -> None:
    np.testing.assert_array_equal(image.pixels, np.dstack([expected] * 3))
    assert bool(image.notes) == is_noted


PRIVATE = element((9, 0x10), b"LO", b"VENDOR") + b"\x09\0\x01\x10  \0\0" + struct.pack("<I", 6) + b"abcdef"


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data + b"\0",
        lambda data: data + b"\r\n",
        lambda data: data + b"\n\n\n",
        lambda data: data[132:],
        lambda data: data.replace(b"\x28\0\x02\0US", PRIVATE + b"\x28\0\x02\0US"),
    ],
    ids=["a zero", "a new line", "three", "no preamble", "blanks for a type"],
)
def test_common_mistakes_of_writers(read, change):
    for name in ("scan.dcm", "scan.png"):
        assert_grey(read(change(dicom(GREY)), name), GREY)


def test_bytes_after_compressed_pixels(read):
    whole = read(dicom(GREY, frames=[jpeg(GREY)]))
    np.testing.assert_array_equal(read(dicom(GREY, frames=[jpeg(GREY)]) + b"\0\0").pixels, whole.pixels)
    assert np.abs(whole.pixels[..., 0].astype(int) - GREY).max() < 9


@pytest.mark.parametrize(
    "data",
    [
        dicom(GREY)[:-300],
        dicom(GREY) + b"\xfc\xff\xfc\xffOB\0\0" + struct.pack("<I", 1 << 30),
        dicom(GREY) + b"\xfc\xff\xfc\xff" + struct.pack("<I", 1 << 30) + bytes(8),
    ],
    ids=["cut", "a length without a value", "an implicit one"],
)
def test_the_size_of_refused_files(tmp_path, data):
    (tmp_path / "scan.dcm").write_bytes(data)
    with pytest.raises(ImageError):
        read_image(tmp_path / "scan.dcm")
    assert read_size(tmp_path / "scan.dcm") == (WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("values", "options", "expected", "is_noted"),
    [
        (WIDE, {"bits": 8}, GREY, False),
        (WIDE * 16, {"bits": 12}, GREY, False),
        (WIDE * 4, {"bits": 12}, GREY // 4, False),
        (WIDE, {"bits": 12}, GREY, True),
        (WIDE, {}, GREY, True),
        (WIDE * 257, {}, GREY, False),
        (4095 - WIDE * 16, {"bits": 12, "photometric": b"MONOCHROME1"}, (WIDE * 16) // 16, False),
        (255 - GREY, {"photometric": b"MONOCHROME1"}, GREY, False),
        (4095 - WIDE * 16, {"photometric": b"MONOCHROME1"}, GREY, True),
        (16383 - WIDE * 64, {"photometric": b"MONOCHROME1"}, GREY, True),
        (255 - WIDE, {"bits": 12, "photometric": b"MONOCHROME1"}, GREY, True),
        (65535 - WIDE * 257, {"photometric": b"MONOCHROME1"}, GREY, False),
    ],
)
def test_bits_stored(read, values, options, expected, is_noted):
    assert_grey(read(dicom(values, **options)), expected, is_noted)


def test_a_sigmoid_window_is_noted(read):
    for function, is_noted in ((b"LINEAR", False), (b"LINEAR_EXACT", False), (b"SIGMOID", True)):
        image = read(dicom(WIDE, more=window(128, 256) | {0x1056: (b"CS", function)}))
        assert ("sigmoid" in str(image.notes)) == is_noted


def test_numbers_in_the_upper_bits_are_refused(tmp_path):
    upper = {0x102: (b"US", us(15))}
    (tmp_path / "upper.dcm").write_bytes(dicom(WIDE * 256, bits=12, more=upper))
    with pytest.raises(ImageError, match="upper bits .HighBit 15. is not supported"):
        read_image(tmp_path / "upper.dcm")


def test_a_wrong_high_bit_is_harmless(read):
    values = WIDE * 16 + 1
    assert_grey(read(dicom(values, bits=12, more={0x102: (b"US", us(15))})), GREY)


def window(center, width):
    return {0x1050: (b"DS", str(center).encode()), 0x1051: (b"DS", str(width).encode())}


def test_windows(read):
    values = np.array([[0, 1000, 1200, 1510, 4000]], np.uint16)
    expected = np.array([[0, 0, 100, 255, 255]])
    assert_grey(read(dicom(values, bits=12, more=window("1255.5\\9", "511\\9"))), expected)
    turned = dicom(4095 - values, b"MONOCHROME1", 12, window(4095 - 1255 + 0.5, 511))
    assert_grey(read(turned), expected)
    assert_grey(read(dicom(WIDE * 16, bits=12, more=window(9000, 2))), GREY, is_noted=True)
    assert_grey(read(dicom(GREY, more=window(30, 20))), GREY)  # 8 bits stay


def test_padding_is_ignored(read):
    values = (WIDE * 16).astype(np.int16)
    values[:, :5] = -32768
    expected = GREY.copy()
    expected[:, :5] = 0
    assert_grey(read(dicom(values, more={0x120: (b"SS", us(-32768))})), expected, is_noted=True)
    values = WIDE * 16
    values[:, :5] = 65535
    assert_grey(read(dicom(values, more={0x120: (b"US", us(65535))})), expected, is_noted=True)
    values[:, :2] = 65000
    more = {0x120: (b"US", us(65535)), 0x121: (b"US", us(64000))}
    assert_grey(read(dicom(values, more=more)), expected, is_noted=True)


COLOUR = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
COLOUR[..., 0], COLOUR[..., 1] = 200, np.linspace(0, 255, WIDTH)


@pytest.mark.parametrize("keep_rgb", [False, True])
@pytest.mark.parametrize("photometric", [b"RGB", b"YBR_FULL", b"YBR_FULL_422", b"YBR_ICT"])
def test_the_colours_of_jpeg_data_are_those_of_their_markers(read, photometric, keep_rgb):
    image = read(dicom(COLOUR, photometric, frames=[jpeg(COLOUR, keep_rgb=keep_rgb)]))
    assert np.abs(image.pixels.astype(int) - COLOUR).max() < 6
    is_true = photometric.startswith(b"YBR_FULL") != keep_rgb
    assert bool(image.notes) != is_true or photometric == b"YBR_ICT"


def test_jpeg_data_without_a_marker_have_the_colours_of_the_header(read):
    data = jpeg(COLOUR, keep_rgb=True)
    at = data.index(b"\xff\xee")
    bare = data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4]) :]
    image = read(dicom(COLOUR, b"RGB", frames=[bare]))
    assert np.abs(image.pixels.astype(int) - COLOUR).max() < 6
    assert image.notes == ()


def test_the_colours_of_the_middle_frame(read):
    frames = [jpeg(COLOUR // 2), jpeg(COLOUR), jpeg(COLOUR // 3)]
    image = read(dicom(COLOUR, b"RGB", more={0x08: (b"IS", b"3")}, frames=frames))
    assert np.abs(image.pixels.astype(int) - COLOUR).max() < 6
    assert len(image.notes) == 2


def test_compressed_data_of_another_size_than_the_header_s(read):
    data = jpeg(COLOUR)
    assert read(dicom(COLOUR, b"YBR_FULL", frames=[data])).size == (COLOUR.shape[1], COLOUR.shape[0])
    with pytest.raises(ImageError, match="but the DICOM header says"):
        read(dicom(np.repeat(COLOUR, 2, axis=1), b"YBR_FULL", frames=[data]))


def test_jpeg_data_that_are_cut_off(read):
    big = np.random.default_rng(0).integers(0, 256, (200, 160), np.uint8)
    data = jpeg(big)
    assert read(dicom(big, frames=[data])).notes == ()
    with pytest.raises(ImageError):
        read(dicom(big, frames=[data[: len(data) // 3]]))
    with contextlib.suppress(ImageError):
        assert read(dicom(big, frames=[data[: len(data) * 3 // 4]])).notes
