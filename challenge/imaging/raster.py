"""An image file that Pillow knows -> 8-bit grey levels or RGB, including the bits that Pillow drops.

Pillow reduces 16-bit colours to their high byte, ignores the sign of 8 bits, and does not invert a TIFF of more than 8
bits whose zero is white. Such numbers are read here: uncompressed ones from the file, compressed ones byte by byte.
"""

import io
import logging
import math
import re
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError

from challenge.errors import ImageError
from challenge.imaging import bmp, tiff
from challenge.imaging.intensity import NOTHING, Numbers, Pixels, Stated, range_of, to_eight_bit

logger = logging.getLogger(__name__)

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "DIB", "JPEG2000", "WEBP")
"""Formats that Pillow may try. Others run programs (EPS), open further files, or have no mark (TGA)."""

Size = tuple[int, int]

_EXIF_ORIENTATION = 0x0112
_NETPBM = re.compile(rb"P([56])" + rb"(?:\s|#[^\n]*\n)+(\d{1,9})" * 3 + rb"\s")
_LOW_BYTES = {"RGB;16B": "RGB;16L", "RGB;16L": "RGB;16B", "RGBA;16B": "RGBA;16L", "RGBA;16L": "RGBA;16B"}
_LOW_BYTES |= {"RGB;16N": "RGB;16B", "RGBA;16N": "RGBA;16B", "RGBX;16N": "RGBX;16B"}  # on little-endian machines
_LOW_BYTES |= {"RGBX;16B": "RGBX;16L", "RGBX;16L": "RGBX;16B"}
_DEEP = ("JPEG2000", "PPM")
_VERY_DARK = 16
_GREY = ("L", "LA", "La")


def decode(data: bytes, name: str, check_size: Callable[[Size], None]) -> tuple[Pixels, tuple[str, ...]]:
    """Return pixels (H, W) grey or (H, W, 3) RGB, and notes. `check_size` may refuse the header's (width, height).

    Raises ImageError for unsupported files. A damaged file may raise any error.
    """
    directory = tiff.read_directory(data)
    try:
        image = _opened(data, directory)
    except UnidentifiedImageError:
        if directory is None:
            raise
        check_size(directory.size)
        own = _own_tiff(data, directory, name)
        if own is None:
            raise ImageError(f"{name}: a {directory} is not supported") from None
        return to_eight_bit(*own)
    with image:
        check_size(image.size)
        numbers, stated = _numbers(image, data, directory, name)
        pixels, notes = to_eight_bit(numbers, stated)
        _log_orientation(image, name)
        return pixels, (*notes, *_frame_notes(image), *_dark_notes(image, pixels))


def _opened(data: bytes, directory: tiff.Directory | None) -> ImageFile.ImageFile:
    try:
        return bmp.with_whole_pixels(Image.open(io.BytesIO(data), formats=FORMATS))
    except UnidentifiedImageError:
        if directory is None or not directory.is_deep or not directory.is_white_zero:
            raise
        return Image.open(io.BytesIO(tiff.with_black_zero(data, directory)), formats=FORMATS)


def header_size(data: bytes) -> Size | None:
    """Return (width, height) of a TIFF or WebP file that Pillow does not know or finds incomplete, or None."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp_size(data)
    directory = tiff.read_directory(data)
    return directory.size if directory and min(directory.size) > 0 else None


def _webp_size(data: bytes) -> Size | None:
    """The size in the first chunk (RFC 9649); None if the chunk is cut off."""
    kind, head = data[12:16], data[20:30]
    if len(head) < 10:
        return None
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = (int.from_bytes(head[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    return (width, height) if kind == b"VP8 " and width and height else None


def _numbers(
    image: ImageFile.ImageFile, data: bytes, directory: tiff.Directory | None, name: str
) -> tuple[Numbers, Stated]:
    own = _own_tiff(data, directory, name) or _netpbm(data) or _deep_colours(image, data)
    if own:
        return own
    image.load()
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        numbers = np.clip(np.asarray(image), 0, 65535).astype(np.uint16)
        return _turned(numbers, directory), Stated(maximum=directory.maximum if directory else None)
    if image.mode in ("I", "F"):
        return _turned(_as_stated(np.asarray(image), directory), directory), NOTHING
    if image.mode in _GREY:
        return _as_stated(np.asarray(_grey(image)), directory), NOTHING
    return numbers_of(image)


def numbers_of(image: Image.Image) -> tuple[Numbers, Stated]:
    """Return an image's numbers as Pillow holds them: (H, W) grey or (H, W, 3) RGB."""
    image.load()
    if image.mode in _GREY:
        return np.asarray(_grey(image)), NOTHING
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16), NOTHING
    if image.mode in ("I", "F"):
        return np.asarray(image), NOTHING
    if image.mode == "P" and "transparency" in image.info:
        # A direct conversion to RGB would turn a transparent palette entry black with some encoders' tables.
        return np.asarray(image.convert("RGBA").convert("RGB"), dtype=np.uint8), NOTHING
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"), dtype=np.uint8), NOTHING


