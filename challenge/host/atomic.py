"""Files that appear whole or not at all."""

import hashlib
import zlib
from collections.abc import Iterable
from pathlib import Path

from challenge.host.disk import flush


def write_atomically(target: Path, chunks: Iterable[bytes], *, durable: bool = True) -> tuple[int, int]:
    """Write to a temporary name in the same folder, flush to disk if `durable`, rename. Return size and CRC-32.

    Raises OSError; leaves no partial file.
    """
    # The name has a fixed length, so that even the longest name that a file system allows can be written.
    partial = target.with_name(f".{hashlib.blake2b(target.name.encode(), digest_size=16).hexdigest()}.partial")
    size = crc32 = 0
    try:
        partial.unlink(missing_ok=True)
        with partial.open("xb") as stream:  # "x": never write through a link
            for chunk in chunks:
                stream.write(chunk)
                size, crc32 = size + len(chunk), zlib.crc32(chunk, crc32)
            if durable:
                stream.flush()
                flush(stream.fileno())
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return size, crc32
