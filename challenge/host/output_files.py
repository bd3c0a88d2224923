"""Where a command may write, so that no file is replaced that somebody needs.

Answers never replace what they are worked out from. Files that a caller names (a report, a result, a zip) replace
nothing but an earlier one of their kind.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from challenge.errors import UserError
from challenge.host.atomic import write_atomically
from challenge.paths import MANIFEST_FOLDER, RESERVED, UUSIC_JSON_FILE

_WEIGHTS_FILE = "weights.json"
_KEPT_NAMES = {*RESERVED, UUSIC_JSON_FILE, _WEIGHTS_FILE}
_REPLACED_ENDINGS = {".json", ".zip", ".html", ".md", ".txt"}
_MOST_LINKS = 40
# A file that is mounted alone, or that lies in a folder of somebody else, cannot be replaced, but written.
_NOT_TO_BE_REPLACED = {errno.EBUSY, errno.EACCES, errno.EPERM, errno.EROFS}


def check_answers_folder(output_dir: Path, *inputs: Path) -> None:
    """Raise UserError if `output_dir` is one of the folders `inputs`, or any data folder, its csv_files, or weights."""
    for folder in inputs:
        if is_same(output_dir, folder):
            raise UserError(f"--output {output_dir} is the folder {folder} that is read; give another folder")
    folder = Path(os.path.realpath(output_dir))
    if _holds_csv(folder / MANIFEST_FOLDER) or (folder.name == MANIFEST_FOLDER and _holds_csv(folder)):
        raise UserError(
            f"--output {output_dir} is a data folder (it holds {MANIFEST_FOLDER}/*.csv), whose masks would be "
            "replaced; give another folder"
        )
    if (folder / _WEIGHTS_FILE).exists():
        raise UserError(f"--output {output_dir} is a folder of weights (it holds {_WEIGHTS_FILE}); give another folder")


def _holds_csv(folder: Path) -> bool:
    return any(path.suffix.casefold() == ".csv" for path in files_in(folder))


def check_inputs_are_kept(answers: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Raise UserError if one of the files `answers` is one of `inputs`, by whatever name."""
    existing = {place: path for path in answers if (place := _place(path))}
    if not existing:
        return
    for path in inputs:
        if (place := _place(path)) and (answer := existing.get(place)):
            raise UserError(f"the answer {answer} would replace the input {path}; give another --output")


def check_file_target(path: Path, forbidden_roots: Iterable[Path]) -> None:
    """Raise UserError, before any work, unless `write_file` may write `path`.

    Refused are `forbidden_roots` (files, or folders with all that is in them); any existing file that no command here
    writes where it is told to, such as an image, a csv file, weights, answers; a file with a second name; folders,
    disks and sockets; what cannot be written. Links are followed.
    """
    if (number := _descriptor(path)) is not None:
        _check_descriptor(path, number)
        return
    target = Path(os.path.realpath(path))
    for root in forbidden_roots:
        if _lies_in(target, root):
            raise UserError(
                f"{path} would be written in {root}, where nothing may be replaced; give a path outside of it"
            )
    found = _status(target)
    if found is None:
        _check_new(path, target)
    elif stat.S_ISREG(found.st_mode):
        _check_replaced(path, target, found)
    elif not (stat.S_ISFIFO(found.st_mode) or stat.S_ISCHR(found.st_mode)):
        raise UserError(f"{path} is a folder, a disk or a socket; give the path of a file")
    elif not os.access(target, os.W_OK):
        raise UserError(f"{path} may not be written; give another path")


def write_file(path: Path, data: bytes) -> None:
    """Write into a device, a FIFO or an open descriptor (`/dev/stdout`); any other file appears whole or not at all.

    A link stays, and the file that it leads to is written. Folders on the way are made. Raises OSError.
    """
    if (number := _descriptor(path)) is not None:
        _write_into(os.dup(number), data)
        return
    target = Path(os.path.realpath(path))
    if is_stream(target):
        _write_into(_open_stream(target), data)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_atomically(target, [data])
    except OSError as error:
        if error.errno not in _NOT_TO_BE_REPLACED or not target.is_file():
            raise
        _write_into(os.open(target, os.O_WRONLY | os.O_TRUNC), data)


def is_stream(path: Path) -> bool:
    """Whether `write_file` would write into `path`: a device, a FIFO, an open descriptor."""
    found = _status(path)
    return _descriptor(path) is not None or (found is not None and not stat.S_ISREG(found.st_mode))


def files_in(folder: Path) -> Iterator[Path]:
    """Yield what lies in a folder; nothing if there is none, or if it may not be listed."""
    try:
        yield from folder.iterdir()
    except OSError:
        return


def is_same(path: Path, other: Path) -> bool:
    """Whether two paths lead to one file or folder, be it through links or mounts."""
    place = _place(path)
    return os.path.realpath(path) == os.path.realpath(other) or (place is not None and place == _place(other))


def _check_descriptor(path: Path, number: int) -> None:
    try:
        writable = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    except OSError:
        writable = False
    if not writable:
        raise UserError(f"{path} is not open for writing; give another path")


def _check_new(path: Path, target: Path) -> None:
    folder = next(above for above in target.parents if _status(above))
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{path} cannot be made in {folder}; give a path in a folder that may be written")


def _check_replaced(path: Path, target: Path, found: os.stat_result) -> None:
    if not _is_of_ours(target):
        raise UserError(f"{path} exists and is no earlier file of this kind; give another path, or remove it")
    if found.st_nlink > 1:
        raise UserError(f"{path} is a file with other names too (a hard link); give another path, or remove this one")
    if not os.access(target.parent, os.W_OK | os.X_OK) and not os.access(target, os.W_OK):
        raise UserError(f"{path} may not be replaced; give a path in a folder that may be written")


def _is_of_ours(file: Path) -> bool:
    """Whether a file looks like one that was written here before, or is empty, as `mktemp` leaves it."""
    if file.name.casefold() in _KEPT_NAMES:
        return False
    return file.suffix.casefold() in _REPLACED_ENDINGS or _first_byte(file) in (b"", b"{")


def _first_byte(file: Path) -> bytes | None:
    try:
        with file.open("rb") as stream:
            return stream.read(1)
    except OSError:
        return None


def _lies_in(target: Path, root: Path) -> bool:
    if target.is_relative_to(os.path.realpath(root)):
        return True
    place = _place(root)  # the same folder may be mounted twice, the same file have two names
    return place is not None and any(_place(path) == place for path in (target, *target.parents))


def _descriptor(path: Path) -> int | None:
    """The number of this process's open file that `path` leads to, as /dev/stdout and /dev/fd/3 do."""
    own = os.path.realpath("/proc/self/fd")
    for _ in range(_MOST_LINKS):
        if os.path.realpath(path.parent) == own and path.name.isdecimal():
            return int(path.name)
        if not path.is_symlink():
            break
        path = path.parent / os.readlink(path)
    return None


def _open_stream(path: Path) -> int:
    """A FIFO that nobody reads is an error here: waiting for a reader might never end."""
    descriptor = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return descriptor


def _write_into(descriptor: int, data: bytes) -> None:
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)


def _place(path: Path) -> tuple[int, int] | None:
    """What two names of one file share; None if there is no such file."""
    found = _status(path)
    return (found.st_dev, found.st_ino) if found else None


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
