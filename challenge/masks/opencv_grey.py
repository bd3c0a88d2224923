"""Reads an image file like OpenCV's `imread(path, IMREAD_GRAYSCALE)`, as the organisers' script reads masks.

The grey values are those of OpenCV 5, computed without it. `doubt` says if they may differ.

| file | grey values |
|---|---|
| 1 bit; 2 and 4 bits (PNG) | stretched to 0..255 |
| 8 bits; 16 bits | as they are; the high byte |
| grey + alpha | alpha is dropped |
| PNG in colour or with a palette | libpng's weights, and its gamma where a gAMA or sRGB chunk asks for it |
| BMP, GIF, PPM, TIFF in colour or with a palette | weights of 14 bits; unassociated alpha of a TIFF is multiplied in |
| WebP, JPEG 2000 in colour | weights of 15 bits |
| JPEG in colour, CMYK | luma as stored; black times each ink |
| TIFF with white as 0 | inverted |
| orientation tag of JPEG, PNG (eXIf), WebP, TIFF | applied: IMREAD_GRAYSCALE does not ask to ignore it |
| TIFF that the tag rotates by 90 degrees, unless it is square | refused |
| TIFF of 4 bits grey, 32 or 64 bits; damaged PNG; other formats | refused |
"""

import io
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from challenge.imaging.bmp import with_whole_pixels
from challenge.imaging.decode import BYTE_LIMIT

Grey = npt.NDArray[np.uint8]
Tags = Mapping[int, Any]
"""The tags of a TIFF by number; none for other formats."""

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "JPEG2000", "WEBP")
_ORIENTATION, _BITS, _PHOTOMETRIC, _COLOUR_MAP, _EXTRA_SAMPLES = 274, 258, 262, 320, 338
_WHITE_IS_ZERO, _UNASSOCIATED = 0, 2

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_DEPTH, _PNG_COLOURS = 24, (2, 6)
"""Where a PNG states the bits per channel; and, one byte later, the pixel kinds that have colours."""
_OTHERS = (b"II*\0", b"MM\0*", b"BM", b"\xff\xd8", b"GIF8", b"RIFF", b"\x59\xa6\x6a\x95", b"v/1\x01", b"#?RADIANCE",
           b"#?RGBE", b"PF", b"Pf", b"P7", b"\0\0\0\x1cftypavif", b"\0\0\0 ftypavif")  # fmt: skip
"""How files of OpenCV's other formats begin; Pillow does not read all forms of some."""

_Weights = tuple[int, int, int, int, int]
# Red, green, blue, what is added to round, bits to shift.
_LIBPNG: _Weights = (9797, 19234, 3737, 0, 15)
_FOURTEEN: _Weights = (4899, 9617, 1868, 1 << 13, 14)
_FIFTEEN: _Weights = (9798, 19235, 3735, 1 << 14, 15)
_WEIGHTS = {"PNG": _LIBPNG, "WEBP": _FIFTEEN, "JPEG2000": _FIFTEEN}

_SRGB_GAMMA = 0.45455
_GAMMA_IS_ONE = (0.95, 1.05)
"""libpng does not correct a gamma between these."""


@dataclass(frozen=True)
class GreyReading:
    """`values` are (H, W) uint8, None if OpenCV gives no image; `doubt` says why OpenCV may read others.

    `form` is None where nothing could be read.
    """

    values: Grey | None
    doubt: str = ""
    form: "Form | None" = None


@dataclass(frozen=True)
class Form:
    """How a file stores its pixels: Pillow's `mode` and `format`, and the orientation tag (1: upright)."""

    mode: str
    format: str
    orientation: int


def read_grey(path: Path, pixel_limit: int) -> GreyReading:
    """Return what OpenCV reads. A file with more than `pixel_limit` pixels by its header is not decoded."""
    try:
        data = path.read_bytes() if path.stat().st_size <= BYTE_LIMIT else b""
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > pixel_limit:
                return GreyReading(None, f"its header says {image.width}x{image.height} pixels, so it was not decoded")
            return _reading(with_whole_pixels(image), data)
    except UnidentifiedImageError:
        is_known = _is_whole_png(data) if data.startswith(_PNG) else data.startswith(_OTHERS)
        return GreyReading(None, "OpenCV may know this form of the format" if is_known else "")
    except OSError as error:
        return GreyReading(None, f"it cannot be read ({error.strerror})")
    except Exception as error:  # decoders may raise any error on damaged files
        return GreyReading(None, f"it is damaged ({type(error).__name__}); OpenCV may read a part of it")


