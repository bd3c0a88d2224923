"""Any supported image file -> 8-bit RGB on its raw pixel grid. The one policy for every odd format.

| file | what becomes of it |
|---|---|
| grey, grey + alpha, 1 bit | the grey value three times |
| RGBA, palette (with or without transparency) | RGB; alpha is dropped, as the organisers' reader does |
| CMYK, YCbCr, Lab, HSV | RGB by Pillow's conversion (inverted Adobe CMYK is handled there) |
| 16-bit | divided by 257, so 65535 becomes 255 (Pillow's own conversion clips to white) |
| 32-bit integer, float | scaled linearly from the image's own minimum..maximum |
| EXIF orientation | ignored: masks and boxes have none; logged (TIFF: applied by its decoder, size included) |
| several frames | the first (Pillow formats) or the middle one (DICOM, mha, nii); noted |
| truncated JPEG, PNG, BMP | what was stored (a hundredth at least), the rest filled; noted (`challenge.repair`) |
| DICOM, MetaImage, NIfTI | read by SimpleITK in a child process (`challenge.decoder`), scaled like 16/32-bit images |
| more than `PIXEL_LIMIT` pixels or `BYTE_LIMIT` bytes, another format, no image at all | ImageError |
"""

import io
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from challenge.decoder import StartError, decode_apart, size_apart
from challenge.errors import ImageError
from challenge.medical import HEAD_BYTES, frame_size, read_frame, reader_of
from challenge.repair import repaired

logger = logging.getLogger(__name__)

PIXEL_LIMIT = 100_000_000
# The limit above is checked on the header, before a pixel is decoded; Pillow's own guard would refuse to tell
# the size of a larger image, which its fallback mask needs.
Image.MAX_IMAGE_PIXELS = None

SIDE_LIMIT = 1_000_000
"""Width or height: resizing a line of more pixels takes gigabytes of filter weights."""
BYTE_LIMIT = 1_000_000_000
"""Of a file, which is held in memory while it is decoded."""
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "DIB", "JPEG2000", "WEBP")
"""What Pillow may try. Others run programs (EPS), open further files, or are told by no mark (TGA)."""

NATIVE_READERS = frozenset({"GDCMImageIO", "MetaImageIO", "NiftiImageIO"})
"""Readers of `challenge.medical` whose code may end the process or hang: SimpleITK's."""

