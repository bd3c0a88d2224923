"""Measures a program in its own process: wall time, processor time, peak memory.

A small process (this file) starts the program, because Linux counts the starting process's memory into the peak of
the started one.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Usage:
    """Wall seconds, processor seconds of all threads and children, and peak resident memory in MiB."""

    seconds: float
    cpu_seconds: float
    memory_mib: float


class FailedError(RuntimeError):
    """A program ended with an exit code other than 0; the message is the last line of its stderr."""

    def __init__(self, command: Sequence[str], code: int, last_line: str) -> None:
        super().__init__(f"{' '.join(command)} ended with {code}: {last_line}")
        self.code, self.last_line = code, last_line


def run(command: Sequence[str | Path | int], folder: Path | None = None) -> Usage:
    """Run a program in `folder` to its end. Raises FailedError."""
    words = list(map(str, command))
    with tempfile.TemporaryDirectory() as name:
        found, errors = Path(name) / "usage.json", Path(name) / "stderr"
        with errors.open("wb") as stream:
            launcher = [sys.executable, "-I", "-S", __file__, str(found), *words]
            subprocess.run(launcher, check=True, stderr=stream, stdout=subprocess.DEVNULL, cwd=folder)  # noqa: S603
        usage = json.loads(found.read_text())
        if code := usage.pop("code"):
            lines = errors.read_text("utf-8", "replace").strip().splitlines()
            raise FailedError(words, code, lines[-1] if lines else "")
    return Usage(**usage)


def _main(found: str, *command: str) -> None:
    start = time.perf_counter()
    process = subprocess.Popen(command)  # noqa: S603 (our own programs)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    facts = {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "memory_mib": used.ru_maxrss / unit,
        "code": process.returncode,
    }
    Path(found).write_text(json.dumps(facts))


def cpu_seconds() -> float:
    """Processor time of this process and its finished children; on a busy machine it says more than wall time."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


if __name__ == "__main__":
    _main(*sys.argv[1:])
