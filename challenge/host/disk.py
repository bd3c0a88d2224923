"""What a disk may refuse: room, which is kept from the start for the small files that matter, and mere courtesies."""

import errno
import logging
import os
import shutil
from pathlib import Path

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# What FUSE, CIFS and the like answer to a call that they do not know. None of these tells of lost data.
_UNSUPPORTED = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EROFS}
# Mounts without owners and modes refuse chmod even to the owner.
_NO_MODES = _UNSUPPORTED | {errno.EPERM}
_BLOCK = 4096

logger = logging.getLogger(__name__)


class DiskFullError(Exception):
    """A folder has no room left. The message tells how much is needed and what to do; earlier results stay valid."""

    @classmethod
    def of(cls, folder: Path, answered: int, rows: int, needed: int) -> "DiskFullError":
        """Return the error for a run that has `answered` of `rows` and needs about `needed` bytes more."""
        return cls(
            f"no room is left in {folder} after {answered} of {rows} rows: the others need about {on_disk(needed):,} "
            f"bytes, {_free(folder):,} are free; make room and run the same command with --resume"
        )

    @classmethod
    def again(cls, folder: Path, purpose: str, needed: int) -> "DiskFullError":
        """Return the error for a command that starts over: `purpose` needs about `needed` bytes in `folder`."""
        return cls(
            f"no room is left in {folder} for {purpose}: about {on_disk(needed):,} bytes are needed, "
            f"{_free(folder):,} are free; make room and run the same command again"
        )


def _free(folder: Path) -> int:
    """Bytes that are free where `folder` is, or is to be made."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


def is_full(error: OSError) -> bool:
    """Whether an error means that the disk, the quota or the largest allowed file is exhausted."""
    return error.errno in _FULL


def on_disk(size: int) -> int:
    """Bytes that a file of `size` bytes takes: whole blocks."""
    return -(-size // _BLOCK) * _BLOCK


def reserve(path: Path, size: int) -> None:
    """Make `path` take `size` bytes of disk, to be released by deleting it. Raises OSError if there is no room.

    A file system that cannot do so is left alone: then a full disk is found out later.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    try:
        if size and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            path.unlink()
            raise
        logger.debug("%s is on a file system that keeps no room (%s)", path, error.strerror)
    finally:
        os.close(descriptor)


def flush(descriptor: int) -> None:
    """Wait until the disk has what was written. Raises OSError if it cannot have it, not if it cannot tell."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        logger.debug("a file system without fsync (%s)", error.strerror)


def set_mode(path: Path, mode: int) -> None:
    """Change a file's mode where the file system has modes. Raises OSError for other reasons than that."""
    try:
        path.chmod(mode)
    except OSError as error:
        if error.errno not in _NO_MODES:
            raise
        logger.debug("%s keeps its mode (%s)", path, error.strerror)