def _reading(image: Image.Image, data: bytes) -> GreyReading:
    if _is_refused(image, data):
        return GreyReading(None)
    tags = dict(getattr(image, "tag_v2", {}))
    if image.format in ("JPEG", "MPO"):
        image.draft("L", image.size)  # luma as it is stored
    try:
        image.load()
    except OSError as error:
        return GreyReading(None, f"it is damaged ({error}); OpenCV may read a part of it")
    values = _values(image, tags)
    if values is None:
        return GreyReading(None, f"it is a picture of mode {image.mode}")
    orientation = int(tags.get(_ORIENTATION, 1)) if image.format == "TIFF" else _orientation(image)
    if image.format != "TIFF":  # Pillow has rotated a TIFF already
        values = _turned(values, orientation)
    form = Form(image.mode, image.format or "", orientation)
    return GreyReading(np.ascontiguousarray(values), _doubt(image, tags, data), form)


def _is_refused(image: Image.Image, data: bytes) -> bool:
    if image.format == "PNG":
        return not _is_whole_png(data)
    if image.format == "TIFF":
        tags = getattr(image, "tag_v2", {})
        bits = max(tags.get(_BITS, (1,)))
        lies = tags.get(_ORIENTATION, 1) > 4 and image.width != image.height
        return lies or bits > 16 or (bits in (2, 4) and image.mode == "L")
    return image.mode == "F"


def _orientation(image: Image.Image) -> int:
    """The orientation tag, 1..8. In a PNG only the eXIf chunk counts, not the text chunks where some tools put one."""
    try:
        exif = Image.Exif()
        exif.load(image.info.get("exif", b""))
        found = int(exif.get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF data means no orientation
        return 1
    return found if 1 <= found <= 8 else 1


def _turned(values: Grey, orientation: int) -> Grey:
    if orientation > 4:
        values = values.T
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values


def _values(image: Image.Image, tags: Tags) -> Grey | None:
    mode = image.mode
    if mode == "1":
        return np.where(np.asarray(image), np.uint8(255), np.uint8(0))
    if mode in ("L", "LA", "La"):
        return np.asarray(image.getchannel(0))
    if mode.startswith("I"):
        high = (np.asarray(image) >> 8).astype(np.uint8)
        return 255 - high if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else high
    if mode == "P":
        return np.asarray(_of_colours(image, _palette(image, tags))[np.asarray(image)])
    if mode == "CMYK":
        inks, black = np.asarray(image)[..., :3], 255 - np.asarray(image)[..., 3:].astype(np.int32)
        return _weighted((black - (inks * black >> 8)).astype(np.uint8), _FOURTEEN)
    if mode in ("RGB", "RGBA", "RGBX"):
        return _of_colours(image, _with_alpha(np.asarray(image), tags))
    return None


def _palette(image: Image.Image, tags: Tags) -> Grey:
    """The 256 colours (256, 3). A TIFF's have 16 bits, but some writers fill only the low 8."""
    if _COLOUR_MAP in tags:
        colours = np.array(tags[_COLOUR_MAP]).reshape(3, -1).T
        colours = colours if colours.max() < 256 else colours >> 8
    else:
        colours = np.array(image.getpalette("RGB")).reshape(-1, 3)
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colours)] = colours
    return palette