def _grey(image: Image.Image) -> Image.Image:
    return image if image.mode == "L" else image.getchannel(0)


def _own_tiff(data: bytes, directory: tiff.Directory | None, name: str) -> tuple[Numbers, Stated] | None:
    """Uncompressed numbers of more than 8 bits or with a sign; None for what Pillow should read."""
    if directory is None or directory.dtype is None or directory.dtype == np.uint8 or not directory.is_grey_or_rgb:
        return None
    values = tiff.read_plain(data, directory)
    if values is None:
        if directory.is_planar:
            raise ImageError(f"{name}: a {directory}, channel by channel, is not supported")
        return None
    if values.ndim == 3:
        values = values[..., :3] if values.shape[2] >= 3 else values[..., 0]
    return _turned(values, directory), NOTHING


def _as_stated(values: Numbers, directory: tiff.Directory | None) -> Numbers:
    """View the numbers with the sign that the file gives them."""
    dtype = directory.dtype if directory else None
    if dtype is None or dtype.kind not in "iu" or dtype.itemsize != values.itemsize:
        return values
    return values.view(dtype.newbyteorder("="))


def _turned(values: Numbers, directory: tiff.Directory | None) -> Numbers:
    """If zero is white, invert the numbers within the range that holds them."""
    if directory is None or not directory.is_white_zero:
        return values
    if values.dtype.kind == "u" and (top := range_of(values.max().item())):
        return np.subtract(top, values, dtype=values.dtype)
    turned: Numbers = np.subtract(values.max().item() + values.min().item(), values, dtype=np.float64)
    return turned


def _netpbm(data: bytes) -> tuple[Numbers, Stated] | None:
    """Numbers of a binary PGM or PPM file of more than 8 bits; Pillow would scale them, which hides their range."""
    header = _NETPBM.match(data[:1000])
    if not header:
        return None
    kind, width, height, maximum = map(int, header.groups())
    if not 255 < maximum < 1 << 16:
        return None
    shape = (height, width) if kind == 5 else (height, width, 3)
    values = np.frombuffer(data, ">u2", math.prod(shape), header.end()).reshape(shape)
    return values.astype(np.uint16), Stated(maximum=maximum if maximum < (1 << 16) - 1 else None)


def _deep_colours(image: ImageFile.ImageFile, data: bytes) -> tuple[Numbers, Stated] | None:
    """16-bit colours of PNG and TIFF, decoded with Pillow one byte at a time."""
    forms = {_form(tile.args) for tile in image.tile}
    (form, *others) = forms or {""}
    if form == "LA;16B":  # both bytes of both channels look like four channels
        grey = _decoded_as(data, "RGBA")
        return grey[..., 0].astype(np.uint16) << 8 | grey[..., 1], NOTHING
    if others or form not in _LOW_BYTES:
        return None
    low = _decoded_as(data, _LOW_BYTES[form])[..., :3]
    image.load()
    return np.asarray(image)[..., :3].astype(np.uint16) << 8 | low, NOTHING


def _form(args: tuple[object, ...] | str | None) -> str:
    """Return the raw mode in a decoder's arguments."""
    return str(args[0]) if isinstance(args, tuple) and args else str(args or "")


def _decoded_as(data: bytes, form: str) -> npt.NDArray[np.uint8]:
    """Decode with another raw mode of Pillow than the file asks for."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        image.tile = [
            tile._replace(args=(form, *tile.args[1:]) if isinstance(tile.args, tuple) else form) for tile in image.tile
        ]
        image.load()
        return np.asarray(image)


def _frame_notes(image: Image.Image) -> tuple[str, ...]:
    try:
        frames = int(getattr(image, "n_frames", 1))
    except Exception:  # a later frame is damaged, but the first is already decoded
        frames = 2
    return (f"{frames} frames; the first was used",) if frames > 1 and image.format != "MPO" else ()


def _dark_notes(image: Image.Image, pixels: Pixels) -> tuple[str, ...]:
    """Some decoders reduce many bits to 8; the lost bits cannot be recovered, so a dark result is noted."""
    if image.format in _DEEP and 0 < pixels.max() < _VERY_DARK:
        return (f"nearly black: no more than {pixels.max()} of 255",)
    return ()


def _log_orientation(image: Image.Image, name: str) -> None:
    try:
        orientation = int(image.getexif().get(_EXIF_ORIENTATION, 1)) if image.format in ("JPEG", "MPO") else 1
    except Exception:  # damaged EXIF data says nothing about the pixels
        return
    if orientation not in (0, 1):
        logger.info("%s: EXIF orientation %s is ignored; the raw pixel grid is used", name, orientation)
