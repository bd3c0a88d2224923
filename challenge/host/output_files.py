"""Checks where a command may write, so that it never replaces a file that somebody needs.

Answers never replace their inputs. Files that the user names (a report, a result, a zip) only replace earlier files of
the same kind.
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
# Errors for a file that can be written but not replaced: it is mounted alone, or its folder belongs to another user.
_NOT_TO_BE_REPLACED = {errno.EBUSY, errno.EACCES, errno.EPERM, errno.EROFS}


def check_answers_folder(output_dir: Path, *inputs: Path, option: str = "--output") -> None:
    """Raise UserError if `output_dir` is one of the folders `inputs`, or any data folder, its csv_files, or weights."""
    for folder in inputs:
        if is_same(output_dir, folder):
            raise UserError(f"{option} {output_dir} is the input folder {folder}; give another folder")
    folder = Path(os.path.realpath(output_dir))
    if _holds_csv(folder / MANIFEST_FOLDER) or (folder.name == MANIFEST_FOLDER and _holds_csv(folder)):
        raise UserError(
            f"{option} {output_dir} is a data folder (it holds {MANIFEST_FOLDER}/*.csv), whose masks would be "
            "replaced; give another folder"
        )
    if (folder / _WEIGHTS_FILE).exists():
        raise UserError(f"{option} {output_dir} is a folder of weights (it holds {_WEIGHTS_FILE}); give another folder")


def check_own_folder(option: str, folder: Path, others: Iterable[Path]) -> None:
    """Raise UserError unless `folder`, the value of `option`, may take files beside the answers in another folder.

    Refuses a folder in one of `others` or around it, a data folder, weights, and a folder with the answers of a run.
    """
    target = Path(os.path.realpath(folder))
    if target.exists() and not target.is_dir():
        raise UserError(f"{option} {folder} is a file; give a folder")
    for other in others:
        if _lies_in(target, other) or _lies_in(Path(os.path.realpath(other)), target):
            raise UserError(
                f"{option} {folder} and {other} are the same folder, or one lies in the other; give another one"
            )
    check_answers_folder(folder, option=option)
    if found := [name for name in sorted({*RESERVED, UUSIC_JSON_FILE}) if (target / name).exists()]:
        raise UserError(f"{option} {folder} holds the answers of a run ({found[0]}); give another folder")


def check_outside(output_dir: Path, *inputs: Path | None) -> None:
    """Raise UserError if `output_dir` is one of the folders `inputs` or lies in one, or is any data folder or weights.

    None stands for an input that was not given.
    """
    given = [folder for folder in inputs if folder]
    check_answers_folder(output_dir, *given)
    for folder in given:
        if _lies_in(Path(os.path.realpath(output_dir)), folder):
            raise UserError(f"--output {output_dir} is inside the input folder {folder}; give a folder outside it")


def _holds_csv(folder: Path) -> bool:
    return any(path.suffix.casefold() == ".csv" for path in files_in(folder))


def check_inputs_are_kept(answers: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Raise UserError if one of the files `answers` is the same file as one of `inputs`, under any name."""
    existing = {place: path for path in answers if (place := _place(path))}
    if not existing:
        return
    for path in inputs:
        if (place := _place(path)) and (answer := existing.get(place)):
            raise UserError(f"the answer {answer} would replace the input {path}; give another --output")


def check_file_target(path: Path, forbidden_roots: Iterable[Path]) -> None:
    """Raise UserError, before any work, unless `write_file` may write `path`.

    Refuses `forbidden_roots` (files, or folders with their content); any existing file of a kind that no command writes
    to a named path, such as images, csv files, weights and answers; hard links; folders, disks and sockets; and paths
    that are not writable. Symbolic links are followed.
    """
    if (number := _descriptor(path)) is not None:
        _check_descriptor(path, number)
        return
    target = Path(os.path.realpath(path))
    for root in forbidden_roots:
        if _lies_in(target, root):
            raise UserError(f"{path} is inside {root}, where nothing may be replaced; give a path outside it")
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
    """Write into a device, a FIFO or an open descriptor (`/dev/stdout`); write any other file atomically.

    If `path` is a link, its target is written. Missing folders are made. Raises OSError.
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
    """Return whether `path` is a device, a FIFO or an open descriptor, into which `write_file` writes."""
    found = _status(path)
    return _descriptor(path) is not None or (found is not None and not stat.S_ISREG(found.st_mode))


def files_in(folder: Path) -> Iterator[Path]:
    """Yield the entries of a folder; nothing if it does not exist or is not readable."""
    try:
        yield from folder.iterdir()
    except OSError:
        return


def is_same(path: Path, other: Path) -> bool:
    """Return whether two paths lead to the same file or folder, also through links or mounts."""
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
        raise UserError(f"{path} exists and is not an earlier file of this kind; give another path, or remove it")
    if found.st_nlink > 1:
        raise UserError(f"{path} is a file with other names too (a hard link); give another path, or remove this one")
    if not os.access(target.parent, os.W_OK | os.X_OK) and not os.access(target, os.W_OK):
        raise UserError(f"{path} may not be replaced; give a path in a folder that may be written")


def _is_of_ours(file: Path) -> bool:
    """Return whether a file looks like an earlier output of a command, or is empty, as `mktemp` makes it."""
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
    """Return the descriptor that `path` leads to, as /dev/stdout and /dev/fd/3 do; None if it is a file."""
    own = os.path.realpath("/proc/self/fd")
    for _ in range(_MOST_LINKS):
        if os.path.realpath(path.parent) == own and path.name.isdecimal():
            return int(path.name)
        if not path.is_symlink():
            break
        path = path.parent / os.readlink(path)
    return None


def _open_stream(path: Path) -> int:
    """Open a device or a FIFO. A FIFO without a reader is an error, because waiting might never end."""
    descriptor = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return descriptor


def _write_into(descriptor: int, data: bytes) -> None:
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)


def _place(path: Path) -> tuple[int, int] | None:
    """Return device and inode, the same for all names of a file; None if there is no such file."""
    found = _status(path)
    return (found.st_dev, found.st_ino) if found else None


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