_EXIF_ORIENTATION = 0x0112

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class DecodedImage:
    """`pixels` (H, W, 3) uint8 RGB on the native grid; `notes` say what a strict reader would have refused.

    Of a grey image all three channels are the same memory, which is read-only.
    """

    pixels: Pixels
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Native (width, height)."""
        return self.pixels.shape[1], self.pixels.shape[0]


def read_image(path: Path, *, isolated: bool = False) -> DecodedImage:
    """Decode an image file by its content (the ending does not matter). Raises ImageError.

    A file for one of `NATIVE_READERS`, or any file if `isolated`, is decoded in a child process: what it does to the
    decoder becomes an ImageError.
    """
    if not (isolated or _reader(path) in NATIVE_READERS):
        return decode_file(path)
    try:
        return _decode_apart(path)
    except StartError as error:
        if isolated:
            raise ImageError(f"{path.name}: it may end the process, and no other can be started ({error})") from error
        logger.warning("%s: decoded in this process, since no other can be started (%s)", path.name, error)
        return decode_file(path)


def _reader(path: Path) -> str | None:
    try:
        with path.open("rb") as stream:
            return reader_of(path, stream.read(HEAD_BYTES))
    except OSError:  # whoever reads it next will say so
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
    """Decode in this process, whatever the format. Raises ImageError."""
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
    except Exception as first:  # on damaged files decoders raise anything, struct.error and TypeError included
        mended = None if reader else _decode_repaired(data, path.name)
        if mended:
            return mended
        what = "no image" if isinstance(first, UnidentifiedImageError) else "damaged image"
        raise ImageError(f"{path.name}: {what} ({type(first).__name__}; begins with {data[:16]!r})") from first


def _decode_repaired(data: bytes, name: str) -> DecodedImage | None:
    try:
        mended = repaired(data)
        image = _decode(mended, name) if mended else None
    except Exception:  # see read_image
        logger.debug("%s: not decodable after repair either", name, exc_info=True)
        return None
    return DecodedImage(image.pixels, (*image.notes, "truncated file; the missing part was filled")) if image else None


def read_size(path: Path, *, isolated: bool = False) -> tuple[int, int] | None:
    """Return (width, height) from the file's header, or None if there is none. Decodes nothing.

    The same files as by `read_image` are read in a child process.
    """
    if not (isolated or _reader(path) in NATIVE_READERS):
        return header_size(path)
    try:
        return size_apart(path, PIXEL_LIMIT)
    except StartError:
        return None if isolated else header_size(path)


def header_size(path: Path) -> tuple[int, int] | None:
    """Return what `read_size` does, read in this process."""
    try:
        with path.open("rb") as stream:
            reader = reader_of(path, stream.read(HEAD_BYTES))
        if reader:
            return frame_size(path, reader)
        with Image.open(path, formats=FORMATS) as image:
            return image.size
    except Exception:  # see read_image
        return None


def _decode(data: bytes, name: str) -> DecodedImage:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        _check_limit(image.size, name)
        image.load()
        pixels = _to_rgb(image)
        orientation = _orientation(image)
        if orientation not in (0, 1):
            logger.info("%s: EXIF orientation %s is ignored; the raw pixel grid is used", name, orientation)
        frames = _frame_count(image)
        notes = (f"{frames} frames; the first was used",) if frames > 1 and image.format != "MPO" else ()
        return DecodedImage(pixels, notes)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1)) if image.format in ("JPEG", "MPO") else 1
    except Exception:  # damaged EXIF data says nothing about the pixels
        return 1


def _frame_count(image: Image.Image) -> int:
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # a later frame is damaged; the first is decoded already
        return 2


def _check_limit(size: tuple[int, int], name: str) -> None:
    if min(size) < 1:
        raise ImageError(f"{name}: {size[0]}x{size[1]} pixels are no picture")
    if size[0] * size[1] > PIXEL_LIMIT or max(size) > SIDE_LIMIT:
        limit = f"{PIXEL_LIMIT:,}, or {SIDE_LIMIT:,} on a side"
        raise ImageError(f"{name}: {size[0]}x{size[1]} pixels are more than the limit of {limit}")


def _to_rgb(image: Image.Image) -> Pixels:
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and image.format == "PNG"):
        return _grey_to_rgb(np.clip(np.asarray(image), 0, 65535) // 257)
    if mode in ("I", "F"):
        return _grey_to_rgb(_stretched(np.asarray(image)))
    if mode in ("L", "LA", "La"):
        return _grey_to_rgb(np.asarray(image.getchannel(0)))
    if mode == "P":
        # Straight to RGB would let a transparent palette entry become black with some encoders' tables.
        image = image.convert("RGBA") if "transparency" in image.info else image
    return np.asarray(image.convert("RGB"), dtype=np.uint8)


def _grey_to_rgb(grey: npt.NDArray[np.generic]) -> Pixels:
    return np.broadcast_to(grey.astype(np.uint8, copy=False)[..., None], (*grey.shape, 3))


def _stretched(values: npt.NDArray[np.generic]) -> Pixels:
    """Scale any numbers linearly from their minimum..maximum to 0..255; constant or non-finite become 0."""
    numbers = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = numbers.min(), numbers.max()
    if high <= low:
        return np.zeros(numbers.shape, np.uint8)
    scaled: Pixels = np.round((numbers - low) * (255.0 / (high - low))).astype(np.uint8)
    return scaled


def _read_medical(path: Path, reader: str) -> DecodedImage:
    _check_limit(frame_size(path, reader), path.name)
    array, frames = read_frame(path, reader)
    notes = (f"{frames} frames; the middle one was used",) if frames > 1 else ()
    pixels = array.astype(np.uint8, copy=False) if array.dtype == np.uint8 else _stretched(array)
    if pixels.ndim == 2:
        return DecodedImage(_grey_to_rgb(pixels), notes)
    rgb = pixels[..., :3] if pixels.shape[2] >= 3 else np.repeat(pixels[..., :1], 3, axis=2)
    return DecodedImage(np.ascontiguousarray(rgb), notes)
