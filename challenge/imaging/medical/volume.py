"""How MetaImage, NIfTI and NRRD lay out their numbers, and how one frame is read.

The formats differ only in their headers. Each has a small strict reader that turns the header into a `Volume`. The
numbers are read here. Of an uncompressed file only the one frame is read.
"""

import math
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from challenge.errors import ImageError
from challenge.imaging.intensity import NOTHING, Numbers, Stated

VOLUME_LIMIT = 1_000_000_000
"""Limit for the inflated bytes of all frames of a file."""
LEAST = 0.5
"""The share of a picture that must be there; with less, the file is refused."""

_LONGEST_AXIS = 1 << 31
_MOST_AXES = 16
_CHUNK = 1 << 16
_STEP = 512  # a damaged stream loses at most what this many bytes inflate to
_COLOURS = (3, 4)
_ALIKE = 0.7
_CUT = "incomplete file; the missing part was filled"


@dataclass(frozen=True)
class Frame:
    """One picture of numbers (H, W) or (H, W, channels), and what its file says about it."""

    values: Numbers
    frames: int = 1
    stated: Stated = NOTHING
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    """What is missing or damaged; missing numbers are zeros."""


@dataclass(frozen=True)
class Volume:
    """What a header says about its numbers, and where they are."""

    path: Path
    axes: tuple[int, ...]
    """Lengths of the axes, fastest first: x, y, then frames; one of them may be `colour`."""
    dtype: "np.dtype[np.generic]"
    colour: int | None = None
    data_file: str | None = None
    """The file beside `path` that contains the numbers, if `path` does not."""
    start: int = 0
    """The byte of the file where the (compressed) numbers begin; -1: they are its last bytes."""
    compressed: bool = False
    skip: int = 0
    """Inflated bytes before the numbers."""
    scale: tuple[float, float] = (1.0, 0.0)
    """Slope and intercept that turn numbers into values."""
    unsupported: str = ""
    """Why the numbers cannot be read, if so; the size is known all the same."""

    def size(self) -> tuple[int, int]:
        """Return (width, height) of a frame. Raises ImageError if the axes are not those of a picture."""
        x, y, _ = self.roles()
        return self.axes[x], self.axes[y]

    def roles(self) -> tuple[int, int, list[int]]:
        """Return which axes are x, y and frames. Axes of length 1 are skipped: nnU-Net puts one before x and y."""
        axes = [axis for axis in range(len(self.axes)) if axis != self.colour]
        if len(axes) < 2:
            raise ImageError(f"{self.path.name}: the image has {len(axes)} dimension; two are needed")
        long = [axis for axis in axes if self.axes[axis] > 1]
        x, y = long[:2] if len(long) >= 2 else axes[:2]
        return x, y, [axis for axis in axes if axis not in (x, y)]


def checked_axes(texts: list[str] | list[int], name: str) -> tuple[int, ...]:
    """Return the lengths of the axes. Raises ImageError if one is not a positive number or there are too many."""
    try:
        axes = tuple(int(text) for text in texts)
    except ValueError as error:
        raise ImageError(f"{name}: the sizes in the header are not numbers") from error
    if not 2 <= len(axes) <= _MOST_AXES:
        raise ImageError(f"{name}: the image has {len(axes)} dimensions; 2 to {_MOST_AXES} can be read")
    if not all(0 < axis < _LONGEST_AXIS for axis in axes):
        raise ImageError(f"{name}: the header claims a size of {'x'.join(map(str, axes))}")
    return axes


def sibling(path: Path, name: str) -> Path:
    """Return the file `name` in the folder of `path`. Raises ImageError for any other place, links included."""
    name = name.removeprefix("./")
    elsewhere = ImageError(f"{path.name}: the header names {name[:200]!r}; only a file beside it is read")
    if not name or set(name) & set("/\\\0") or name.strip(".") == "" or name == "LIST":
        raise elsewhere
    found = path.parent / name
    try:
        folder = path.resolve().parent
        outside = found.resolve().parent != folder
        is_file = found.is_file()
    except OSError as error:
        raise ImageError(f"{path.name}: its data file {name[:200]!r} cannot be read ({error.strerror})") from error
    if not is_file and "%" in name:  # a pattern for several files
        raise elsewhere
    if not is_file:
        raise ImageError(f"{path.name}: its data file {name[:200]!r} is missing")
    if outside:
        raise ImageError(f"{path.name}: its data file {name[:200]!r} is a link to another folder")
    return found


def with_colour_axis(volume: Volume) -> Volume:
    """If the header names no colour axis, an axis of 3 or 4 before two longer ones is it: no picture is 3 wide."""
    long = [axis for axis, length in enumerate(volume.axes) if length > 1]
    lengths = [volume.axes[axis] for axis in long]
    if volume.colour is None and len(long) == 3 and lengths[0] in _COLOURS and min(lengths[1:]) > max(_COLOURS):
        return replace(volume, colour=long[0])
    return volume


