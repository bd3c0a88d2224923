"""More than 8 bits, signs and white zeros in PNG, TIFF and PNM: the picture, whatever its container."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from challenge.errors import ImageError
from challenge.imaging.decode import read_image, read_size

WIDTH, HEIGHT = 30, 20
GREY = np.random.default_rng(0).integers(13, 210, (HEIGHT, WIDTH), np.uint8)
COLOUR = np.dstack([GREY, GREY[::-1], 222 - GREY])
WIDE = GREY.astype(np.uint16)


def png(values: np.ndarray) -> bytes:
    """16 bits per channel, which Pillow writes for grey alone; each line with the filter 'up'."""
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[1 if values.ndim == 2 else values.shape[2]]
    rows = values.astype(">u2").reshape(len(values), -1).view(np.uint8)
    filtered = np.diff(rows, axis=0, prepend=np.zeros((1, rows.shape[1]), np.uint8))
    lines = np.hstack([np.full((len(rows), 1), 2, np.uint8), filtered])
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes())), (b"IEND", b""))
    body = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def tiff(values, photometric=None, planar=False, order="<", big=False, tile=None, packed=False, **tags) -> bytes:
    """One image, uncompressed or deflated, in one strip per channel or in one tile."""
    samples = 1 if values.ndim == 2 else values.shape[2]
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    height, width = values.shape[:2]
    if tile:
        values = np.pad(values, ((0, tile - height), (0, tile - width)) + ((0, 0),) * (values.ndim - 2))
    numbers = values.astype(values.dtype.newbyteorder(order))
    parts = (
        [numbers[..., channel].tobytes() for channel in range(samples)]
        if planar and samples > 1
        else [numbers.tobytes()]
    )
    parts = [zlib.compress(part) for part in parts] if packed else parts
    starts = [16 + sum(map(len, parts[:number])) for number in range(len(parts))]
    entries = {256: (width,), 257: (height,), 258: (8 * values.itemsize,) * samples, 259: (8 if packed else 1,),
               262: ((1 if samples < 3 else 2) if photometric is None else photometric,), 277: (samples,),
               278: (height,), 284: (2 if planar else 1,), 339: (kind,) * samples,
               **({322: (tile,), 323: (tile,), 324: starts, 325: tuple(map(len, parts))} if tile
                  else {273: starts, 279: tuple(map(len, parts))}),
               **{int(tag[1:]): value for tag, value in tags.items()}}  # fmt: skip
    body, room = b"".join(parts), 8 if big else 4
    end, extra = 16 + len(body), b""
    table = end + (8 if big else 2) + (len(entries) * (20 if big else 12)) + room
    directory = struct.pack(order + ("Q" if big else "H"), len(entries))
    for tag, numbers_of_tag in sorted(entries.items()):
        data = struct.pack(f"{order}{len(numbers_of_tag)}I", *numbers_of_tag)
        if len(data) > room:
            at, extra = table + len(extra), extra + data
            data = struct.pack(order + ("Q" if big else "I"), at)
        directory += struct.pack(order + ("HHQ" if big else "HHI"), tag, 4, len(numbers_of_tag)) + data.ljust(
            room, b"\0"
        )
    mark = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    head = mark + (struct.pack(order + "HHQ", 8, 0, end) if big else struct.pack(order + "I", end) + bytes(8))
    return head + body + directory + bytes(room) + extra


@pytest.fixture
def read(tmp_path: Path):
    def inner(data: bytes):
        path = tmp_path / "image.bin"
        path.write_bytes(data)
        image = read_image(path)
        assert read_size(path) == image.size
        return image

    return inner


def assert_picture(image, expected, is_noted):
    np.testing.assert_array_equal(image.pixels, expected if expected.ndim == 3 else np.dstack([expected] * 3))
    assert bool(image.notes) == is_noted


FACTORS = [(1, True), (16, True), (257, False)]
"""8 bits in 16, 12 bits in 16, and all 16."""


@pytest.mark.parametrize(("factor", "is_noted"), FACTORS)
def test_png(read, factor, is_noted):
    alpha = np.full((HEIGHT, WIDTH), 40_000, np.uint16)
    deep = COLOUR.astype(np.uint16) * factor
    assert_picture(read(png(WIDE * factor)), GREY, is_noted)
    assert_picture(read(png(np.dstack([WIDE * factor, alpha]))), GREY, is_noted)
    assert_picture(read(png(deep)), COLOUR, is_noted)
    assert_picture(read(png(np.dstack([deep, alpha]))), COLOUR, is_noted)


@pytest.mark.parametrize(("factor", "is_noted"), FACTORS)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "form", [{}, {"planar": True}, {"tile": 32}, {"packed": True}, {"packed": True, "tile": 32}, {"big": True}]
)
def test_tiff(read, factor, is_noted, order, form):
    white_zero = (1 << 16) - 1 - WIDE * factor
    deep = COLOUR.astype(np.uint16) * factor
    assert_picture(read(tiff(WIDE * factor, order=order, **form)), GREY, is_noted)
    assert_picture(read(tiff(white_zero, photometric=0, order=order, **form)), GREY, is_noted)
    assert_picture(read(tiff(deep, order=order, **form)), COLOUR, is_noted)
    assert_picture(read(tiff(np.dstack([deep, WIDE]), s338=(2,), order=order, **form)), COLOUR, is_noted)


def test_deflated_channels_apart_are_not_supported(read):
    with pytest.raises(ImageError, match="TIFF of 16-bit unsigned numbers, compression 8, channel by channel, is not"):
        read(tiff(COLOUR.astype(np.uint16), planar=True, packed=True))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "values",
    [
        GREY.astype(np.float32),
        GREY / np.float32(255),
        (WIDE * 16).astype(np.int16),
        GREY.astype(np.uint32),
        (GREY.astype(int) - 128).astype(np.int8),
        (GREY // 2 + 8).astype(np.int8),
    ],
    ids=["float", "fraction", "i16", "u32", "i8", "i8 above 0"],
)
def test_tiff_of_other_numbers(read, values, packed):
    expected = (GREY // 2 + 8) if values.dtype == np.int8 and values.min() >= 0 else GREY
    assert_picture(read(tiff(values, packed=packed)), expected, is_noted=True)


def test_tiff_of_numbers_that_pillow_does_not_know(read, tmp_path):
    for values in (GREY / 255, GREY.astype(np.float16), GREY.astype(np.int64), GREY.astype(np.uint64)):
        assert_picture(read(tiff(values)), GREY, is_noted=True)
    (tmp_path / "a.tif").write_bytes(tiff(GREY / 255, packed=True))
    with pytest.raises(
        ImageError, match="a.tif: a TIFF of 64-bit floating-point numbers, compression 8 is not supported"
    ):
        read_image(tmp_path / "a.tif")
    assert read_size(tmp_path / "a.tif") == (WIDTH, HEIGHT)


def test_large_unsigned_numbers_do_not_wrap(read):
    values = np.array([[0, 1 << 31, (1 << 32) - 1]], np.uint32)
    for packed in (False, True):
        assert_picture(read(tiff(values, packed=packed)), np.array([[0, 128, 255]]), is_noted=True)


@pytest.mark.parametrize("values", [GREY.astype(np.float32), GREY / 255])
def test_white_zeros_of_floats(read, values):
    darkest = np.unravel_index(GREY.argmax(), GREY.shape)
    image = read(tiff(values, photometric=0))
    assert image.pixels[darkest].max() == image.pixels.min()
    assert image.notes


@pytest.mark.parametrize("bits", [1, 8])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_white_zeros_of_few_bits(read, bits, compression):
    picture = np.where(GREY > 99, 255, 0).astype(np.uint8) if bits == 1 else GREY
    stream = io.BytesIO()
    Image.fromarray(picture).convert("1" if bits == 1 else "L").save(
        stream, "TIFF", compression=compression, tiffinfo={262: 0}
    )
    assert_picture(read(stream.getvalue()), picture, is_noted=False)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_that_of_the_decoder(read, orientation):
    eight, deep = tiff(GREY, s274=(orientation,)), tiff(WIDE, s274=(orientation,))
    np.testing.assert_array_equal(read(deep).pixels, read(eight).pixels)
    fractions = tiff(GREY / 255, s274=(orientation,))  # Pillow does not know these
    np.testing.assert_array_equal(read(fractions).pixels, read(eight).pixels)


@pytest.mark.parametrize(("maximum", "factor"), [(65535, 257), (4095, 16), (1023, 4)])
def test_netpbm(read, maximum, factor):
    head = f"P5\n# made by hand\n{WIDTH} {HEIGHT}\n{maximum}\n".encode()
    deep = COLOUR.astype(">u2") * np.uint16(factor)
    assert_picture(read(head + (WIDE * factor).astype(">u2").tobytes()), GREY, is_noted=False)
    assert_picture(read(head.replace(b"P5", b"P6") + deep.astype(">u2").tobytes()), COLOUR, is_noted=False)


def test_netpbm_of_fewer_bits_than_it_says_and_of_an_odd_maximum(read):
    pixels = WIDE.astype(">u2").tobytes()
    assert_picture(read(f"P5 {WIDTH} {HEIGHT} 65535\n".encode() + pixels), GREY, is_noted=True)
    assert_picture(read(f"P5 {WIDTH} {HEIGHT} 300\n".encode() + pixels), np.round(GREY * 0.85), is_noted=False)


def test_jpeg_2000(read):
    for values, is_noted in ((WIDE, True), (WIDE * 257, False)):
        stream = io.BytesIO()
        Image.fromarray(values).save(stream, "JPEG2000")
        assert_picture(read(stream.getvalue()), GREY, is_noted)
