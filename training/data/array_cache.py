"""A bounded cache of equally shaped uint8 arrays, one file each, named by what they were made from.

A file is called `KEY-WIDTHxHEIGHT-CHECKSUM.npy`, so that a listing tells everything but the pixels. Files appear whole
or not at all, and any number of processes may use a cache at once. A file may vanish, because another run needed its
room, or be damaged: `read` then returns nothing, and the reader makes the array again.
"""

import io
import os
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from challenge.host.disk import on_disk

Array = npt.NDArray[np.uint8]
Size = tuple[int, int]
"""(width, height) of what an array was made from."""

_FOLDER = 2  # leading characters of a key that name its folder: few folders, none of them long


@dataclass(frozen=True)
class _File:
    path: Path
    key: str
    size: Size

    @classmethod
    def of(cls, path: Path) -> "_File | None":
        """Return what a file's name tells; None for another file."""
        try:
            key, size, _ = path.stem.rsplit("-", 2)
            width, height = size.split("x")
            return cls(path, key, (int(width), int(height)))
        except ValueError:
            return None

    @property
    def age(self) -> int:
        """When the file was written; 0 if it is gone."""
        try:
            return self.path.stat().st_mtime_ns
        except FileNotFoundError:
            return 0


def _header(shape: tuple[int, ...]) -> bytes:
    """Return how the file of an array begins. Comparing it takes a fifth of the time in which NumPy parses it."""
    array = np.zeros(shape, np.uint8)
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()[: -array.nbytes]


class ArrayCache:
    """Arrays of `shape` (uint8) below `folder`, at most `limit_bytes` of them.

    Two processes that fill a cache at the same time may together exceed the limit.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...], limit_bytes: int) -> None:
        self._folder, self._shape = folder, shape
        self._capacity = max(1, limit_bytes // int(np.prod(shape)))
        self._room = self._capacity
        self._paths: dict[str, Path] = {}
        self._header = _header(shape)
        folder.mkdir(parents=True, exist_ok=True)

    def open_for(self, keys: Collection[str]) -> dict[str, Size]:
        """Return the sizes of the arrays among `keys` that are there; make room for the others, oldest files first."""
        wanted = set(keys)
        files = [file for path in self._folder.glob("*/*.npy") if (file := _File.of(path))]
        stored = {file.key: file for file in files if file.key in wanted}
        others = sorted((file for file in files if file.key not in wanted), key=lambda file: file.age)
        missing = len(wanted) - len(stored)
        excess = min(missing, len(stored) + len(others) + missing - self._capacity)
        for file in others[: max(0, excess)]:
            file.path.unlink(missing_ok=True)
        self._room = self._capacity - len(stored) - len(others) + min(len(others), max(0, excess))
        self._paths = {key: file.path for key, file in stored.items()}
        return {key: file.size for key, file in stored.items()}

    @property
    def bytes_each(self) -> int:
        """Bytes that one array takes on disk."""
        return on_disk(len(self._header) + int(np.prod(self._shape)))

    @property
    def folder(self) -> Path:
        """The folder of the files."""
        return self._folder

    @property
    def room(self) -> int:
        """How many more arrays may be added."""
        return max(0, self._room)

    def add(self, key: str, array: Array, size: Size) -> bool:
        """Store an array and return True, or return False if the cache is full. Raises OSError."""
        if self._room <= 0:
            return False
        data = np.ascontiguousarray(array)
        path = self._folder / key[:_FOLDER] / f"{key}-{size[0]}x{size[1]}-{zlib.crc32(data.tobytes()):08x}.npy"
        path.parent.mkdir(exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        try:
            with partial.open("wb") as stream:
                np.save(stream, data, allow_pickle=False)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        self._paths[key], self._room = path, self._room - 1
        return True

    def read(self, key: str) -> Array | None:
        """Return a stored array; None if it was not stored, is not there any more, or is damaged."""
        path = self._paths.get(key)
        if path is None:
            return None
        try:
            data: Array = np.fromfile(path, np.uint8)
        except OSError:
            return None
        head, values = data[: len(self._header)], data[len(self._header) :]
        is_whole = head.tobytes() == self._header and path.stem.endswith(f"-{zlib.crc32(values.data):08x}")
        return values.reshape(self._shape) if is_whole else None
