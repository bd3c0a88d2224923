"""The first directory of a TIFF file, and numbers that Pillow does not read (TIFF 6.0, section 2)."""

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from challenge.imaging import jpeg
from challenge.imaging.intensity import Numbers

MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _STRIPS = 256, 257, 258, 259, 262, 273
_ORIENTATION, _SAMPLES, _LENGTHS, _PLANAR, _FORMAT = 274, 277, 279, 284, 339
_ON_THE_SIDE = (5, 6, 7, 8)
_TILES, _TILE_LENGTHS = 324, 325
_LZW, _JPEG, _DEFLATE = 5, 7, (8, 32946)
_JPEG_TABLES = 347
_HOLE = bytes(64)
_CHUNK = 1 << 20
_FORMS = {1: "B", 3: "H", 4: "I", 7: "B", 16: "Q"}
_KINDS = {1: "u", 2: "i", 3: "f"}
_FORMAT_NAMES = {1: "unsigned", 2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}
_MOST_VALUES, _MOST_TAGS = 1 << 20, 1 << 12


@dataclass(frozen=True)
class Directory:
    """The first image of a file: its tags, each with its numbers, and its byte order."""

    order: str
    tags: dict[int, tuple[int, ...]]
    places: dict[int, tuple[int, str]]
    """Where each tag's numbers are, and how they are packed."""

    def one(self, tag: int, otherwise: int) -> int:
        """Return the first number of a tag."""
        return self.tags.get(tag, (otherwise,))[0]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) as shown, after the orientation."""
        width, height = self.one(_WIDTH, 0), self.one(_HEIGHT, 0)
        return (height, width) if self.one(_ORIENTATION, 1) in _ON_THE_SIDE else (width, height)

    @property
    def is_white_zero(self) -> bool:
        """Whether 0 means white."""
        return self.one(_PHOTOMETRIC, 1) == 0

    @property
    def is_grey_or_rgb(self) -> bool:
        """Whether the numbers are grey levels or RGB, not palette indices or another kind of colour."""
        return self.one(_PHOTOMETRIC, 1) in (0, 1, 2)

    @property
    def maximum(self) -> int | None:
        """The largest number of 9 to 15 bits; None for other depths."""
        bits = self.one(_BITS, 1)
        return (1 << bits) - 1 if 8 < bits < 16 else None

    @property
    def is_deep(self) -> bool:
        """Whether the numbers have more than 8 bits."""
        return self.one(_BITS, 1) > 8

    @property
    def is_planar(self) -> bool:
        """Whether each channel is stored separately."""
        return self.one(_PLANAR, 1) == 2 and self.one(_SAMPLES, 1) > 1

    @property
    def is_compressed(self) -> bool:
        """Whether the numbers are compressed."""
        return self.one(_COMPRESSION, 1) != 1

    @property
    def dtype(self) -> "np.dtype[np.generic] | None":
        """The type of the numbers; None if numpy has no such type."""
        bits, kind = set(self.tags.get(_BITS, (1,))), _KINDS.get(self.one(_FORMAT, 1), "u")
        width = bits.pop() if len(bits) == 1 else 0
        if width not in ((16, 32, 64) if kind == "f" else (8, 16, 32, 64)):
            return None
        return np.dtype(f"{self.order}{kind}{width // 8}")

    def has_hole(self, data: bytes) -> bool:
        """Whether the compressed data contain zeros that no picture compresses to."""
        compression = self.one(_COMPRESSION, 1)
        if _HOLE not in data or compression not in (_LZW, _JPEG, *_DEFLATE):
            return False
        parts = self.parts(data)
        if compression == _JPEG:
            tables = bytes(self.tags.get(_JPEG_TABLES, ())).removesuffix(jpeg.END) or jpeg.SIGNATURE
            return any(jpeg.hole(tables + part.removeprefix(jpeg.SIGNATURE)) is not None for part in parts)
        return any(_HOLE in part and (compression == _LZW or not _inflates(part)) for part in parts)

    def parts(self, data: bytes) -> Iterator[bytes]:
        """Yield the strips or tiles, as long as they claim no more than the file's size in total."""
        starts = self.tags.get(_STRIPS) or self.tags.get(_TILES, ())
        lengths = self.tags.get(_LENGTHS) or self.tags.get(_TILE_LENGTHS, ())
        left = len(data)
        for at, length in zip(starts, lengths, strict=False):
            left -= length
            if left < 0:
                return
            yield data[at : at + length]

    def __str__(self) -> str:
        bits = "/".join(map(str, dict.fromkeys(self.tags.get(_BITS, (1,)))))
        kind = _FORMAT_NAMES.get(self.one(_FORMAT, 1), "unknown")
        return f"TIFF of {bits}-bit {kind} numbers, compression {self.one(_COMPRESSION, 1)}"


