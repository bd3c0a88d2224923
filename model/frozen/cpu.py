"""How many processors this process may use: affinity mask and cgroup quota, never the host's core count."""

import math
import os
from pathlib import Path

_QUOTAS = (Path("/sys/fs/cgroup/cpu.max"), Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"))
_PERIOD = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")


def available_cpus() -> int:
    """Return at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(allowed, math.ceil(quota) if quota else allowed))


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
