"""Decodes any supported image file to 8-bit RGB on its native pixel grid. The rules for all unusual formats:

| file | result |
|---|---|
| grey, grey + alpha, 1 bit | the grey value in all three channels |
| RGBA, palette (with or without transparency) | RGB; alpha is dropped, as the organisers' reader does |
| CMYK, YCbCr, Lab, HSV | RGB by Pillow's conversion (inverted Adobe CMYK is handled there) |
| more than 8 bits, signed, float; any format | scaled by `challenge.imaging.intensity`; noted if the range had to be guessed |
| TIFF whose zero is white, DICOM MONOCHROME1 | inverted |
| EXIF orientation | ignored, because masks and boxes have none; logged (TIFF: its decoder applies it, also to the size) |
| several frames | the first (Pillow formats) or the middle one (medical formats); noted |
| an axis of length 1 | left out |
| an axis of 3 or 4 before two longer ones | colour |
| three similar 8-bit frames | colour; noted |
| truncated or damaged JPEG, PNG, BMP, MetaImage, NIfTI, NRRD | the stored part, the rest filled; noted. Less than half: ImageError |
| other formats, truncated or damaged | ImageError |
| uncompressed pixels (BMP, PNM, TIFF, medical) with rows of zeros at the end and no zeros elsewhere, or with rows of one value where the picture breaks off | noted; more than half: ImageError |
| MetaImage, NIfTI, NRRD | small strict readers (`challenge.imaging.medical.volume`); a data file beside the header is read, no other |
| DICOM | read by SimpleITK (`challenge.imaging.medical.dicom`) in a child process (`challenge.imaging.child`); colours of JPEG data by the data's own markers, noted |
| more than `PIXEL_LIMIT` pixels or `BYTE_LIMIT` bytes, another format, not an image | ImageError |
"""  # noqa: E501

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from challenge.errors import ImageError
from challenge.imaging import raster
from challenge.imaging.child import StartError, decode_apart, size_apart
from challenge.imaging.intensity import Pixels as Pixels
from challenge.imaging.intensity import to_eight_bit
from challenge.imaging.jpeg2000 import hole_notes
from challenge.imaging.medical.frames import HEAD_BYTES, frame_size, open_frame, reader_of
from challenge.imaging.medical.volume import LEAST
from challenge.imaging.repair import DamageError, check_end, check_whole, is_plain, repaired, zero_notes

logger = logging.getLogger(__name__)

PIXEL_LIMIT = 100_000_000
# The limit above is checked on the header, before a pixel is decoded. Pillow's own guard is off, because it would hide
# the size of a larger image, and the fallback mask needs that size.
Image.MAX_IMAGE_PIXELS = None

SIDE_LIMIT = 1_000_000
"""Limit for width and height: longer lines need gigabytes of filter weights to resize."""
BYTE_LIMIT = 1_000_000_000
"""Limit for a file, which is in memory while it is decoded."""

NATIVE_READERS = frozenset({"GDCMImageIO"})
"""Readers of `challenge.imaging.medical.frames` that may crash the process or hang: those of SimpleITK."""


