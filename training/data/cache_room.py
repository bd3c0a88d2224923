"""What the image cache will take, said before it is filled, and refused where the disk has no room for it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from challenge.host.disk import DiskFullError, free_bytes
from challenge.host.progress import duration

logger = logging.getLogger(__name__)

_GIGABYTE = 1e9


@dataclass(frozen=True)
class Needs:
    """Arrays of one shape that the cache lacks: how many are `missing`, how many have `room`, and the bytes of each.

    What has no room is decoded whenever it is needed. `seconds` is the estimated time of decoding all.
    """

    label: str
    missing: int
    room: int
    bytes_each: int
    seconds: float = 0.0

    @property
    def stored(self) -> int:
        """How many will be stored."""
        return min(self.missing, self.room)

    @property
    def bytes(self) -> int:
        """Bytes on disk of what will be stored."""
        return self.stored * self.bytes_each


def check_room(needs: Sequence[Needs], cache: Path) -> None:
    """Log what filling the cache takes. Raises DiskFullError if the disk has not so much room."""
    needed = sum(each.bytes for each in needs)
    if not any(each.missing for each in needs):
        return
    if needed > free_bytes(cache):
        raise no_room(cache, needed)
    parts = " and ".join(f"{each.stored:,} {each.label}" for each in needs if each.missing)
    seconds = duration(sum(each.seconds for each in needs))
    logger.info("the cache %s gets %s: %.2f GB of %.1f GB that are free, in about %s", cache, parts,
                needed / _GIGABYTE, free_bytes(cache) / _GIGABYTE, seconds)  # fmt: skip
    for each in needs:
        if left := each.missing - each.stored:
            logger.warning("%d of %d %s do not fit into the cache and are decoded each time; raise "
                           "runtime.cache_gigabytes", left, each.missing, each.label)  # fmt: skip


def no_room(cache: Path, needed: int) -> DiskFullError:
    """Return the error for a cache that needs so many bytes."""
    return DiskFullError(
        f"the image cache {cache} needs {needed / _GIGABYTE:.2f} GB, but {free_bytes(cache) / _GIGABYTE:.2f} GB are "
        "free; make room, give a --cache on another disk, or lower runtime.cache_gigabytes"
    )
