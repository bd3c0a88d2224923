"""The journal of an unfinished run, `.journal` in the output folder: which rows are answered, and how.

Each line is the CRC-32 of its JSON, a space, and the JSON. The first line identifies the run; each further line holds a
row, or the images that are read next. Lines are only appended, so a killed process loses at most the last one. Small
answers stay in this file, not in memory, until the JSON files are written.

Images that were being read when the process died, and that have no answer, are suspects: one of them may have caused
the crash.
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
from types import NoneType
from typing import Any, get_type_hints

from challenge.errors import UserError
from challenge.host.disk import flush, is_full
from challenge.paths import JOURNAL
from challenge.predictions import MaskFile
from challenge.tasks import TaskKind

logger = logging.getLogger(__name__)

SCHEMA = 5
_SYNC_EVERY = 64  # rows; only a power cut can lose these, and a resumed run answers them again

Stamp = tuple[int, int] | None
"""Size in bytes and modification time in nanoseconds of an image file; None if there is no such file."""


@dataclass(frozen=True)
class Identity:
    """What two runs must have in common for one to resume the other, or to be merged with it."""

    profile: str
    weights: str
    """sha256 of `weights.json`, which holds the sha256 of each graph."""
    manifest: str
    """sha256 of the rows."""
    rows: int
    batch_size: int
    precision: str
    mask_resize: str
    postprocess: str
    tasks: str
    num_parts: int
    part_id: int
    part_rows: int
    soft_masks: str = "no"
    """`yes` or `no`: whether the probabilities of masks are written too."""

    @classmethod
    def of(cls, table: object) -> "Identity":
        """Return the identity that a journal's first line holds. Raises ValueError if this version did not write it."""
        known = _checked(table, {"schema": (int,), **{name: (kind,) for name, kind in get_type_hints(cls).items()}})
        if known.pop("schema") != SCHEMA:
            raise ValueError("another schema")
        return cls(**known)

    def differences(self, other: "Identity") -> list[str]:
        """Return `"batch_size is 8 there and 4 here"` for every field that `other` (here) has another value of."""
        pairs = [(field.name, getattr(self, field.name), getattr(other, field.name)) for field in fields(self)]
        return [
            f"{name} is {_short(name, there)} there and {_short(name, here)} here"
            for name, there, here in pairs
            if there != here and name not in ("rows", "part_rows")  # these follow from the others
        ]


def _short(name: str, value: object) -> str:
    """Return a value as it is told: the first digits of a hash, and `all` for no choice of tasks."""
    return str(value)[:12] if name in ("weights", "manifest") else str(value) or "all"


