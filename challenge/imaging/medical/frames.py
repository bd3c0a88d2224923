"""DICOM, MetaImage, NIfTI and NRRD: a file's format, its size from the header, and one frame of numbers.

MetaImage, NIfTI and NRRD have small strict readers here, because ITK's readers read foreign memory if a header is
wrong. SimpleITK reads only DICOM (`challenge.imaging.medical.dicom`).
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from challenge.errors import ImageError
from challenge.imaging import tiff
from challenge.imaging.intensity import Numbers
from challenge.imaging.medical import dicom, metaimage, nifti, nrrd
from challenge.imaging.medical.dicom_lengths import MARK, NO_PREAMBLE, PREAMBLE_BYTES
from challenge.imaging.medical.volume import Frame, Volume, read_volume, with_colour_axis

HEAD_BYTES = 1 << 12
"""How many bytes of a file `reader_of` needs."""

_DICOM, _META, _NIFTI, _NRRD = "GDCMImageIO", "MetaImageIO", "NiftiImageIO", "NrrdImageIO"
_HEADERS: Mapping[str, Callable[[Path], Volume]] = {
    _META: metaimage.read_header,
    _NIFTI: nifti.read_header,
    _NRRD: nrrd.read_header,
}
_ENDINGS = {
    ".dcm": _DICOM,
    ".dicom": _DICOM,
    ".mha": _META,
    ".mhd": _META,
    ".nii": _NIFTI,
    ".nii.gz": _NIFTI,
    ".hdr": _NIFTI,
    ".hdr.gz": _NIFTI,
    ".nrrd": _NRRD,
    ".nhdr": _NRRD,
}
_OTHER_MARKS = (
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF8",
    b"BM",
    *tiff.MARKS,
    b"RIFF",
    b"\0\0\0\x0cjP",
    b"\xff\x4f\xff",
)


def reader_of(path: Path, head: bytes) -> str | None:
    """Return the name of the reader for a file; None if it is not a medical image.

    The content decides. The ending counts only for the pixel file of a NIfTI pair, whose content has no mark.
    """
    if head[PREAMBLE_BYTES : PREAMBLE_BYTES + len(MARK)] == MARK or head.startswith(NO_PREAMBLE):
        return _DICOM
    if metaimage.BEGINNING.match(head):
        return _META
    if head.startswith(nrrd.MARK):
        return _NRRD
    if nifti.is_nifti(head) or nifti.is_image_of_pair(path):
        return _NIFTI
    if head.startswith(_OTHER_MARKS):
        return None
    name = path.name.lower()
    return next((reader for ending, reader in _ENDINGS.items() if name.endswith(ending)), None)


def frame_size(path: Path, reader_name: str) -> tuple[int, int]:
    """Return (width, height) from the header, even if the rest of the file is unreadable. Raises ImageError."""
    if reader_name == _DICOM:
        return dicom.frame_size(path)
    return _header(path, reader_name).size()


def open_frame(path: Path, reader_name: str) -> Frame:
    """Return the middle frame of a volume or video, and what the file says about it. Raises ImageError."""
    if reader_name == _DICOM:
        return dicom.read_frame(path)
    return read_volume(_header(path, reader_name))


def read_frame(path: Path, reader_name: str) -> tuple[Numbers, int]:
    """Return the middle frame, (H, W[, C]) raw numbers, and the number of frames.

    Raises ImageError, also where something is missing or damaged.
    """
    frame = open_frame(path, reader_name)
    if frame.faults:
        raise ImageError(f"{path.name}: {frame.faults[0]}")
    return frame.values, frame.frames


def _header(path: Path, reader_name: str) -> Volume:
    try:
        return with_colour_axis(_HEADERS[reader_name](path))
    except OSError as error:
        raise ImageError(f"{path.name}: {error.strerror or error}") from error
