"""Describes the machine of a measurement: processor, its number formats, cores, load, versions."""

import logging
import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from challenge.host.limits import available_cpus

logger = logging.getLogger(__name__)

_BUSY = 0.5
_FORMATS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8")
_PACKAGES = ("torch", "timm", "numpy", "pillow", "opencv-python-headless", "onnxruntime", "onnxruntime-gpu", "openvino")


def machine() -> dict[str, str]:
    """Return what tables say about this machine; `load` is the mean number of running programs in the last minute.

    Call it before the measurement, so that `load` counts only other programs. A busy machine gives a warning.
    """
    load = os.getloadavg()[0]
    if load > _BUSY:
        logger.warning(
            "other programs are running (load %.1f), which slows PyTorch down more than the other "
            "runtimes and makes ratios to it useless; measure on an idle machine",
            load,
        )
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    cells = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    known = cells.get("flags", "").split()
    return {
        "processor": cells.get("model name", platform.processor()),
        "formats": " ".join(name for name in _FORMATS if name in known),
        "cores": str(available_cpus()),
        "load": f"{load:.1f}",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", ""),
        "python": platform.python_version(),
        **{package: found for package in _PACKAGES if (found := _version(package))},
    }


def machine_line(facts: Mapping[str, str]) -> str:
    """Return the result of `machine` as one line."""
    return ", ".join(f"{name} {value}" for name, value in facts.items() if value)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
