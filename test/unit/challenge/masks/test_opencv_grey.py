"""Grey values equal those of OpenCV, pixel by pixel, over every form of mask file; else the reading says so."""

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from challenge.masks.opencv_grey import read_grey

HEIGHT, WIDTH = 37, 53
LIMIT = 10**8
RNG = np.random.default_rng(11)
RGB = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
ALPHA = RNG.integers(0, 256, (HEIGHT, WIDTH, 1), np.uint8)
GREY = RGB[..., 0]
WIDE = RNG.integers(0, 1 << 16, (HEIGHT, WIDTH), np.uint16)
LABELS = RNG.integers(0, 5, (HEIGHT, WIDTH), np.uint8)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def palette(colours: int = 5) -> Image.Image:
    image = Image.fromarray(LABELS, "P")
    image.putpalette(RGB.reshape(-1, 3)[:colours].tobytes())
    return image


def exif(orientation: int) -> bytes:
    table = Image.Exif()
    table[274] = orientation
    return table.tobytes()


def chunk(name: bytes, body: bytes, spoil: int = 0) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body) ^ spoil)


def with_chunk(png: bytes, name: bytes, body: bytes) -> bytes:
    """Put a chunk behind the header of a PNG."""
    return png[:33] + chunk(name, body) + png[33:]


def png(pixels: np.ndarray, depth: int, colour: int, says: tuple[int, int] | None = None) -> bytes:
    """A PNG of any kind; pixels (H, W[, C]), one byte or two each, or packed bytes (H, bytes).

    Its header `says` another width and height where these are given.
    """
    rows = pixels.astype(">u2" if depth == 16 else np.uint8).reshape(len(pixels), -1)
    width = pixels.shape[1] if depth >= 8 else pixels.shape[1] * 8 // depth
    head = struct.pack(">IIBBBBB", *(says or (width, len(pixels))), depth, colour, 0, 0, 0)
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def tiff(pixels: np.ndarray, photometric: int, **tags: int) -> bytes:
    """A TIFF of one strip; pixels (H, W[, C]) of 1 (bool), 8, 16 or 32 bits; tags t338=2 and the like."""
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    bits = 1 if pixels.dtype == bool else 8 * pixels.dtype.itemsize
    body = (np.packbits(pixels, axis=1) if bits == 1 else pixels.astype(pixels.dtype.newbyteorder("<"))).tobytes()
    entries = {256: pixels.shape[1], 257: len(pixels), 259: 1, 262: photometric, 277: channels, 278: len(pixels)}
    entries |= {int(name[1:]): value for name, value in tags.items()}
    count = len(entries) + 3
    place = 8 + 2 + 12 * count + 4
    depths = struct.pack(f"<{channels}H", *[bits] * channels)
    first = place if len(depths) > 4 else int.from_bytes(depths, "little")
    lines = {tag: struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items()}
    lines[258] = struct.pack("<HHII", 258, 3, channels, first)
    lines[273] = struct.pack("<HHII", 273, 4, 1, place + len(depths))
    lines[279] = struct.pack("<HHII", 279, 4, 1, len(body))
    table = b"".join(lines[tag] for tag in sorted(lines))
    return b"II*\0" + struct.pack("<IH", 8, count) + table + bytes(4) + depths + body