def _with_alpha(pixels: Grey, tags: Tags) -> Grey:
    """The colours as libtiff gives them: times alpha if the tag says that alpha is not multiplied in yet."""
    if tags.get(_EXTRA_SAMPLES) != (_UNASSOCIATED,):
        return pixels[..., :3]
    return ((pixels[..., :3].astype(np.uint16) * pixels[..., 3:] + 127) // 255).astype(np.uint8)


def _of_colours(image: Image.Image, colours: Grey) -> Grey:
    """(..., 3) uint8 red, green, blue -> (...) uint8 with the weights of the format's decoder."""
    weights = _WEIGHTS.get(image.format or "", _FOURTEEN)
    gamma = _gamma(image)
    if gamma is None:
        return _weighted(colours, weights)
    linear = _weighted(_power(1 / gamma)[colours], (*_LIBPNG[:3], 1 << 14, 15))
    is_grey = (colours == colours[..., :1]).all(axis=-1)
    return np.where(is_grey, colours[..., 0], _power(gamma)[linear])


def _gamma(image: Image.Image) -> float | None:
    if image.format != "PNG":
        return None
    gamma = _SRGB_GAMMA if "srgb" in image.info else float(image.info.get("gamma", 1.0))
    return gamma if gamma > 0 and not _GAMMA_IS_ONE[0] <= gamma <= _GAMMA_IS_ONE[1] else None


def _power(exponent: float) -> Grey:
    return np.floor(255 * (np.arange(256) / 255) ** exponent + 0.5).astype(np.uint8)


def _weighted(colours: Grey, weights: _Weights) -> Grey:
    red, green, blue, half, shift = weights
    total = colours[..., 0].astype(np.uint32) * red
    total += colours[..., 1].astype(np.uint32) * green
    total += colours[..., 2].astype(np.uint32) * blue
    return ((total + half) >> shift).astype(np.uint8)


def _doubt(image: Image.Image, tags: Tags, data: bytes) -> str:
    """Why OpenCV's values may differ, by a grey level or altogether; empty if they are the same."""
    if image.format == "PNG" and data[_PNG_DEPTH] == 16 and data[_PNG_DEPTH + 1] in _PNG_COLOURS:
        return "16 bits a colour, which OpenCV rounds otherwise"
    if image.format == "PNG" and 0.01 < abs(image.info.get("gamma", 1) - 1) < 0.06:
        return "a gamma of about 1, which libpng may or may not correct"
    if image.format == "GIF" and "transparency" in image.info:
        return "a GIF with transparency, which OpenCV fills differently"
    if image.mode == "CMYK" and (image.format == "TIFF" or "adobe" not in image.info):
        return "CMYK without the mark that says how it is stored"
    if image.format == "PPM" and image.mode != "1" and (b"255" not in data[:64] and b"65535" not in data[:64]):
        return "a PGM or PPM whose white is not 255, which OpenCV may leave unscaled"
    if image.format == "BMP" and struct.unpack_from("<H", data, 28)[0] == 16:
        return "a BMP of 16 bits, which OpenCV widens differently"
    if image.format == "TIFF":
        return _tiff_doubt(image, tags)
    return ""


def _tiff_doubt(image: Image.Image, tags: Tags) -> str:
    if image.mode in ("RGB", "RGBA", "RGBX") and max(tags.get(_BITS, (1,))) > 8:
        return "16 bits a colour, which OpenCV rounds otherwise"
    if image.mode in ("RGBA", "La") and tags.get(_EXTRA_SAMPLES) != (_UNASSOCIATED,):
        return "alpha that is multiplied in, or of unknown kind"
    return ""


def _is_whole_png(data: bytes) -> bool:
    """Whether libpng reads every row: all critical chunks up to IEND, with right checksums, and all pixels."""
    at, stream, size = 8, zlib.decompressobj(), 0
    try:
        while True:
            length, name = struct.unpack_from(">I4s", data, at)
            body, at = data[at + 8 : at + 8 + length], at + 12 + length
            if at > len(data):
                return False
            if name == b"IEND":
                return stream.eof and size >= _png_bytes(data)
            if name in (b"IHDR", b"PLTE", b"IDAT") and zlib.crc32(name + body) != _checksum(data, at):
                return False
            if name == b"IDAT":
                size += _inflated(stream, body)
    except (struct.error, zlib.error):
        return False


def _checksum(data: bytes, end: int) -> int:
    return int.from_bytes(data[end - 4 : end])


def _inflated(stream: "zlib._Decompress", body: bytes) -> int:
    """How many bytes `body` inflates to, without keeping them."""
    size = 0
    while body and not stream.eof:
        size += len(stream.decompress(body, 1 << 20))
        body = stream.unconsumed_tail
    return size


def _png_bytes(data: bytes) -> int:
    """How many bytes the rows of a PNG take before compression, each with its filter byte."""
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 1)
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    total = 0
    for x, y, across, down in passes:
        columns, rows = max(0, -(-(width - x) // across)), max(0, -(-(height - y) // down))
        total += rows * (1 + (columns * bits + 7) // 8) if columns else 0
    return total