def read_directory(data: bytes) -> Directory | None:
    """Return the first directory of a TIFF file; None if it is damaged or not a TIFF."""
    if not data.startswith(MARKS):
        return None
    order, is_big = "<" if data.startswith(b"II") else ">", data[2:4] in (b"+\0", b"\0+")
    first, number, entry, room = (8, "Q", "HHQ", 8) if is_big else (4, "I", "HHI", 4)
    tags, places = {}, {}
    try:
        (start,) = struct.unpack_from(order + number, data, first)
        (count,) = struct.unpack_from(order + ("Q" if is_big else "H"), data, start)
        start += 8 if is_big else 2
        for position in range(start, start + min(count, _MOST_TAGS) * (4 + 2 * room), 4 + 2 * room):
            tag, form, length = struct.unpack_from(order + entry, data, position)
            if form in _FORMS and 0 < length < _MOST_VALUES:
                layout = f"{order}{length}{_FORMS[form]}"
                at = position + 4 + room
                if struct.calcsize(layout) > room:
                    (at,) = struct.unpack_from(order + number, data, at)
                tags[tag], places[tag] = struct.unpack_from(layout, data, at), (at, layout)
    except struct.error:
        return None
    return Directory(order, tags, places)


def _inflates(data: bytes) -> bool:
    """Whether a zlib stream is complete, including its checksum."""
    decompressor = zlib.decompressobj()
    try:
        while data and not decompressor.eof:
            decompressor.decompress(data, _CHUNK)
            data = decompressor.unconsumed_tail
    except zlib.error:
        return False
    return decompressor.eof


def with_black_zero(data: bytes, directory: Directory) -> bytes:
    """Return the file with its zero marked as black, for a decoder that reads these numbers only in that form."""
    at, layout = directory.places[_PHOTOMETRIC]
    changed = bytearray(data)
    struct.pack_into(layout, changed, at, 1)
    return bytes(changed)


def read_plain(data: bytes, directory: Directory) -> Numbers | None:
    """Return the numbers (H, W) or (H, W, channels) of an image in uncompressed strips; None for any other image.

    Raises ValueError if a part of them is missing.
    """
    if directory.is_compressed or directory.dtype is None or _STRIPS not in directory.tags:
        return None
    width, height, samples = directory.one(_WIDTH, 0), directory.one(_HEIGHT, 0), directory.one(_SAMPLES, 1)
    whole, count = b"".join(directory.parts(data)), math.prod((width, height, samples))
    if len(whole) < count * directory.dtype.itemsize:
        raise ValueError("a part of the pixels is missing")
    values = np.frombuffer(whole, directory.dtype, count).astype(directory.dtype.newbyteorder("="))
    if directory.is_planar:
        values = np.moveaxis(values.reshape(samples, height, width), 0, 2)
    else:
        values = values.reshape((height, width, samples) if samples > 1 else (height, width))
    return _oriented(values, directory.one(_ORIENTATION, 1))


def _oriented(values: Numbers, orientation: int) -> Numbers:
    """Rotate or flip an image as its decoder would (TIFF 6.0, tag 274)."""
    if orientation in _ON_THE_SIDE:
        values = np.swapaxes(values, 0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values
