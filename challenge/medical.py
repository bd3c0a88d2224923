"""DICOM, MetaImage and NIfTI through SimpleITK: the size from the header, and one frame of numbers.

The reader is chosen here, not by ITK's search through all of its formats: a file must not be able to ask for another
reader, nor name another file of the disk as its pixels.
"""

import math
import re
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from challenge.dicom import MARK, PREAMBLE_BYTES, check_lengths
from challenge.errors import ImageError

if TYPE_CHECKING:
    import SimpleITK as sitk  # a second to import, and few runs need it

HEAD_BYTES = PREAMBLE_BYTES + len(MARK)
"""As much of a file as `reader_of` wants to see."""
VOLUME_LIMIT = 1_000_000_000
"""Bytes of all frames of a file: SimpleITK holds them all in memory."""

_ENDINGS = {
    ".dcm": "GDCMImageIO",
    ".dicom": "GDCMImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
    ".nii": "NiftiImageIO",
    ".nii.gz": "NiftiImageIO",
}
_DATA_FILE_KEY = re.compile(rb"ElementDataFile[^\r\n]*")
_DATA_FILE = re.compile(rb"ElementDataFile\s*[=:]\s*(?!LIST|\.+\s*$)[^\s/\\%]+\s*")


def reader_of(path: Path, head: bytes) -> str | None:
    """Return the name of ITK's reader for a file, by its content or its ending; None if it is no medical image."""
    if head[PREAMBLE_BYTES:HEAD_BYTES] == MARK:
        return "GDCMImageIO"
    if head.startswith(b"ObjectType ="):
        return "MetaImageIO"
    name = path.name.lower()
    return next((reader for ending, reader in _ENDINGS.items() if name.endswith(ending)), None)


def frame_size(path: Path, reader_name: str) -> tuple[int, int]:
    """Return (width, height) from the header. Raises ImageError."""
    width, height = _opened(path, reader_name).GetSize()[:2]
    return int(width), int(height)


def read_frame(path: Path, reader_name: str) -> tuple[npt.NDArray[np.generic], int]:
    """Return the middle frame of a volume or video, (H, W[, C]), and the number of frames. Raises ImageError."""
    import SimpleITK as sitk

    reader = _opened(path, reader_name)
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    array = sitk.GetArrayFromImage(image)  # (..., z, y, x), and channels last where there are several
    frame_axes = array.ndim - 2 - (image.GetNumberOfComponentsPerPixel() > 1)
    frames = array.shape[0] if frame_axes else 1
    for _ in range(frame_axes):
        frames = max(frames, array.shape[0])
        array = array[array.shape[0] // 2]
    return array, frames


def _opened(path: Path, reader_name: str) -> "sitk.ImageFileReader":
    import SimpleITK as sitk

    try:
        with path.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as data:
            if reader_name == "MetaImageIO":
                _check_data_file(data)
            elif reader_name == "GDCMImageIO":
                check_lengths(data)
    except (OSError, ValueError) as error:
        raise ImageError(f"{path.name}: not readable as a medical image ({error})") from error
    reader = sitk.ImageFileReader()
    reader.SetImageIO(reader_name)
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


def _check_data_file(data: mmap) -> None:
    """A MetaImage names the file of its pixels: this one (LOCAL) or one beside it, nothing else. Raises ValueError.

    The name may stand anywhere, and another one in a comment before it: each of them must be harmless.
    """
    for line in _DATA_FILE_KEY.findall(data):
        if not _DATA_FILE.fullmatch(line):
            raise ValueError(f"the header says {line[:200].decode('latin-1')!r}; only a file beside it is read")


def _unreadable(path: Path, error: RuntimeError) -> ImageError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return ImageError(f"{path.name}: not readable as a medical image ({lines[-1][:200]})")