def read_volume(volume: Volume) -> Frame:
    """Return the middle frame. Raises ImageError if it is too large, unreadable, or less than half there."""
    if volume.unsupported:
        raise ImageError(f"{volume.path.name}: {volume.unsupported} is not supported")
    colours = _frames_as_colours(volume)
    if colours is None:
        return _read_frame(volume)
    frame = _read_frame(colours)
    if not _show_one_picture(frame.values):
        return _read_frame(volume)
    return replace(frame, notes=("3 similar frames were read as colours",))


def _frames_as_colours(volume: Volume) -> Volume | None:
    """The volume with its three 8-bit frames as colours, or None if it has other frames."""
    long = [axis for axis, length in enumerate(volume.axes) if length > 1]
    if volume.colour is not None or volume.dtype != np.uint8 or len(long) != 3 or volume.axes[long[-1]] != 3:
        return None
    return replace(volume, colour=long[-1])


def _show_one_picture(planes: Numbers) -> bool:
    flat = planes.reshape(-1, planes.shape[-1]).T.astype(np.float64)
    return bool((flat.std(axis=1) > 0).all() and np.corrcoef(flat).min() > _ALIKE)


def _read_frame(volume: Volume) -> Frame:
    name, size = volume.path.name, volume.dtype.itemsize
    if (total := math.prod(volume.axes) * size) > VOLUME_LIMIT:
        raise ImageError(f"{name}: {total:,} bytes of pixels are more than the limit of {VOLUME_LIMIT:,}")
    x, y, rest = volume.roles()
    strides = [math.prod(volume.axes[:axis]) * size for axis in range(len(volume.axes))]
    first = sum(volume.axes[axis] // 2 * strides[axis] for axis in rest)
    used = [y, x] if volume.colour is None else [y, x, volume.colour]
    length = sum((volume.axes[axis] - 1) * strides[axis] for axis in used) + size
    try:
        data, faults = _read(volume, first, length, total)
    except OSError as error:
        raise ImageError(f"{name}: {error.strerror or error}") from error
    if len(data) < length * LEAST:
        raise ImageError(f"{name}: only {len(data):,} of the picture's {length:,} bytes are there")
    shape, steps = [volume.axes[axis] for axis in used], [strides[axis] for axis in used]
    values: Numbers = np.ndarray(shape, volume.dtype, data.ljust(length, b"\0"), 0, steps)
    frames = math.prod(volume.axes[axis] for axis in rest)
    return Frame(_calibrated(values, volume.scale), frames, faults=faults)


def _calibrated(values: Numbers, scale: tuple[float, float]) -> Numbers:
    if scale != (1.0, 0.0):
        return values.astype(np.float64) * scale[0] + scale[1]
    return values.astype(values.dtype.newbyteorder("="))


def _read(volume: Volume, first: int, length: int, total: int) -> tuple[bytes, tuple[str, ...]]:
    """Return up to `length` of the numbers' `total` bytes, from `first` on, and what is wrong with them."""
    source = volume.path if volume.data_file is None else sibling(volume.path, volume.data_file)
    with source.open("rb") as stream:
        if volume.compressed:
            stream.seek(volume.start)
            return _read_inflated(stream, volume.skip, first, length, total)
        in_all = os.fstat(stream.fileno()).st_size
        start = volume.start if volume.start >= 0 else max(0, in_all - total)
        held = in_all - start
        stream.seek(start + first)
        return stream.read(length), ((_CUT,) if held < total else ())


def _read_inflated(stream: BinaryIO, skip: int, first: int, length: int, total: int) -> tuple[bytes, tuple[str, ...]]:
    position, window = -skip, bytearray()
    try:
        for chunk in inflated(stream, skip + total):
            window += chunk[max(first - position, 0) : max(first + length - position, 0)]
            position += len(chunk)
    except (zlib.error, EOFError):
        return bytes(window), (_CUT if position < total - 1 else "the checksum of the compressed pixels is wrong",)
    return bytes(window), ()


def inflated(stream: BinaryIO, length: int) -> Iterator[bytes]:
    """Yield what a zlib or gzip stream inflates to, at most `length` bytes.

    After the inflatable part, it raises EOFError if that is shorter or longer, zlib.error if the stream is damaged.
    """
    decompressor, pending = zlib.decompressobj(wbits=47), b""
    while True:
        pending = pending or stream.read(_STEP)
        # All but the last byte come first: a wrong checksum would discard what is inflated in the same call.
        chunk = decompressor.decompress(pending, max(1, min(length - 1, _CHUNK)))
        if len(chunk) > length or not (chunk or pending or decompressor.eof):
            raise EOFError
        length -= len(chunk)
        yield chunk
        pending = decompressor.unconsumed_tail
        if decompressor.eof and not length:
            return
        if decompressor.eof:  # gzip files may consist of several
            pending, decompressor = decompressor.unused_data, zlib.decompressobj(wbits=47)