@dataclass(frozen=True)
class DecodedImage:
    """`pixels` are (H, W, 3) uint8 RGB on the native grid; `notes` say what a strict reader would refuse.

    The three channels of a grey image share one read-only block of memory.
    """

    pixels: Pixels
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Native (width, height)."""
        return self.pixels.shape[1], self.pixels.shape[0]


def read_image(path: Path, *, isolated: bool = False) -> DecodedImage:
    """Decode an image file by its content, not its file ending. Raises ImageError.

    A file for one of `NATIVE_READERS`, or any file if `isolated`, is decoded in a child process, so that a crash of the
    decoder becomes an ImageError.
    """
    if not (isolated or _reader(path) in NATIVE_READERS):
        return decode_file(path)
    try:
        return _decode_apart(path)
    except StartError as error:
        if isolated:
            raise ImageError(
                f"{path.name}: it may crash the process, and no child process can be started ({error})"
            ) from error
        logger.warning("%s: decoded in this process, because no child process can be started (%s)", path.name, error)
        return decode_file(path)


def _reader(path: Path) -> str | None:
    try:
        with path.open("rb") as stream:
            return reader_of(path, stream.read(HEAD_BYTES))
    except OSError:  # the next reader will raise the error
        return None


def _decode_apart(path: Path) -> DecodedImage:
    try:
        _check_bytes(path)
    except OSError as error:
        raise ImageError(f"{path.name}: {error.strerror or error}") from error
    return DecodedImage(*decode_apart(path, PIXEL_LIMIT))


def _check_bytes(path: Path) -> None:
    if path.stat().st_size > BYTE_LIMIT:
        raise ImageError(f"{path.name}: the file is larger than the limit of {BYTE_LIMIT:,} bytes")


def decode_file(path: Path) -> DecodedImage:
    """Decode a file of any format in this process. Raises ImageError."""
    try:
        _check_bytes(path)
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path.name}: {error.strerror or error}") from error
    if not data:
        raise ImageError(f"{path.name}: the file is empty")
    reader = reader_of(path, data[:HEAD_BYTES])
    try:
        return _read_medical(path, reader) if reader else _decode(data, path.name)
    except ImageError:
        raise
    except Exception as first:  # decoders may raise any error on damaged files
        mended = None if reader else _decode_repaired(data, path.name)
        if mended:
            return mended
        what = "no image" if isinstance(first, UnidentifiedImageError) else "damaged image"
        why = str(first) if isinstance(first, DamageError) else type(first).__name__
        raise ImageError(f"{path.name}: {what} ({why}; begins with {data[:16]!r})") from first


def _decode(data: bytes, name: str) -> DecodedImage:
    check_whole(data)
    pixels, notes = raster.decode(data, name, lambda size: check_limit(size, name))
    check_end(data, pixels)
    faults = zero_notes(pixels, name) if is_plain(data) else hole_notes(data)
    return as_rgb(pixels, (*notes, *faults))


def _decode_repaired(data: bytes, name: str) -> DecodedImage | None:
    """Decode the intact part of a damaged file; None if there is none. Raises ImageError if it is less than half."""
    try:
        mended, share = repaired(data) or (None, 0.0)
        if mended is None:
            return None
        if share >= LEAST:
            pixels, notes = raster.decode(mended, name, lambda size: check_limit(size, name))
            return as_rgb(pixels, (*notes, "truncated file; the missing part was filled"))
    except Exception:  # see read_image
        logger.debug("%s: not decodable after repair either", name, exc_info=True)
        return None
    raise ImageError(f"{name}: damaged image; only {share:.0%} of its rows are readable")


def read_size(path: Path, *, isolated: bool = False) -> tuple[int, int] | None:
    """Return (width, height) from the file's header, or None if there is none. Decodes nothing.

    No native code reads the header of a medical file. Any file is read in a child process if `isolated`.
    """
    if not isolated:
        return header_size(path)
    try:
        return size_apart(path, PIXEL_LIMIT)
    except StartError:
        return None


def header_size(path: Path) -> tuple[int, int] | None:
    """Return the same as `read_size`, read in this process."""
    try:
        with path.open("rb") as stream:
            reader = reader_of(path, stream.read(HEAD_BYTES))
        if reader:
            return frame_size(path, reader)
        with Image.open(path, formats=raster.FORMATS) as image:
            return image.size
    except Exception:  # see decode_file
        return _size_of_damaged(path)


def _size_of_damaged(path: Path) -> tuple[int, int] | None:
    try:
        return raster.header_size(path.read_bytes()) if path.stat().st_size <= BYTE_LIMIT else None
    except OSError:
        return None


def check_limit(size: tuple[int, int], name: str) -> None:
    """Raise ImageError if there are no pixels, or more than the limits above."""
    if min(size) < 1:
        raise ImageError(f"{name}: an image of {size[0]}x{size[1]} pixels is empty")
    if size[0] * size[1] > PIXEL_LIMIT or max(size) > SIDE_LIMIT:
        limit = f"{PIXEL_LIMIT:,}, or {SIDE_LIMIT:,} on a side"
        raise ImageError(f"{name}: {size[0]}x{size[1]} pixels are more than the limit of {limit}")


def as_rgb(pixels: Pixels, notes: tuple[str, ...]) -> DecodedImage:
    """Convert 8-bit (H, W) or (H, W, channels). Of one or two channels the first is grey; a fourth is dropped."""
    if pixels.ndim == 3 and pixels.shape[2] < 3:
        pixels = pixels[..., 0]
    if pixels.ndim == 2:
        return DecodedImage(np.broadcast_to(pixels[..., None], (*pixels.shape, 3)), notes)
    return DecodedImage(np.ascontiguousarray(pixels[..., :3]), notes)


def _read_medical(path: Path, reader: str) -> DecodedImage:
    check_limit(frame_size(path, reader), path.name)
    frame = open_frame(path, reader)
    pixels, notes = to_eight_bit(frame.values, frame.stated)
    frames = (f"{frame.frames} frames; the middle one was used",) if frame.frames > 1 else ()
    faults = frame.faults or zero_notes(pixels, path.name)
    return as_rgb(pixels, (*notes, *frames, *frame.notes, *faults))
