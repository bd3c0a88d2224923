"""Reads one frame of a DICOM file with SimpleITK, which uses GDCM."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from challenge.errors import ImageError
from challenge.imaging import jpeg, jpeg2000
from challenge.imaging.intensity import FAR_BELOW, Numbers, Stated, range_of
from challenge.imaging.medical.dicom_lengths import check_lengths, fragments, stated_size
from challenge.imaging.medical.volume import LEAST, VOLUME_LIMIT, Frame

if TYPE_CHECKING:
    import SimpleITK as sitk  # the import takes a second, and few runs need it

_PHOTOMETRIC, _BITS_STORED, _HIGH_BIT, _SIGNED = "0028|0004", "0028|0101", "0028|0102", "0028|0103"
_PADDING, _PADDING_END = "0028|0120", "0028|0121"
_FUNCTION = "0028|1056"
_CENTER, _WIDTH, _INTERCEPT, _SLOPE = "0028|1050", "0028|1051", "0028|1052", "0028|1053"
_CONVERTED = ("YBR_FULL", "YBR_FULL_422")  # GDCM converts only these JPEG colours to RGB


def frame_size(path: Path) -> tuple[int, int]:
    """Return (width, height) from the header, even if GDCM refuses the file. Raises ImageError."""
    with _mapped(path) as data:
        size = stated_size(data)
    if size is None:
        raise ImageError(f"{path.name}: the DICOM header has no rows and columns")
    return size


def read_frame(path: Path) -> Frame:
    """Return the middle frame, as numbers where 0 is black. Raises ImageError."""
    import SimpleITK as sitk

    reader = _opened(path)
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    array = sitk.GetArrayFromImage(image)  # (..., z, y, x), then channels if there are several
    frames = math.prod(array.shape[: array.ndim - 2 - (image.GetNumberOfComponentsPerPixel() > 1)])
    array = array.reshape(frames, *array.shape[array.ndim - 2 - (image.GetNumberOfComponentsPerPixel() > 1) :])
    values = array[frames // 2]
    _check_size(path, values)
    header = {key: reader.GetMetaData(key).strip("\0 ") for key in reader.GetMetaDataKeys()}
    _check_high_bit(header, values, path.name)
    values, stated, notes = _as_dark_as_meant(values, header)
    if stated.window and header.get(_FUNCTION, "LINEAR") == "SIGMOID":
        notes = (*notes, "the window is a sigmoid; it was read as linear")
    frame = Frame(values, frames, stated, notes)
    return _as_its_jpeg_says(frame, path, header.get(_PHOTOMETRIC, ""))


def _check_size(path: Path, values: Numbers) -> None:
    """If the size differs between header and compressed data, one is damaged; GDCM silently uses the data's size."""
    stated, (height, width) = frame_size(path), values.shape[:2]
    if stated != (width, height):
        raise ImageError(
            f"{path.name}: the pixels are {width}x{height}, but the DICOM header says {stated[0]}x{stated[1]}"
        )


def _opened(path: Path) -> "sitk.ImageFileReader":
    import SimpleITK as sitk

    with _mapped(path) as data:
        check_lengths(data)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    if reader.GetDimension() < 2:
        raise ImageError(f"{path.name}: the image has {reader.GetDimension()} dimension; two are needed")
    component = sitk.Image([1, 1], reader.GetPixelID()).GetSizeOfPixelComponent()
    volume = math.prod(reader.GetSize()) * reader.GetNumberOfComponents() * component
    if volume > VOLUME_LIMIT:
        raise ImageError(f"{path.name}: {volume:,} bytes of pixels are more than the limit of {VOLUME_LIMIT:,}")
    return reader


def _check_high_bit(header: Mapping[str, str], values: Numbers, name: str) -> None:
    """GDCM always reads the low bits. Raises ImageError if the numbers are in other bits."""
    bits, high = _number(header, _BITS_STORED), _number(header, _HIGH_BIT)
    shift = int(high + 1 - bits) if bits and high is not None else 0
    if 0 < shift < 16 and values.dtype.kind in "iu" and not (values & ((1 << shift) - 1)).any():  # type: ignore[operator]
        raise ImageError(f"{name}: a DICOM file with its numbers in the upper bits (HighBit {high:g}) is not supported")


@contextmanager
def _mapped(path: Path) -> Iterator[mmap]:
    """The file's bytes. A ValueError about them becomes an ImageError."""
    try:
        with path.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as data:
            yield data
    except (OSError, ValueError) as error:
        raise ImageError(f"{path.name}: not readable as a medical image ({error})") from error


def _unreadable(path: Path, error: RuntimeError) -> ImageError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return ImageError(f"{path.name}: not readable as a medical image ({lines[-1][:200]})")


