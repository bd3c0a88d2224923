"""Checks that a DICOM file's elements fit into the file. The decoder would allocate gigabytes for a damaged length.

Encoding of data elements: DICOM PS3.5, section 7; of the file's beginning: PS3.10, section 7.1. Common mistakes that
the decoder accepts are accepted here: no preamble, a few bytes after the pixels, private elements without a type.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap

Bytes = bytes | mmap
PREAMBLE_BYTES, MARK = 128, b"DICM"
NO_PREAMBLE = b"\x02\x00\x00\x00UL\x04\x00"
"""How a file without preamble and mark begins."""

Tag = tuple[int, int]
ROWS, COLUMNS, PIXELS = (0x0028, 0x0010), (0x0028, 0x0011), (0x7FE0, 0x0010)

_LONG_FORM = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"])
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
_TRANSFER_SYNTAX, _META_GROUP = (0x0002, 0x0010), 0x0002
_IMPLICIT, _BIG_ENDIAN, _DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
_UNTYPED = ("  ", "??")
_LEAST_ELEMENT = 4  # fewer bytes after the pixels cannot be an element; the decoder ignores them


@dataclass(frozen=True)
class Element:
    """A data element of the outermost level, or a fragment of compressed pixels, and where its value is."""

    tag: Tag
    start: int
    length: int
    order: str = "<"


def check_lengths(data: Bytes) -> None:
    """Walk over all elements of a file (bytes, or a memory map). Raises ValueError if one does not fit into it."""
    for _ in elements(data):
        pass


def stated_size(data: Bytes) -> tuple[int, int] | None:
    """Return (width, height) if the readable elements contain them, else None. Raises nothing."""
    found: dict[Tag, int] = {}
    try:
        for element in elements(data):
            if element.tag in (ROWS, COLUMNS) and element.length == 2:
                found.setdefault(element.tag, _unpack(data, element.order + "H", element.start)[0])
    except ValueError:
        pass
    return (found[COLUMNS], found[ROWS]) if len(found) == 2 and all(found.values()) else None


def fragments(data: Bytes) -> list[bytes]:
    """Return the fragments of compressed pixels without the offset table before them. Raises ValueError."""
    return [bytes(data[e.start : e.start + e.length]) for e in elements(data) if e.tag == _ITEM][1:]


def elements(data: Bytes) -> Iterator[Element]:
    """Walk over a file and yield its elements of the outermost level. Raises ValueError if one does not fit."""
    end, position = len(data), _beginning(data)
    order, explicit, syntax = "<", [True], ""  # `explicit` is a stack: one entry per open sequence
    in_meta, after_pixels = True, False
    while position < end:
        if after_pixels and (end - position < _LEAST_ELEMENT or not bytes(data[position:]).strip(b"\0")):
            return
        if in_meta and _unpack(data, "<H", position)[0] != _META_GROUP:
            in_meta = False
            if syntax == _DEFLATED:
                raise ValueError("a deflated data set")
            order, explicit = ">" if syntax == _BIG_ENDIAN else "<", [syntax != _IMPLICIT]
        group, element = _unpack(data, order + "HH", position)
        tag = group, element
        name, length, position = _header(data, order, position, tag, explicit[-1])
        if tag == _TRANSFER_SYNTAX and in_meta:
            syntax = bytes(data[position : position + length]).decode("latin-1").strip("\0 ")
        if tag == _SEQUENCE_END:
            explicit.pop()
            if not explicit:
                raise ValueError("a sequence that ends twice")
        elif tag == PIXELS and length == _UNDEFINED:
            for fragment in _fragments(data, order, position):
                yield fragment
                position = fragment.start + fragment.length
            after_pixels = len(explicit) == 1
        elif length == _UNDEFINED and tag != _ITEM:
            explicit.append(explicit[-1] and name != "UN")
        elif length != _UNDEFINED and name != "SQ" and tag not in (_ITEM, _ITEM_END):
            if length > end - position:
                raise ValueError(f"element {group:04x},{element:04x} claims {length} bytes of {end - position}")
            if len(explicit) == 1:
                yield Element(tag, position, length, order)
            after_pixels = after_pixels or (tag == PIXELS and len(explicit) == 1)
            position += length


def _beginning(data: Bytes) -> int:
    """Where the first element begins."""
    if data[PREAMBLE_BYTES : PREAMBLE_BYTES + len(MARK)] == MARK:
        return PREAMBLE_BYTES + len(MARK)
    if data[: len(NO_PREAMBLE)] == NO_PREAMBLE:
        return 0
    raise ValueError("no DICM mark")


def _header(data: Bytes, order: str, position: int, tag: Tag, explicit: bool) -> tuple[str, int, int]:
    """Return an element's value representation ("" if implicit), its length, and where its value begins."""
    if not explicit or tag in (_ITEM, _ITEM_END, _SEQUENCE_END):
        return "", _unpack(data, order + "I", position + 4)[0], position + 8
    name = bytes(data[position + 4 : position + 6]).decode("latin-1")
    # If there are blanks instead of a type, the decoder reads a long length after them.
    if name in _LONG_FORM or name in _UNTYPED:
        return name, _unpack(data, order + "I", position + 8)[0], position + 12
    if not re.fullmatch("[A-Z]{2}", name):
        raise ValueError(f"element {tag[0]:04x},{tag[1]:04x} has no type")
    return name, _unpack(data, order + "H", position + 6)[0], position + 8


def _fragments(data: Bytes, order: str, position: int) -> Iterator[Element]:
    """Yield the fragments of compressed pixels, and the empty element that ends them."""
    while True:
        *tag, length = _unpack(data, order + "HHI", position)
        position += 8
        if tuple(tag) == _SEQUENCE_END:
            yield Element(_SEQUENCE_END, position, 0)
            return
        if tuple(tag) != _ITEM or length > len(data) - position:
            raise ValueError("damaged fragments of compressed pixels")
        yield Element(_ITEM, position, length)
        position += length


def _unpack(data: Bytes, form: str, position: int) -> tuple[int, ...]:
    try:
        return struct.unpack_from(form, data, position)
    except struct.error as error:
        raise ValueError("an element is cut off") from error