def forms() -> Iterator[tuple[str, bytes]]:
    rgba = Image.fromarray(np.concatenate([RGB, ALPHA], axis=2))
    grey_alpha = Image.fromarray(np.concatenate([RGB[..., :1], ALPHA], axis=2), "LA")
    for form in ("PNG", "BMP", "GIF", "TIFF", "PPM", "JPEG2000"):
        yield f"{form} grey", encoded(Image.fromarray(GREY), form)
    for form in ("PNG", "BMP", "GIF", "TIFF", "PPM"):
        yield f"{form} 1 bit", encoded(Image.fromarray(GREY > 128), form)
    for form in ("PNG", "BMP", "TIFF", "PPM"):
        yield f"{form} colour", encoded(Image.fromarray(RGB), form)
    for form in ("PNG", "BMP", "GIF", "TIFF"):
        yield f"{form} palette", encoded(palette(), form)
    for form in ("PNG", "TIFF", "PPM", "JPEG2000"):
        yield f"{form} 16 bits", encoded(Image.fromarray(WIDE), form)
        yield f"{form} 8 in 16 bits", encoded(Image.fromarray(LABELS.astype(np.uint16)), form)
    for form in ("PNG", "BMP", "TIFF"):
        yield f"{form} colour and alpha", encoded(rgba, form)
    for form in ("PNG", "TIFF"):
        yield f"{form} grey and alpha", encoded(grey_alpha, form)
    yield "WebP", encoded(Image.fromarray(RGB), "WEBP", lossless=True)
    yield "WebP lossy and alpha", encoded(rgba, "WEBP", quality=80)
    yield "JPEG 2000 colour", encoded(Image.fromarray(RGB), "JPEG2000", irreversible=True)
    for quality in (75, 100):
        yield f"JPEG colour {quality}", encoded(Image.fromarray(RGB), "JPEG", quality=quality)
        yield f"JPEG grey {quality}", encoded(Image.fromarray(GREY), "JPEG", quality=quality, progressive=True)
    yield "JPEG CMYK", encoded(Image.fromarray(RGB).convert("CMYK"), "JPEG")
    yield "PNG palette, transparent", encoded(palette(), "PNG", transparency=1)
    yield "PNG animated", encoded(Image.fromarray(LABELS), "PNG", save_all=True, append_images=[Image.fromarray(GREY)])
    yield "GIF animated", encoded(palette(), "GIF", save_all=True, append_images=[palette().transpose(0)])
    yield "PNG 2 bits", png(RNG.integers(0, 256, (HEIGHT, 13)), 2, 0)
    yield "PNG 4 bits", png(RNG.integers(0, 256, (HEIGHT, 26)), 4, 0)
    yield "PNG 16 bits and alpha", png(np.stack([WIDE, WIDE[::-1]], axis=2), 16, 4)
    for gamma in (45455, 100000, 220000):
        plain = encoded(Image.fromarray(RGB), "PNG")
        yield f"PNG gamma {gamma}", with_chunk(plain, b"gAMA", struct.pack(">I", gamma))
        yield f"PNG grey, gamma {gamma}", with_chunk(png(GREY, 8, 0), b"gAMA", struct.pack(">I", gamma))
    yield "PNG sRGB", with_chunk(encoded(Image.fromarray(RGB), "PNG"), b"sRGB", b"\0")
    yield "PNG sRGB palette", with_chunk(encoded(palette(), "PNG"), b"sRGB", b"\0")
    yield "TIFF white is 0", tiff(GREY, 0)
    yield "TIFF white is 0, 16 bits", tiff(WIDE, 0)
    yield "TIFF white is 0, 1 bit", tiff(GREY > 128, 0)
    yield "TIFF 1 bit, raw", tiff(GREY > 128, 1)
    yield "TIFF signed", tiff(WIDE, 1, t339=2)
    yield "TIFF unspecified fourth channel", tiff(np.concatenate([RGB, ALPHA], axis=2), 2, t338=0)
    yield "TIFF unassociated alpha", tiff(np.concatenate([RGB, ALPHA], axis=2), 2, t338=2)
    for orientation in range(9):
        for form in ("PNG", "JPEG", "WEBP"):
            image = Image.fromarray(GREY if form != "WEBP" else RGB)
            yield f"{form} turned {orientation}", encoded(image, form, exif=exif(orientation))
        if orientation:
            yield f"TIFF turned {orientation}", tiff(GREY, 1, t274=orientation)
            yield f"TIFF square turned {orientation}", tiff(WIDE[:, :HEIGHT], 1, t274=orientation)
    whole = encoded(Image.fromarray(LABELS), "PNG")
    for share in (0.2, 0.6, 0.999):
        yield f"PNG cut {share}", whole[: int(len(whole) * share)]
    yield "PNG without end", whole[:-12]
    yield "PNG wrong sum", whole.replace(b"IDAT", b"IDAT", 1)[:-16] + bytes(4) + whole[-12:]
    yield "PNG half the rows", png(LABELS[:20], 8, 0, says=(WIDTH, 40))
    yield "PNG trailing bytes", whole + b"more"
    yield "no image", b"<html>not found</html>"
    yield "empty", b""


FORMS = dict(forms())


def both(path: Path, data: bytes) -> tuple[Any, Any]:
    path.write_bytes(data)
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), read_grey(path, LIMIT)


@pytest.mark.parametrize("name", FORMS)
def test_equals_opencv(name: str, tmp_path: Path) -> None:
    expected, found = both(tmp_path / "mask", FORMS[name])
    assert not found.doubt
    if expected is None:
        assert found.values is None
    else:
        np.testing.assert_array_equal(found.values, expected)


def doubtful() -> Iterator[tuple[str, bytes]]:
    colour16 = np.stack([WIDE, WIDE[::-1], WIDE[:, ::-1]], axis=2)
    yield "PNG 16 bits a colour", png(colour16, 16, 2)
    yield "TIFF 16 bits a colour", tiff(colour16, 2)
    yield "TIFF associated alpha", tiff(np.concatenate([RGB, ALPHA], axis=2), 2, t338=1)
    yield "GIF transparent", encoded(palette(), "GIF", transparency=1)
    yield "PGM with another white", b"P5 5 2 3\n" + bytes([0, 1, 2, 3, 0] * 2)
    yield "JPEG cut", encoded(Image.fromarray(GREY), "JPEG")[:-200]
    yield "TIFF of a form that Pillow lacks", tiff(np.stack([WIDE, WIDE], axis=2), 1, t338=2)


DOUBTFUL = dict(doubtful())


@pytest.mark.parametrize("name", DOUBTFUL)
def test_doubtful_readings_are_reported(name: str, tmp_path: Path) -> None:
    expected, found = both(tmp_path / "mask", DOUBTFUL[name])
    assert found.doubt
    assert expected is not None


def test_a_bomb_is_refused_by_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mask").write_bytes(png(LABELS, 8, 0, says=(30000, 30000)))
    monkeypatch.setattr(zlib, "decompressobj", lambda: pytest.fail("it was decoded"))
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("it was decoded"))
    found = read_grey(tmp_path / "mask", LIMIT)
    assert found.values is None
    assert "30000x30000" in found.doubt


def test_a_missing_file_gives_none(tmp_path: Path) -> None:
    assert read_grey(tmp_path / "nowhere", LIMIT).values is None
