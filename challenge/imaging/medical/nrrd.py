"""The header of an NRRD file (.nrrd, or .nhdr with a data file beside it): lines of `field: value`, a blank line."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from challenge.errors import ImageError
from challenge.imaging.medical.volume import Volume, checked_axes

MARK = b"NRRD000"

_HEADER_BYTES = 1 << 20
_TYPES = {
    "signed char": "i1", "int8": "i1", "int8_t": "i1",
    "uchar": "u1", "unsigned char": "u1", "uint8": "u1", "uint8_t": "u1",
    "short": "i2", "signed short": "i2", "int16": "i2", "int16_t": "i2",
    "ushort": "u2", "unsigned short": "u2", "uint16": "u2", "uint16_t": "u2",
    "int": "i4", "signed int": "i4", "int32": "i4", "int32_t": "i4",
    "uint": "u4", "unsigned int": "u4", "uint32": "u4", "uint32_t": "u4",
    "longlong": "i8", "long long": "i8", "signed long long": "i8", "int64": "i8", "int64_t": "i8",
    "ulonglong": "u8", "unsigned long long": "u8", "uint64": "u8", "uint64_t": "u8",
    "float": "f4", "double": "f8",
}  # fmt: skip
_COLOURS = ("rgb-color", "rgba-color", "3-color", "4-color", "vector", "2-vector", "3-vector", "4-vector")
_ORDERS = {"little": "<", "big": ">"}
_ENCODINGS = {"raw": False, "gzip": True, "gz": True}


def read_header(path: Path) -> Volume:
    """Return what the header says. Raises ImageError if it is damaged or not readable."""
    name = path.name
    with path.open("rb") as stream:
        fields, end = _fields(stream.read(_HEADER_BYTES), name)
    axes = checked_axes(fields["sizes"].split(), name)
    if fields["dimension"] != str(len(axes)):
        raise ImageError(f"{name}: the dimension is {fields['dimension'][:20]!r}, but there are {len(axes)} sizes")
    compressed = _ENCODINGS.get(fields["encoding"].lower(), False)
    data_file = fields.get("datafile")
    begin, skip = 0 if data_file else end, _skip(fields, name)
    if skip < 0 and compressed:
        raise ImageError(f"{name}: an NRRD file with a negative 'byte skip' and compressed data is not supported")
    return Volume(
        path=path,
        axes=axes,
        dtype=_dtype(fields, name),
        colour=_colour(fields, len(axes), name),
        data_file=data_file,
        start=begin if compressed else -1 if skip < 0 else begin + skip,
        compressed=compressed,
        skip=skip if compressed else 0,
        unsupported=_unsupported(fields),
    )


def _fields(head: bytes, name: str) -> tuple[dict[str, str], int]:
    """Return the fields by name (lower case, without spaces), and where the blank line after them ends."""
    end = re.search(rb"\r?\n\r?\n", head)
    if not head.startswith(MARK) or not (end or len(head) < _HEADER_BYTES):
        raise ImageError(f"{name}: the NRRD header is damaged")
    fields = {}
    for line in os.fsdecode(head[: end.start() if end else len(head)]).splitlines()[1:]:
        field, mark, value = line.partition(": ")
        if mark and not line.startswith("#"):
            fields[field.strip().lower().replace(" ", "")] = value.strip()
    for field in ("type", "dimension", "sizes", "encoding"):
        if field not in fields:
            raise ImageError(f"{name}: the NRRD header has no field {field!r}")
    return fields, end.end() if end else len(head)


def _unsupported(fields: Mapping[str, str]) -> str:
    if fields["encoding"].lower() not in _ENCODINGS:
        return f"an NRRD file of encoding {fields['encoding'][:20]!r}"
    if fields.get("lineskip", "0") != "0":
        return "an NRRD file with 'line skip'"
    return "" if _kind(fields) else f"an NRRD file of type {fields['type'][:40]!r}"


def _kind(fields: Mapping[str, str]) -> str:
    return _TYPES.get(re.sub(r"(short|long) int$", r"\1", fields["type"].lower()), "")


def _dtype(fields: Mapping[str, str], name: str) -> "np.dtype[np.generic]":
    order = _ORDERS.get(fields.get("endian", "little").lower())
    if order is None:
        raise ImageError(f"{name}: the NRRD header has a byte order that is neither little nor big")
    return np.dtype(order + (_kind(fields) or "u1"))


def _colour(fields: Mapping[str, str], axes: int, name: str) -> int | None:
    kinds = fields.get("kinds", "").lower().split()
    if not kinds:
        return None
    if len(kinds) != axes:
        raise ImageError(f"{name}: the NRRD header has {axes} sizes, but {len(kinds)} kinds")
    return next((axis for axis, kind in enumerate(kinds) if kind in _COLOURS), None)


def _skip(fields: Mapping[str, str], name: str) -> int:
    text = fields.get("byteskip", "0")
    if not re.fullmatch("-1|[0-9]{1,9}", text):
        raise ImageError(f"{name}: the NRRD header has a 'byte skip' of {text[:20]!r}")
    return int(text)
