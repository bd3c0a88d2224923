"""Attempts to read and write all that a run needs, so that the kernel decides what a user may do.

Each attempt raises an OSError that names its file. The same attempts can be made as one user and then as another.
Manifests are not validated here.
"""

import csv
import errno
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import click

from challenge.errors import ImageError, PathError
from challenge.host.disk import is_full
from challenge.host.places import Places
from challenge.paths import JOURNAL, MANIFEST_FOLDER, find_image

Need = Callable[[], None]

CODE = tuple(Path(name) for name in (__file__, os.__file__, click.__file__))
"""One file each of the program, the interpreter and its packages; later imports come from the same folders."""

_DEVICES = ("nvidia*", "nvidia-caps/*", "dri/*")
_NOT_OURS = "lost+found"


def reads(places: Places) -> Iterator[Need]:
    """Yield an attempt for all that a run reads: this code, manifests, their images, weights, the parts of a merge."""
    manifests = _manifests(places)
    parts = [Path(text) for text in places.others if text and "\0" not in text and Path(text).is_dir()]
    files = [
        *CODE,
        *manifests,
        *_kinds_of(_images(places.data_root, manifests)),
        *_kinds_of(_files(places.weights)),
        *_kinds_of(path for part in parts for path in part.rglob("*")),
    ]
    yield partial(_ask, places.data_root / MANIFEST_FOLDER, os.R_OK | os.X_OK)
    yield from (partial(_read, path) for path in files)
    # Opening a device would start its driver.
    yield from (partial(_ask, device, os.R_OK | os.W_OK) for device in devices())


def writes(places: Places) -> Iterator[Need]:
    """Yield an attempt for files of an earlier run in the folders of answers, and for files that the user names."""
    output = existing(places.output_dir)
    yield from _folders_in(output)
    yield from (partial(_ask, path, os.R_OK | os.W_OK) for path in output.glob(f"{JOURNAL}*"))
    if places.soft_masks:
        yield partial(create_in, places.soft_masks)
        if places.soft_masks.is_dir():
            yield from _folders_in(places.soft_masks)
    for file in (places.report_file, places.confidence_file):
        if file:
            yield partial(write_beside, file)


def _folders_in(root: Path) -> Iterator[Need]:
    for folder, names, _ in os.walk(root):
        names[:] = [name for name in names if name != _NOT_OURS]
        yield from (partial(_ask, Path(folder, name), os.W_OK | os.X_OK) for name in names)


def create_in(folder: Path) -> None:
    """Make and remove a file in a folder, or in the nearest existing folder above it. Raises OSError."""
    found = existing(folder)
    try:
        with tempfile.TemporaryFile(dir=found):
            pass
    except OSError as error:
        if not is_full(error):  # a full disk is not a matter of permissions; the run reports it
            raise OSError(error.errno, error.strerror, str(found)) from error


def write_beside(path: Path) -> None:
    """Make a file beside `path`, or check write permission if `path` is a pipe or a device. Raises OSError."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        return _ask(path, os.W_OK)
    return create_in(path.parent)


def existing(path: Path) -> Path:
    """Return the nearest existing folder, `path` itself or above it, with links resolved."""
    resolved = Path(os.path.realpath(path))
    return next((folder for folder in (resolved, *resolved.parents) if _is_there(folder)), Path("/"))


def devices(root: Path = Path("/dev")) -> list[Path]:
    """Return the device files of GPUs."""
    return [path for pattern in _DEVICES for path in root.glob(pattern) if path.is_char_device()]


def group_for(status: os.stat_result) -> int | None:
    """Return the group that may use a device; None if everyone may, or no group may."""
    anyone, group = (bool(status.st_mode & bits == bits) for bits in (0o006, 0o060))
    return status.st_gid if group and not anyone else None


def is_met(need: Need) -> bool:
    """Return whether an attempt succeeds now."""
    try:
        need()
    except OSError:
        return False
    return True


def _read(path: Path) -> None:
    with path.open("rb") as stream:
        stream.read(1)


def _ask(path: Path, mode: int) -> None:
    if not os.access(path, mode):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def _is_there(folder: Path) -> bool:
    try:
        return folder.is_dir()
    except OSError:
        return False


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _manifests(places: Places) -> list[Path]:
    csvs = [path for path in _files(places.data_root / MANIFEST_FOLDER) if path.suffix.lower() == ".csv"]
    return [path for path in (*csvs, places.input_json) if _is_file(path)]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _kinds_of(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield one file per folder, owner and mode; the kernel treats the others in the same way."""
    seen = set()
    for path in filter(_is_file, paths):
        status = path.stat()
        kind = path.parent, status.st_uid, status.st_gid, status.st_mode
        if kind not in seen:
            seen.add(kind)
            yield path


def _images(data_root: Path, manifests: Iterable[Path]) -> Iterator[Path]:
    """Yield the existing images that the manifests name."""
    for cell in dict.fromkeys(cell for path in manifests for cell in _cells(path)):
        try:
            yield find_image(data_root, cell)
        except (ImageError, PathError):
            continue


def _cells(manifest: Path) -> list[str]:
    """Return the image paths in a csv or a list; none if the file is unusable, which the run will report."""
    try:
        text = manifest.read_text("utf-8-sig")
        return _of_csv(text) if manifest.suffix.lower() == ".csv" else _of_list(text)
    except (OSError, ValueError, RecursionError, csv.Error):
        return []


def _of_csv(text: str) -> list[str]:
    first = text.partition("\n")[0]
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=";" if first.count(";") > first.count(",") else ",")
    column = [name.strip().casefold() for name in next(rows, [])].index("image_path")
    return [row[column] for row in rows if len(row) > column]


def _of_list(text: str) -> list[str]:
    entries = json.loads(text)
    found = [entry.get("img_path_relative") for entry in entries if isinstance(entry, dict)]
    return [cell for cell in found if isinstance(cell, str)]
