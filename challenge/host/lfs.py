"""Git LFS pointers: small text files that stand where a large file was not downloaded."""

_START = b"version https://git-lfs"
START_BYTES = len(_START)
"""How much of a file `is_lfs_pointer` needs."""


def is_lfs_pointer(data: bytes) -> bool:
    """Return whether a file that begins with `data` is a Git LFS pointer instead of the file itself."""
    return data.startswith(_START)