@dataclass(frozen=True, slots=True)
class Record:
    """An answered row. `index` is its position among all rows; `entry` is its JSON object, or `mask` its mask file.

    A row whose mask a later row overwrites has neither. `reason`, `note` and `looked` are as in `Answer`, `confidence`
    and `spread` are the numbers of its `Confidence`. `soft_masks` are files below the folder of soft masks.
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
    looked: bool = False
    confidence: float | None = None
    spread: float | None = None
    soft_masks: tuple[MaskFile, ...] = ()

    @classmethod
    def of(cls, table: object) -> "Record":
        """Return the record that a journal line holds. Raises ValueError if this version did not write it."""
        known = _checked(table, _RECORD)
        mask = known["mask"] and MaskFile(**_checked(known["mask"], _MASK))
        soft = tuple(MaskFile(**_checked(file, _MASK)) for file in known["soft_masks"])
        return cls(**{**known, "kind": TaskKind(known["kind"]), "mask": mask, "soft_masks": soft})


_RECORD: Mapping[str, tuple[type, ...]] = {
    "index": (int,),
    **dict.fromkeys(("kind", "row", "image_path", "task_id"), (str,)),
    **dict.fromkeys(("entry", "mask"), (dict, NoneType)),
    **dict.fromkeys(("reason", "note"), (str, NoneType)),
    "looked": (bool,),
    **dict.fromkeys(("confidence", "spread"), (float, NoneType)),
    "soft_masks": (list,),
}
_MASK: Mapping[str, tuple[type, ...]] = {"file": (str,), "size": (int,), "crc32": (int,)}


def _checked(table: object, kinds: Mapping[str, tuple[type, ...]]) -> dict[str, Any]:
    """Return a copy of `table` if it is an object of exactly these keys and kinds of values. Raises ValueError."""
    if not isinstance(table, dict) or table.keys() != kinds.keys():
        raise ValueError("other keys")
    if wrong := [name for name, value in table.items() if type(value) not in kinds[name]]:
        raise ValueError(f"{wrong[0]} is of another type")
    return dict(table)


class Journal:
    """An open journal. `append` may be called from several threads."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.identity: Identity | None = None
        self.is_foreign = False
        """Whether another version of this program wrote it; then its content is ignored."""
        self.stamps: dict[str, Stamp] = {}
        """The stamp of every image at the time when it was read."""
        self.suspects: set[str] = set()
        """Images that an earlier process was reading, without an answer yet, when it died."""
        self._in_flight = False
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
        """Close it. The process did not crash, so images of this run are not suspects, but earlier suspects remain."""
        try:
            if self._in_flight:
                self._write(json.dumps({"suspects": sorted(self.suspects)}))
        except OSError:
            logger.debug("%s: images in flight stay named", self.path)
        finally:
            os.close(self._descriptor)

    @property
    def size(self) -> int:
        """The journal's size in bytes."""
        return self._end

    def begin(self, identity: Identity) -> None:
        """Drop all content and start the journal of another run. Raises OSError."""
        self._forget()
        self._write(json.dumps({"schema": SCHEMA, **asdict(identity)}))
        self.identity = identity

    def append(self, record: Record) -> None:
        """Add a row, or replace its earlier record. If it raises OSError, the journal is unchanged."""
        line = json.dumps(asdict(record), allow_nan=False)
        with self._lock:
            self._places[record.index] = self._write(line)
            self.suspects.discard(record.image_path)
            if len(self._places) % _SYNC_EVERY == 0:
                self.sync()

    def about_to_read(self, images: Mapping[str, Stamp]) -> None:
        """List images before they are read. Not synced: only a crash of the process matters here. Raises OSError."""
        line = json.dumps({"reading": images})
        with self._lock:
            self._write(line)
            self._in_flight = True

    def sync(self) -> None:
        """Wait until all rows are on the disk. Raises OSError."""
        flush(self._descriptor)

    def remove(self) -> None:
        """Delete the file: the run is complete. Raises OSError."""
        self.path.unlink()
        self._in_flight = False

    def records(self) -> Iterator[Record]:
        """Yield the rows in manifest order, one at a time from the file."""
        for index in sorted(self._places):
            start, length = self._places[index]
            yield Record.of(json.loads(os.pread(self._descriptor, length, start)))

    def entries(self, kind: TaskKind) -> Iterator[Mapping[str, Any]]:
        """Yield the JSON objects of one kind in manifest order."""
        return (record.entry for record in self.records() if record.kind is kind and record.entry is not None)

    def _write(self, text: str) -> tuple[int, int]:
        """Append a line. The next line or reader cuts off a partial line that a full disk may leave."""
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
        """Find the rows. Reading ends at the first damaged line; later rows are answered again."""
        with os.fdopen(os.dup(self._descriptor), "rb") as stream:
            stream.seek(0)
            for line in stream:
                body = line[9:-1]
                if not line.endswith(b"\n") or line[:9] != b"%08x " % zlib.crc32(body):
                    logger.warning("%s is damaged after %d rows; later rows are answered again", self.path, len(self))
                    break
                try:
                    self._take(json.loads(body), (self._end + 9, len(body)))
                except (ValueError, RecursionError):  # The checksum is right, so another version wrote it.
                    self._forget()
                    self.is_foreign = True
                    break
                self._end += len(line)

    def _take(self, table: object, place: tuple[int, int]) -> None:
        """Process a line. Raises ValueError if this version did not write it."""
        if self.identity is None:
            self.identity = Identity.of(table)
        elif isinstance(table, dict) and table.keys() == {"reading"}:
            images = {name: _stamp(value) for name, value in _checked(table, {"reading": (dict,)})["reading"].items()}
            self.stamps.update(images)
            self.suspects.update(images)
        elif isinstance(table, dict) and table.keys() == {"suspects"}:
            self.suspects.intersection_update(map(str, _checked(table, {"suspects": (list,)})["suspects"]))
        else:
            record = Record.of(table)
            if not 0 <= record.index < self.identity.rows:
                raise ValueError("no such row")
            self._places[record.index] = place
            self.suspects.discard(record.image_path)

    def _forget(self) -> None:
        self.identity = None
        self.stamps, self.suspects, self._places = {}, set(), {}
        self._end = 0


def _stamp(value: object) -> Stamp:
    if value is None:
        return None
    if not isinstance(value, list) or [type(number) for number in value] != [int, int]:
        raise ValueError("no stamp")
    return value[0], value[1]


def open_journal(folder: Path, identity: Identity, *, resume: bool) -> Journal:
    """Open `folder/.journal` for a run: with its content if `resume` is set and the run is the same, else empty.

    Raises UserError if another process is writing it, if the folder is not writable, or if `resume` is set and the
    journal is of another run or of another version of this program; OSError if the disk is full.
    """
    path = folder / JOURNAL
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if is_full(error):
            raise
        raise UserError(f"{path} cannot be written ({error.strerror}); mount a writable output folder") from error
    try:
        _lock(descriptor, folder)
        journal = Journal(path, descriptor)
        if journal.is_foreign and resume:
            raise UserError(f"--resume: {_foreign(path)}; leave out --resume to start again")
        if journal.identity is None or not resume:
            if journal.is_foreign:
                logger.warning("%s; the run starts again", _foreign(path))
            elif len(journal):
                logger.warning("%s is of an unfinished run; the run starts again (use --resume to continue it)", path)
            elif resume:
                logger.info("--resume: no unfinished run in %s; the run starts from the beginning", folder)
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
        descriptor = os.open(folder / JOURNAL, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise UserError(
            f"{folder} holds no {JOURNAL} ({error.strerror}); give the outputs of --num-parts runs"
        ) from error
    journal = Journal(folder / JOURNAL, descriptor)
    if journal.identity is None:
        os.close(descriptor)
        what = _foreign(journal.path) if journal.is_foreign else f"{journal.path} cannot be read"
        raise UserError(f"{what}; run that part again")
    return journal.identity, journal


def _foreign(path: Path) -> str:
    return f"{path} was written by another version of this program"


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(f"another run is writing to {folder}; give each run an --output of its own") from error
    except OSError:
        logger.debug("%s is on a file system without locks", folder)
