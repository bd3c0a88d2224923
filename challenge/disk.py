"""A full disk: how it is recognised, and how room for the small files that matter is kept from the start."""

import errno
import os
import shutil
from pathlib import Path

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_BLOCK = 4096


class DiskFullError(Exception):
    """The output folder has no room left. The message tells how much is needed; earlier results stay valid."""

    @classmethod
    def of(cls, folder: Path, answered: int, rows: int, needed: int) -> "DiskFullError":
        """Return the error for a run that has `answered` of `rows` and needs about `needed` bytes more."""
        return cls(
            f"no room is left in {folder} after {answered} of {rows} rows: the others need about {on_disk(needed):,} "
            f"bytes, {shutil.disk_usage(folder).free:,} are free; make room and run the same command with --resume"
        )


def is_full(error: OSError) -> bool:
    """Whether an error means that the disk, the quota or the largest allowed file is exhausted."""
    return error.errno in _FULL


def on_disk(size: int) -> int:
    """Bytes that a file of `size` bytes takes: whole blocks."""
    return -(-size // _BLOCK) * _BLOCK


def reserve(path: Path, size: int) -> None:
    """Make `path` take `size` bytes of disk, to be released by deleting it. Raises OSError if there is no room."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    try:
        if size and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
    except OSError:
        path.unlink()
        raise
    finally:
        os.close(descriptor)
