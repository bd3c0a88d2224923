"""Watches the memory of the first GPU with nvidia-smi, which comes with the driver."""

import shutil
import subprocess
from threading import Lock, Thread
from types import TracebackType

_NVIDIA_SMI = "nvidia-smi"
_EVERY_MS = 200


def gpu_line() -> str:
    """Return name, memory and driver of the first GPU; empty without nvidia-smi."""
    if not shutil.which(_NVIDIA_SMI):
        return ""
    done = subprocess.run([*_query("name,memory.total,driver_version")], check=False, capture_output=True, text=True)  # noqa: S603 (our own words)
    return done.stdout.strip()


class GpuMemory:
    """Used while programs run, which `take` tells apart. All that the GPU holds counts, so it should be idle before."""

    def __init__(self) -> None:
        self._lock, self._most = Lock(), 0.0
        self._process: subprocess.Popen[str] | None = None
        self._thread = Thread(target=self._read, daemon=True)

    def __enter__(self) -> "GpuMemory":
        if shutil.which(_NVIDIA_SMI):
            command = [*_query("memory.used"), f"--loop-ms={_EVERY_MS}"]
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 (our own words)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait()

    def take(self) -> float | None:
        """Return the most MiB in use since the last call; None without nvidia-smi."""
        with self._lock:
            most, self._most = self._most, 0.0
        return most if self._process else None

    def _read(self) -> None:
        lines = self._process.stdout if self._process else None
        for line in lines or ():
            if line.strip().isdecimal():
                with self._lock:
                    self._most = max(self._most, float(line))


def _query(fields: str) -> list[str]:
    return [_NVIDIA_SMI, "--id=0", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
