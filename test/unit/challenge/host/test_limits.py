"""Limits of the cgroup, read from a made-up system."""

from pathlib import Path

import pytest

from challenge.host.limits import CgroupLimits, cgroup_limits


def system(root: Path, group: str, files: dict[str, str]) -> Path:
    """A system whose process is in `group` (lines of /proc/self/cgroup), with these files below /sys/fs/cgroup."""
    for name, text in {
        "proc/self/cgroup": group,
        **{f"sys/fs/cgroup/{name}": text for name, text in files.items()},
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


GIB = str(1 << 30)
HUGE = str((1 << 63) - 4096)
ONE_AND_A_HALF = {"cpu/docker/c0/cpu.cfs_quota_us": "150000", "cpu/docker/c0/cpu.cfs_period_us": "100000"}
VERSION_1 = "4:memory:/docker/c0\n2:cpu,cpuacct:/docker/c0\n1:name=systemd:/docker/c0"


@pytest.mark.parametrize(
    ("group", "files", "expected"),
    [
        ("0::/", {"cpu.max": "max 100000", "memory.max": "max"}, (None, None)),
        ("0::/", {"cpu.max": "150000 100000", "memory.max": GIB}, (1.5, 1 << 30)),
        ("0::/", {"cpu.max": "50000 100000", "memory.max": "0"}, (0.5, 0)),
        ("0::/a/job", {"a/job/cpu.max": "200000 100000", "a/cpu.max": "max 100000"}, (2.0, None)),
        ("0::/a/job", {"a/memory.max": GIB, "a/job/memory.max": "max"}, (None, 1 << 30)),
        ("0::/a/b", {"a/cpu.max": "100000 100000", "a/b/cpu.max": "400000 100000"}, (1.0, None)),
        ("0::/a/b", {"a/cpu.max": "400000 100000", "a/b/cpu.max": "100000 100000"}, (1.0, None)),
        ("0::/other", {"a/cpu.max": "100000 100000"}, (None, None)),
        ("0::/../../job", {"job/memory.max": GIB, "cpu.max": "300000 100000"}, (3.0, 1 << 30)),
        ("0::/docker/c0", {"cpu.max": "100000 100000", "memory.max": GIB}, (1.0, 1 << 30)),
        ("0::/a:b", {"a:b/memory.max": GIB}, (None, 1 << 30)),
        ("0::/job", {"unified/job/memory.max": GIB}, (None, 1 << 30)),
        (VERSION_1, ONE_AND_A_HALF, (1.5, None)),
        (VERSION_1, {"cpu,cpuacct/docker/cpu.cfs_quota_us": "50000", "cpu,cpuacct/docker/cpu.cfs_period_us": "100000",
                     "memory/docker/c0/memory.limit_in_bytes": HUGE, "memory/docker/memory.limit_in_bytes": GIB},
         (0.5, 1 << 30)),
        (VERSION_1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000",
                     "memory/memory.limit_in_bytes": GIB}, (None, 1 << 30)),
        (VERSION_1, {"memory/docker/other/memory.limit_in_bytes": GIB}, (None, None)),
        ("", {"cpu.max": "100000 100000"}, (1.0, None)),
        ("nonsense\n0::", {"cpu.max": "much", "memory.max": "\xff"}, (None, None)),
    ],
)  # fmt: skip
def test_the_tightest_group_counts(tmp_path, group, files, expected):
    assert cgroup_limits(system(tmp_path, group, files)) == CgroupLimits(*expected)


def test_a_system_without_groups(tmp_path):
    assert cgroup_limits(tmp_path) == CgroupLimits(None, None)
