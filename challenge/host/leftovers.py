"""Files of an earlier run in the output folder, perhaps of another user: can this run replace them?"""

import os
import stat
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path, PurePosixPath

from challenge.errors import UserError
from challenge.host.needs import existing


def check_replaceable(output_dir: Path, files: Iterable[PurePosixPath]) -> None:
    """Raise UserError if one of `files`, below `output_dir`, cannot be written or replaced by this user."""
    parent_of = lru_cache(maxsize=None)(_nearest)
    for file in files:
        target = output_dir / file
        folder, writable, sticky = parent_of(target.parent)
        if not writable:
            raise _refusal(folder)
        if sticky and _is_another_users(target, folder):
            raise _refusal(target)


def refusal(error: PermissionError, output_dir: Path) -> UserError:
    """Return the error for a file or folder that this user may not write."""
    return _refusal(Path(error.filename2 or error.filename or output_dir))


def _nearest(folder: Path) -> tuple[Path, bool, bool]:
    """Return the nearest existing folder, if this user may write there, and if only owners may replace files."""
    found = existing(folder)
    return found, os.access(found, os.W_OK | os.X_OK), bool(found.stat().st_mode & stat.S_ISVTX)


def _is_another_users(target: Path, folder: Path) -> bool:
    if not os.path.lexists(target):
        return False
    return os.geteuid() not in (0, target.lstat().st_uid, folder.stat().st_uid)


def _refusal(path: Path) -> UserError:
    owner = f" and belongs to uid {path.lstat().st_uid}" if os.path.lexists(path) else ""
    return UserError(
        f"{path} cannot be written by uid {os.geteuid()}{owner}; remove the files of the earlier run, "
        "or give another output folder"
    )
