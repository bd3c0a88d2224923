"""A bounded cache of equally shaped uint8 arrays in one memory-mapped file, keyed by content.

On disk: `NAME/GENERATION/records.u8`, record after record, and `index.sqlite`, which tells where each key lies. Every
record has a checksum, so a crash or a full disk costs the records that were being written and nothing else. Several
processes may use a cache at once: records are only ever added to a generation. When the records that a run needs do
not fit beside those that it does not need, it copies the needed ones into a new generation and removes the old
one; who still has the old one mapped can go on reading it.
"""

import errno
import os
import shutil
import sqlite3
import uuid
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.uint8]

_RECORDS, _INDEX = "records.u8", "index.sqlite"
_SCHEMA = (
    "create table if not exists records "
    "(key text primary key, slot integer unique, checksum integer, width integer, height integer, peak integer)"
)


@dataclass(frozen=True, slots=True)
class Record:
    """Where an array lies (slot -1: nowhere), the (width, height) of what it was made from, its largest value."""

    slot: int
    width: int
    height: int
    peak: int


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to be stored: as `Record`, with the array itself."""

    key: str
    array: Array
    width: int
    height: int
    peak: int


class ArrayCache:
    """Arrays of `shape` (uint8) below `folder`, at most `limit_bytes` of them."""

    def __init__(self, folder: Path, shape: tuple[int, ...], limit_bytes: int) -> None:
        self._folder = folder
        self._shape = shape
        self._bytes = int(np.prod(shape))
        self._capacity = max(1, limit_bytes // self._bytes)
        folder.mkdir(parents=True, exist_ok=True)
        existing = [path.parent for path in folder.glob(f"*/{_INDEX}")]
        self._home = max(existing, key=lambda path: path.stat().st_mtime_ns, default=None) or self._new_generation()
        self._map: Array | None = None

    def open_for(self, keys: Collection[str]) -> dict[str, Record]:
        """Return the intact records among `keys`, and make room for the others where others can go."""
        records = self.find(keys)
        with self._database() as database:
            (stored,) = database.execute("select count(*) from records").fetchone()
        missing = len(set(keys)) - len(records)
        if missing and stored + missing > self._capacity and stored > len(records):
            records = self._rotate(records)
        return records

    def find(self, keys: Collection[str]) -> dict[str, Record]:
        """Return the records among `keys` whose bytes agree with their checksum."""
        with self._database() as database:
            rows = database.execute("select key, slot, checksum, width, height, peak from records").fetchall()
        wanted, records = set(keys), self._open_map()
        return {
            key: Record(slot, width, height, peak)
            for key, slot, checksum, width, height, peak in rows
            if key in wanted and slot < len(records) and zlib.crc32(records[slot]) == checksum
        }

    def add(self, entries: Iterable[Entry]) -> Iterator[tuple[str, Record]]:
        """Store entries one after the other and yield the record of each, with slot -1 once the cache is full."""
        with (self._home / _RECORDS).open("r+b") as stream:
            for entry in entries:
                yield entry.key, self._add(stream, entry)
        self._map = None

    def read(self, slot: int) -> Array:
        """Return the array at `slot`, copied."""
        if self._map is None or slot >= len(self._map):
            self._map = self._open_map()
        return np.array(self._map[slot])

    def __getstate__(self) -> dict[str, Any]:
        """Worker processes map the file themselves; pickling the map would copy it."""
        return {**self.__dict__, "_map": None}

    def _add(self, stream: BinaryIO, entry: Entry) -> Record:
        key, data = entry.key, np.ascontiguousarray(entry.array).tobytes()
        with self._database() as database:
            # Taking the slot first keeps other processes from writing there. Until its bytes are there its checksum
            # fails; a key that was lost that way is written again, to the same slot, by whoever needs it.
            database.execute("begin immediate")
            old = database.execute("select slot from records where key = ?", (key,)).fetchone()
            (count,) = database.execute("select count(*) from records").fetchone()
            if old is None and count >= self._capacity:
                return Record(-1, entry.width, entry.height, entry.peak)
            slot = count if old is None else old[0]
            database.execute(
                "insert or replace into records values (?, ?, ?, ?, ?, ?)",
                (key, slot, zlib.crc32(data), entry.width, entry.height, entry.peak),
            )
        stream.seek(slot * self._bytes)
        stream.write(data)
        stream.flush()
        return Record(slot, entry.width, entry.height, entry.peak)

    def _rotate(self, kept: Mapping[str, Record]) -> dict[str, Record]:
        old, home = self._home, self._new_generation()
        source = self._open_map()
        self._home = home
        entries = (Entry(key, source[r.slot], r.width, r.height, r.peak) for key, r in kept.items())
        records = {key: record for key, record in self.add(entries)}
        shutil.rmtree(old, ignore_errors=True)
        return records

    def _new_generation(self) -> Path:
        home = self._folder / uuid.uuid4().hex
        home.mkdir()
        (home / _RECORDS).touch()
        with _full_disk_as_os_error(home), closing(sqlite3.connect(home / _INDEX)) as database:
            database.execute(_SCHEMA)
        return home

    def _open_map(self) -> Array:
        path = self._home / _RECORDS
        count = path.stat().st_size // self._bytes
        if not count:
            return np.empty((0, *self._shape), np.uint8)
        return np.memmap(path, np.uint8, "r", shape=(count, *self._shape))

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        # Without synchronous writes a crash of the machine may lose rows; their images are then decoded again.
        with closing(sqlite3.connect(self._home / _INDEX, timeout=60, isolation_level=None)) as database:
            database.execute("pragma synchronous = off")
            with _full_disk_as_os_error(self._home), database:
                yield database


@contextmanager
def _full_disk_as_os_error(folder: Path) -> Iterator[None]:
    """SQLite tells of a full disk in its own way."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
