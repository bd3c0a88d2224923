"""Where a measurement was taken: processor, its number formats, cores, load, versions."""

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
    """Return what the tables of this machine must name; `load` is the mean number of running programs of a minute.

    To be called before anything is measured: other programs take time from what is. A busy machine gets a warning.
    """
    load = os.getloadavg()[0]
    if load > _BUSY:
        logger.warning(
            "other programs are running (load %.1f): PyTorch's threads wait for each other far longer than "
            "others' do, so the ratios to it mean nothing; measure on an idle machine",
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
    """Return what `machine` found as one line."""
    return ", ".join(f"{name} {value}" for name, value in facts.items() if value)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