def _stated(header: Mapping[str, str]) -> Stated:
    """What the header says about the numbers that GDCM returns: rescaled, and inverted if zero is white."""
    bits, signed = int(_number(header, _BITS_STORED) or 16), _number(header, _SIGNED) == 1
    slope, intercept = _number(header, _SLOPE), _number(header, _INTERCEPT) or 0.0
    slope = 1.0 if slope is None else slope
    turned = -1 if signed else (1 << bits) - 1
    is_turned = header.get(_PHOTOMETRIC) == "MONOCHROME1"

    def rescaled(stored: float) -> float:
        return slope * (turned - stored if is_turned else stored) + intercept

    window = _window(header)
    if window and is_turned:
        whole = slope * turned + 2 * intercept
        window = whole - window[1], whole - window[0]
    padding = _padding(header, signed, bits)
    return Stated(
        maximum=(1 << bits) - 1 if bits < 16 and not signed and (slope, intercept) == (1, 0) else None,
        window=window,
        padding=_sorted(*map(rescaled, padding)) if padding else None,
    )


def _as_dark_as_meant(values: Numbers, header: Mapping[str, str]) -> tuple[Numbers, Stated, tuple[str, ...]]:
    """If zero is white, GDCM inverts within all bits, which makes small numbers nearly white: invert in their range."""
    stated, bits = _stated(header), int(_number(header, _BITS_STORED) or 16)
    own = (1 << bits) - 1
    if header.get(_PHOTOMETRIC) != "MONOCHROME1" or values.dtype != np.uint16 or stated.window or stated.padding:
        return values, stated, ()
    largest = own - int(values.min())
    top = range_of(largest) or own
    is_believed = bits < 16 and own / FAR_BELOW < largest
    if (_SLOPE in header or _INTERCEPT in header) or is_believed or top >= own:
        return values, stated, ()
    note = f"numbers up to {largest} of {own}: inverted within 0..{top}"
    return values - np.uint16(own - top), Stated(maximum=top), (note,)  # type: ignore[operator]


def _window(header: Mapping[str, str]) -> tuple[float, float] | None:
    """Return the numbers that the first window shows as black and as white (PS3.3, C.11.2.1.2)."""
    center, width = _number(header, _CENTER), _number(header, _WIDTH)
    if center is None or width is None or width <= 1:
        return None
    return center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2


def _padding(header: Mapping[str, str], signed: bool, bits: int) -> tuple[float, float] | None:
    """Return the first and last stored padding number. The header may store it with the other sign type."""
    first, last = (_number(header, key) for key in (_PADDING, _PADDING_END))
    if first is None:
        return None
    return _sorted(*(_signed_as(number, signed, bits) for number in (first, first if last is None else last)))


def _signed_as(number: float, signed: bool, bits: int) -> float:
    if signed:
        return number - (1 << 16) if number >= 1 << 15 else number
    return number + (1 << 16) if number < 0 else number


def _sorted(first: float, last: float) -> tuple[float, float]:
    return min(first, last), max(first, last)


def _number(header: Mapping[str, str], key: str) -> float | None:
    """Return the first number of an element, or None without one."""
    try:
        number = float(header.get(key, "").split("\\")[0])
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _as_its_jpeg_says(frame: Frame, path: Path, photometric: str) -> Frame:
    """Correct a JPEG frame by its data: GDCM trusts the header's colours and silently fills missing parts."""
    with _mapped(path) as data:
        parts = fragments(data)
    if len(parts) != frame.frames:
        parts = [b"".join(parts)] if parts and frame.frames == 1 else []
    if not parts:
        return frame
    part = parts[frame.frames // 2]
    if not jpeg.is_dct(part):
        return replace(frame, faults=_hole_faults(part))
    faults = _faults(part, path.name)
    marked = jpeg.colours(part)
    if frame.values.ndim < 3 or marked is None or (marked == "YCbCr") == (photometric in _CONVERTED):
        return replace(frame, faults=faults)
    with Image.open(BytesIO(jpeg.without_end(part) + jpeg.END), formats=("JPEG",)) as image:
        values: Numbers = np.asarray(image.convert("RGB"))
    if values.shape != frame.values.shape:
        raise ImageError(f"{path.name}: the JPEG data and the DICOM header disagree on the size")
    note = f"the JPEG data are {marked}, but the header says {photometric!r}"
    return replace(frame, values=values, notes=(*frame.notes, note), faults=faults)


def _hole_faults(part: bytes) -> tuple[str, ...]:
    is_lossless = part.startswith(jpeg.SIGNATURE) and jpeg.hole(part) is not None
    return (jpeg2000.NOTE,) if is_lossless else jpeg2000.hole_notes(part)


def _faults(part: bytes, name: str) -> tuple[str, ...]:
    if part.rstrip(b"\0").endswith(jpeg.END) and jpeg.hole(part) is None:
        return ()
    if (share := jpeg.share(part)) < LEAST:
        raise ImageError(f"{name}: damaged image; only {share:.0%} of its rows are readable")
    return ("truncated JPEG data; the missing part was filled",)
