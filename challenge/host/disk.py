"""Disks: full ones, reserved space, and calls that some file systems do not support."""

import errno
import logging
import os
import shutil
from pathlib import Path

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# Errors of FUSE, CIFS and the like for unsupported calls. None of them means that data is lost.
_UNSUPPORTED = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EROFS}
# File systems without owners and modes refuse chmod even to the owner.
_NO_MODES = _UNSUPPORTED | {errno.EPERM}
_BLOCK = 4096

logger = logging.getLogger(__name__)


class DiskFullError(Exception):
    """A disk is full. The message says how much space is needed and what to do; earlier results stay valid."""

    @classmethod
    def of(cls, folder: Path, answered: int, rows: int, needed: int) -> "DiskFullError":
        """Return the error for a run that has `answered` of `rows` and needs about `needed` bytes more."""
        return cls(
            f"no room is left in {folder} after {answered} of {rows} rows: the others need about {on_disk(needed):,} "
            f"bytes, {free_bytes(folder):,} are free; make room and run the same command with --resume"
        )

    @classmethod
    def again(cls, folder: Path, purpose: str, needed: int) -> "DiskFullError":
        """Return the error for a command that must be repeated: `purpose` needs about `needed` bytes in `folder`."""
        return cls(
            f"no room is left in {folder} for {purpose}: about {on_disk(needed):,} bytes are needed, "
            f"{free_bytes(folder):,} are free; make room and run the same command again"
        )


def free_bytes(folder: Path) -> int:
    """Return the free bytes on the disk of `folder`, which need not exist yet."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


def is_full(error: OSError) -> bool:
    """Return whether an error means that the disk or the quota is full, or the file is too large."""
    return error.errno in _FULL


def on_disk(size: int) -> int:
    """Return the bytes on disk, in whole blocks, of a file of `size` bytes."""
    return -(-size // _BLOCK) * _BLOCK


def reserve(path: Path, size: int) -> None:
    """Reserve `size` bytes of disk in the file `path`; delete it to release them. Raises OSError if there is no space.

    On a file system that cannot reserve space nothing is reserved, and a full disk shows only later.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    try:
        if size and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            path.unlink()
            raise
        logger.debug("%s is on a file system that cannot reserve space (%s)", path, error.strerror)
    finally:
        os.close(descriptor)


def flush(descriptor: int) -> None:
    """Wait until the written data is on the disk. Raises OSError on failure, but not if fsync is unsupported."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        logger.debug("a file system without fsync (%s)", error.strerror)


def set_mode(path: Path, mode: int) -> None:
    """Change a file's mode if the file system has modes. Raises OSError for any other failure."""
    try:
        path.chmod(mode)
    except OSError as error:
        if error.errno not in _NO_MODES:
            raise
        logger.debug("%s keeps its mode (%s)", path, error.strerror)
