"""The record of a run under way: which rows are answered, and with what. It lies in the output folder as `.journal`.

A line is the CRC-32 of its JSON, a space, the JSON. The first line tells which run this is; each further one holds a
row. Lines are only ever appended, so whatever kills the process costs at most the last one. The small answers stay
here, not in memory, until the JSON files are written from them.
"""

import fcntl
import json
import logging
import os
import threading
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from challenge.disk import flush, is_full
from challenge.errors import UserError
from challenge.tasks import TaskKind

logger = logging.getLogger(__name__)

FILE = ".journal"
SCHEMA = 1
_SYNC_EVERY = 64  # rows; only a power cut can cost these, and they would be answered again


@dataclass(frozen=True)
class Identity:
    """What makes two runs the same run: only then may one go on with the other's journal, or be merged with it."""

    profile: str
    weights: str
    """sha256 of `weights.json`, which holds those of its graphs."""
    manifest: str
    """sha256 of the rows."""
    rows: int
    batch_size: int
    precision: str
    mask_resize: str
    refine: str
    tasks: str
    num_parts: int
    part_id: int
    part_rows: int

    def differences(self, other: "Identity") -> list[str]:
        """Return `"batch_size is 8 there and 4 here"` for every field that `other` (here) has another value of."""
        pairs = [(field.name, getattr(self, field.name), getattr(other, field.name)) for field in fields(self)]
        return [
            f"{name} is {str(there)[:12] or 'all'} there and {str(here)[:12] or 'all'} here"
            for name, there, here in pairs
            if there != here and name not in ("rows", "part_rows")  # these follow from the others
        ]


@dataclass(frozen=True, slots=True)
class MaskFile:
    """A mask below the output folder, its size in bytes and the CRC-32 of its content."""

    file: str
    size: int
    crc32: int

    def is_whole(self, folder: Path) -> bool:
        """Whether the file in `folder` is still what was written."""
        try:
            data = (folder / self.file).read_bytes()
        except OSError:
            return False
        return len(data) == self.size and zlib.crc32(data) == self.crc32


@dataclass(frozen=True, slots=True)
class Record:
    """An answered row. `index` is its place among all rows; `entry` its JSON object, or `mask` its file.

    A row whose mask a later row overwrites has neither. `reason` and `note` are those of `Answer`.
    """

    index: int
    kind: TaskKind
    row: str
    image_path: str
    task_id: str
    entry: Mapping[str, Any] | None = None
    mask: MaskFile | None = None
    reason: str | None = None
    note: str | None = None

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> "Record":
        """Return the record that a journal line holds."""
        mask = table["mask"]
        return cls(**{**table, "kind": TaskKind(table["kind"]), "mask": mask and MaskFile(**mask)})


class Journal:
    """An open journal. `append` may be called from several threads."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.identity: Identity | None = None
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._places: dict[int, tuple[int, int]] = {}
        self._end = 0
        self._scan()

    def __len__(self) -> int:
        return len(self._places)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._end

    def begin(self, identity: Identity) -> None:
        """Forget everything and start the record of another run. Raises OSError."""
        self._places.clear()
        self._end = 0
        self._write(json.dumps({"schema": SCHEMA, **asdict(identity)}))
        self.identity = identity

    def append(self, record: Record) -> None:
        """Add a row; what stood of it before is replaced. Raises OSError, and the journal is as it was."""
        line = json.dumps(asdict(record), allow_nan=False)
        with self._lock:
            self._places[record.index] = self._write(line)
            if len(self._places) % _SYNC_EVERY == 0:
                self.sync()

    def sync(self) -> None:
        """Wait until the disk has all rows. Raises OSError."""
        flush(self._descriptor)

    def remove(self) -> None:
        """Delete the file: the run is complete. Raises OSError."""
        self.path.unlink()

    def records(self) -> Iterator[Record]:
        """Yield the rows in manifest order, one at a time from the file."""
        for index in sorted(self._places):
            start, length = self._places[index]
            yield Record.of(json.loads(os.pread(self._descriptor, length, start)))

    def entries(self, kind: TaskKind) -> Iterator[Mapping[str, Any]]:
        """Yield the JSON objects of one kind in manifest order."""
        return (record.entry for record in self.records() if record.kind is kind and record.entry is not None)

    def _write(self, text: str) -> tuple[int, int]:
        """Append a line. A half line that a full disk leaves is cut off by the next one or by the next reader."""
        body = text.encode()
        line = b"%08x %b\n" % (zlib.crc32(body), body)
        os.ftruncate(self._descriptor, self._end)
        written = 0
        while written < len(line):
            written += os.pwrite(self._descriptor, line[written:], self._end + written)
        place = self._end + 9, len(body)
        self._end += len(line)
        return place

    def _scan(self) -> None:
        """Find the rows. Reading ends at the first line that is torn or altered; what follows is answered again."""
        with os.fdopen(os.dup(self._descriptor), "rb") as stream:
            stream.seek(0)
            for line in stream:
                body = line[9:-1]
                if not line.endswith(b"\n") or line[:9] != b"%08x " % zlib.crc32(body):
                    logger.warning("%s is torn after %d rows; later rows are answered again", self.path, len(self))
                    break
                table = json.loads(body)
                if self._end == 0:
                    if table.pop("schema", None) != SCHEMA:
                        break
                    self.identity = Identity(**table)
                else:
                    self._places[table["index"]] = self._end + 9, len(body)
                self._end += len(line)


def open_journal(folder: Path, identity: Identity, *, resume: bool) -> Journal:
    """Open `folder/.journal` for a run: as it stands if `resume` and it is of this very run, else empty.

    Raises UserError if another process writes it, or if it is to be resumed and belongs to another run, or if
    the folder is not writable; OSError if the disk is full.
    """
    path = folder / FILE
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if is_full(error):
            raise
        raise UserError(f"{path} cannot be written ({error.strerror}); mount a writable output folder") from error
    try:
        _lock(descriptor, folder)
        journal = Journal(path, descriptor)
        if journal.identity is None or not resume:
            if len(journal):
                logger.warning("%s tells of an unfinished run; it starts again (--resume would go on)", path)
            journal.begin(identity)
        elif differences := journal.identity.differences(identity):
            raise UserError(
                f"--resume: {path} is of another run ({'; '.join(differences)}); "
                "repeat that run's command, or leave out --resume to start again"
            )
    except BaseException:
        os.close(descriptor)
        raise
    return journal


def read_journal(folder: Path) -> tuple[Identity, Journal]:
    """Open the journal that a part left in `folder`, for reading. Raises UserError if there is none."""
    try:
        descriptor = os.open(folder / FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise UserError(f"{folder} holds no {FILE} ({error.strerror}); give the outputs of --num-parts runs") from error
    journal = Journal(folder / FILE, descriptor)
    if journal.identity is None:
        os.close(descriptor)
        raise UserError(f"{journal.path} cannot be read; run that part again")
    return journal.identity, journal


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(f"another run is writing to {folder}; give each run an --output of its own") from error
    except OSError:
        logger.debug("%s is on a file system without locks", folder)
