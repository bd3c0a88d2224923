"""Limits of this process: processors by affinity mask and cgroup quota, memory by cgroup."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_ROOT = Path("/")
_NO_LIMIT = 1 << 60  # version 1 writes a number close to 2^63


def available_cpus() -> int:
    """Return the number of processors that this process may use, at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_limits(_ROOT).cpus
    return max(1, min(allowed, math.ceil(quota) if quota else allowed))


def memory_limit_mib() -> int | None:
    """Return the cgroup's memory limit in MiB; None without a limit."""
    memory = cgroup_limits(_ROOT).memory
    return None if memory is None else memory >> 20


@dataclass(frozen=True)
class CgroupLimits:
    """`cpus` in processors, `memory` in bytes; None without a limit."""

    cpus: float | None
    memory: int | None


def cgroup_limits(root: Path) -> CgroupLimits:
    """Return the tightest limits of this process's cgroup and of all groups above it, of either version.

    `root` is the root folder of the system. The groups' names come from `/proc/self/cgroup`. In a container these may
    be the host's names, whose folders are not visible there; then the visible groups count, such as the container's.
    """
    folders = list(_folders(root))
    cpus = [share for folder in folders if (share := _cpus(folder)) is not None]
    memory = [size for folder in folders if (size := _memory(folder)) is not None]
    return CgroupLimits(min(cpus, default=None), min(memory, default=None))


def _folders(root: Path) -> Iterator[Path]:
    """Yield the folders that may hold this process's limits, from each group up to the top of its hierarchy."""
    mounts = root / "sys/fs/cgroup"
    for controllers, group in _groups(root):
        names = [controllers, *controllers.split(",")] if controllers else ["", "unified"]
        for mount in {mounts / name for name in names}:
            for above in (group, *group.parents):
                yield mount / above


def _groups(root: Path) -> Iterator[tuple[str, PurePosixPath]]:
    """Yield each hierarchy's controllers (none in version 2) and this process's group, relative to the top."""
    try:
        lines = (root / "proc/self/cgroup").read_text(errors="surrogateescape").splitlines()
    except OSError:
        lines = []
    # Also look at the tops of the hierarchies.
    for line in (*lines, "0::/", "0:cpu:/", "0:memory:/"):
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        # A group outside the container's namespace is listed as /../name.
        yield controllers, PurePosixPath(*(part for part in path.split("/") if part not in ("", "..")))


def _cpus(folder: Path) -> float | None:
    match _words(folder / "cpu.max"):
        case [limit, period]:
            return _share(limit, period)
    match _words(folder / "cpu.cfs_quota_us"), _words(folder / "cpu.cfs_period_us"):
        case [limit], [period]:
            return _share(limit, period)
    return None


def _share(limit: str, period: str) -> float | None:
    try:
        share = int(limit) / int(period)
    except (ValueError, ZeroDivisionError):  # "max"
        return None
    return share if share > 0 else None  # version 1 writes -1


def _memory(folder: Path) -> int | None:
    for name in ("memory.max", "memory.limit_in_bytes"):
        match _words(folder / name):
            case [limit] if limit.isdecimal() and int(limit) < _NO_LIMIT:
                return int(limit)
    return None


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except (OSError, ValueError):
        return []
