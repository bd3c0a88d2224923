"""Whether a DICOM file's elements fit into the file. Its decoder allocates what a damaged length asks for: gigabytes.

Encoding of data elements: DICOM PS3.5, section 7; of the file's beginning: PS3.10, section 7.1.
"""

import re
import struct
from mmap import mmap

Bytes = bytes | mmap
PREAMBLE_BYTES, MARK = 128, b"DICM"

_LONG_FORM = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"])
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
_PIXELS, _TRANSFER_SYNTAX, _META_GROUP = (0x7FE0, 0x0010), (0x0002, 0x0010), 0x0002
_IMPLICIT, _BIG_ENDIAN, _DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"


def check_lengths(data: Bytes) -> None:
    """Walk over all elements of a file (bytes, or a memory map). Raises ValueError where they do not fit into it."""
    end = len(data)
    position = PREAMBLE_BYTES + len(MARK)
    if data[PREAMBLE_BYTES:position] != MARK:
        raise ValueError("no DICM mark")
    order, explicit, syntax = "<", [True], ""  # `explicit` is a stack: one entry per open sequence
    in_meta = True
    while position < end:
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
        elif tag == _PIXELS and length == _UNDEFINED:
            position = _after_fragments(data, order, position)
        elif length == _UNDEFINED and tag != _ITEM:
            explicit.append(explicit[-1] and name != "UN")
        elif length != _UNDEFINED and name != "SQ" and tag not in (_ITEM, _ITEM_END):
            if length > end - position:
                raise ValueError(f"element {group:04x},{element:04x} claims {length} bytes of {end - position}")
            position += length


def _header(data: Bytes, order: str, position: int, tag: tuple[int, int], explicit: bool) -> tuple[str, int, int]:
    """Return an element's value representation ("" where it is implicit), its length, and where its value begins."""
    if not explicit or tag in (_ITEM, _ITEM_END, _SEQUENCE_END):
        return "", _unpack(data, order + "I", position + 4)[0], position + 8
    name = bytes(data[position + 4 : position + 6]).decode("latin-1")
    if not re.fullmatch("[A-Z]{2}", name):
        raise ValueError(f"element {tag[0]:04x},{tag[1]:04x} has no type")
    if name in _LONG_FORM:
        return name, _unpack(data, order + "I", position + 8)[0], position + 12
    return name, _unpack(data, order + "H", position + 6)[0], position + 8


def _after_fragments(data: Bytes, order: str, position: int) -> int:
    while True:
        *tag, length = _unpack(data, order + "HHI", position)
        position += 8
        if tuple(tag) == _SEQUENCE_END:
            return position
        if tuple(tag) != _ITEM or length > len(data) - position:
            raise ValueError("damaged fragments of compressed pixels")
        position += length


def _unpack(data: Bytes, form: str, position: int) -> tuple[int, ...]:
    try:
        return struct.unpack_from(form, data, position)
    except struct.error as error:
        raise ValueError("an element is cut off") from error
