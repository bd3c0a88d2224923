"""The header of a MetaImage file (.mha, or .mhd with a data file beside it): lines of `Key = value`."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from challenge.errors import ImageError
from challenge.imaging.medical.volume import Volume, checked_axes

BEGINNING = re.compile(rb"\s*(ObjectType|ObjectSubType|NDims|Comment|TransformType|DimSize)\s*[=:]")
"""How the content of a MetaImage file begins."""

_HEADER_BYTES = 1 << 20
_LINE = re.compile(rb"(?P<key>[^\n=:]*)[=:](?P<value>[^\n]*)\n")
_TYPES = {
    "CHAR": "i1", "UCHAR": "u1", "SHORT": "i2", "USHORT": "u2", "INT": "i4", "UINT": "u4", "LONG": "i4", "ULONG": "u4",
    "LONG_LONG": "i8", "ULONG_LONG": "u8", "FLOAT": "f4", "DOUBLE": "f8",
}  # fmt: skip


def read_header(path: Path) -> Volume:
    """Return what the header says. Raises ImageError if it is damaged or not readable."""
    with path.open("rb") as stream:
        keys, end = _keys(stream.read(_HEADER_BYTES), path.name)
    axes = checked_axes(keys["DimSize"].split(), path.name)
    if keys["NDims"] != str(len(axes)):
        raise ImageError(f"{path.name}: NDims is {keys['NDims'][:20]!r}, but DimSize has {len(axes)} numbers")
    channels = _number(keys, "ElementNumberOfChannels", 1, path.name)
    is_local = keys["ElementDataFile"].casefold() == "local"
    return Volume(
        path=path,
        axes=(*checked_axes([channels, 1], path.name)[:1], *axes) if channels != 1 else axes,
        dtype=_dtype(keys),
        colour=0 if channels != 1 else None,
        data_file=None if is_local else keys["ElementDataFile"],
        start=end if is_local else _number(keys, "HeaderSize", 0, path.name),
        compressed=_is_true(keys, "CompressedData", "False"),
        unsupported=_unsupported(keys),
    )


def _keys(head: bytes, name: str) -> tuple[dict[str, str], int]:
    """Return the header's values by key, and where it ends: after ElementDataFile, which is its last line."""
    keys: dict[str, str] = {}
    for line in _LINE.finditer(head):
        keys[os.fsdecode(line["key"]).strip()] = os.fsdecode(line["value"]).strip()
        if "ElementDataFile" not in keys:
            continue
        for key in ("NDims", "DimSize", "ElementType"):
            if key not in keys:
                raise ImageError(f"{name}: the MetaImage header has no {key}")
        return keys, line.end()
    raise ImageError(f"{name}: the MetaImage header does not end with ElementDataFile")


def _unsupported(keys: Mapping[str, str]) -> str:
    if not _is_true(keys, "BinaryData", "True"):
        return "a MetaImage with its numbers as text (BinaryData = False)"
    return "" if _kind(keys) else f"a MetaImage of ElementType {keys['ElementType'][:40]!r}"


def _kind(keys: Mapping[str, str]) -> str:
    return _TYPES.get(keys["ElementType"].removeprefix("MET_").removesuffix("_ARRAY"), "")


def _dtype(keys: Mapping[str, str]) -> "np.dtype[np.generic]":
    big_endian = "BinaryDataByteOrderMSB" if "BinaryDataByteOrderMSB" in keys else "ElementByteOrderMSB"
    return np.dtype((">" if _is_true(keys, big_endian, "False") else "<") + (_kind(keys) or "u1"))


def _is_true(keys: Mapping[str, str], key: str, otherwise: str) -> bool:
    return keys.get(key, otherwise)[:1] in ("T", "t", "1")


def _number(keys: Mapping[str, str], key: str, otherwise: int, name: str) -> int:
    text = keys.get(key, str(otherwise))
    if not re.fullmatch(r"-1|[0-9]{1,9}", text):
        raise ImageError(f"{name}: {key} is {text[:40]!r}, which is not a valid number")
    return int(text)
