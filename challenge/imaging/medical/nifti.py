"""The header of a NIfTI file, version 1 or 2: .nii, .nii.gz, or a pair of .hdr and .img."""

import math
import re
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from challenge.errors import ImageError
from challenge.imaging.medical.volume import Volume, checked_axes, sibling

HEAD_BYTES = 544
"""How many inflated bytes of a file `is_nifti` needs."""

_GZIP = b"\x1f\x8b"
_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 128: "u1", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
    2304: "u1",
}  # fmt: skip
_CHANNELS = {128: 3, 2304: 4}
_LAYOUTS = {  # positions of dimensions, data type, intent, offset, and slope with intercept
    348: ((40, "8h"), (70, "h"), (68, "h"), (108, "f"), (112, "2f")),
    540: ((16, "8q"), (12, "h"), (504, "i"), (168, "q"), (176, "2d")),
}
_IMAGE_ENDING = re.compile(r"\.(?P<kind>img)(?P<gz>(\.gz)?)$", re.IGNORECASE)
_HEADER_ENDING = re.compile(r"\.(?P<kind>hdr)(?P<gz>(\.gz)?)$", re.IGNORECASE)
_RAW_BYTES = 1 << 14
_FURTHEST = 1 << 30
_VECTORS = (1007, 2003, 2004)  # intents: a vector, RGB, RGBA along the fifth axis


def is_nifti(head: bytes) -> bool:
    """Whether a file that begins with `head`, inflated or not, is a NIfTI image or the header of a pair."""
    head = _plain(head)
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")


def is_image_of_pair(path: Path) -> bool:
    """Whether a file has the name of a pair's pixel file, and the header is beside it."""
    if not _IMAGE_ENDING.search(path.name):
        return False
    try:
        with header_file(path).open("rb") as stream:
            return is_nifti(stream.read(_RAW_BYTES))
    except (ImageError, OSError):
        return False


def read_header(path: Path) -> Volume:
    """Return what the header says. `path` may be either file of a pair. Raises ImageError if it is damaged."""
    name = path.name
    with header_file(path).open("rb") as stream:
        raw = stream.read(_RAW_BYTES)
    head = _plain(raw)
    if not is_nifti(head):
        raise ImageError(f"{name}: the header has no NIfTI mark (ANALYZE files are not supported)")
    if len(head) < HEAD_BYTES - 4:
        head += bytes(HEAD_BYTES - len(head))  # version 1 is shorter; all of its used fields have been read
    order, fields = _fields(head, name)
    count = fields.dimensions[0]
    axes = checked_axes(list(fields.dimensions[1 : 1 + count]) if 0 < count < 8 else [], name)
    channels = _CHANNELS.get(fields.kind)
    is_vector = fields.intent in _VECTORS and len(axes) >= 5 and axes[4] > 1
    is_pair = head[344:346] == b"ni" or head[4:6] == b"ni"
    start = int(fields.offset) if 0 <= fields.offset < _FURTHEST else -1
    if start < 0:
        raise ImageError(f"{name}: the header says that the pixels begin at byte {fields.offset}")
    start = start if is_pair else max(start, 544 if head[4:7] == b"n+2" else 352)
    data_file = _data_file(path) if is_pair else None
    compressed = (data_file or name).lower().endswith(".gz") if is_pair else raw.startswith(_GZIP)
    return Volume(
        path=path,
        axes=(channels, *axes) if channels else axes,
        dtype=np.dtype(order + _TYPES.get(fields.kind, "u1")),
        colour=0 if channels else 4 if is_vector else None,
        data_file=data_file,
        start=0 if compressed else start,
        compressed=compressed,
        skip=start if compressed else 0,
        scale=_scale(fields.slope, fields.intercept),
        unsupported="" if fields.kind in _TYPES else f"a NIfTI file of data type {fields.kind}",
    )


def header_file(path: Path) -> Path:
    """Return the file that holds the header: `path` itself, or the .hdr file beside an .img file. Raises ImageError."""
    found = _IMAGE_ENDING.search(path.name)
    if not found:
        return path
    beside = f"{path.name[: found.start()]}.{'HDR' if found['kind'].isupper() else 'hdr'}{found['gz']}"
    return sibling(path, beside)


def _data_file(path: Path) -> str | None:
    """Return the name of the .img file beside a .hdr file; None for an .img file, which holds the pixels itself."""
    if _IMAGE_ENDING.search(path.name):
        return None
    found = _HEADER_ENDING.search(path.name)
    if not found:
        raise ImageError(f"{path.name}: the header of a NIfTI pair must end in .hdr")
    return f"{path.name[: found.start()]}.{'IMG' if found['kind'].isupper() else 'img'}{found['gz']}"


class _Fields(NamedTuple):
    dimensions: tuple[int, ...]
    kind: int
    intent: int
    offset: float
    slope: float
    intercept: float


def _fields(head: bytes, name: str) -> tuple[str, _Fields]:
    """Return the byte order and the fields of a header of either version."""
    for order in "<>":
        (size,) = struct.unpack_from(order + "i", head)
        for length, forms in _LAYOUTS.items():
            if size == length:
                dimensions, *others = (struct.unpack_from(order + form, head, at) for at, form in forms)
                return order, _Fields(dimensions, *(value for values in others for value in values))
    raise ImageError(f"{name}: the NIfTI header is damaged")


def _scale(slope: float, intercept: float) -> tuple[float, float]:
    """A slope of 0 means no scaling."""
    if slope == 0 or not math.isfinite(slope) or not math.isfinite(intercept):
        return 1.0, 0.0
    return slope, intercept


def _plain(head: bytes) -> bytes:
    if not head.startswith(_GZIP):
        return head
    try:
        return zlib.decompressobj(wbits=31).decompress(head, HEAD_BYTES)
    except zlib.error:
        return b""
