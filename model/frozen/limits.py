"""What this process may use: processors by affinity mask and cgroup quota, memory by cgroup; never the host's."""

import math
import os
from pathlib import Path

_QUOTAS = (Path("/sys/fs/cgroup/cpu.max"), Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"))
_PERIOD = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
_MEMORY = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_NO_LIMIT = 1 << 60  # version 1 writes a number close to 2^63


def available_cpus() -> int:
    """Return at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(allowed, math.ceil(quota) if quota else allowed))


def memory_limit_mib() -> int | None:
    """Return the memory that the cgroup allows, in MiB; None where there is no limit."""
    for file in _MEMORY:
        try:
            limit = int(file.read_text())
        except (OSError, ValueError):  # absent, or "max"
            continue
        return limit >> 20 if limit < _NO_LIMIT else None
    return None


def _cgroup_quota() -> float | None:
    """CPUs' worth of time per period, from cgroup v2 or v1; None where there is no limit."""
    try:
        if _QUOTAS[0].is_file():
            limit, period = _QUOTAS[0].read_text().split()
            return None if limit == "max" else int(limit) / int(period)
        limit, period = _QUOTAS[1].read_text().strip(), _PERIOD.read_text().strip()
        return int(limit) / int(period) if int(limit) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
