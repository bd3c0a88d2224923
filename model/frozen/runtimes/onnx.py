"""onnxruntime on CPU or CUDA."""

import ctypes
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort

from challenge.errors import UserError, WeightsError
from model.frozen.facts import Graph
from model.frozen.limits import available_cpus
from model.frozen.runtimes.base import Array

logger = logging.getLogger(__name__)

_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_ERRORS_ONLY = 3
_LARGE_BYTES = 1 << 20
_MOST_THREADS = 16


class OnnxRuntime:
    """One session per graph, made when the graph is first used.

    Each session has threads of its own, so only large graphs get several: containers may limit the number of threads.
    """

    def __init__(self, folder: Path, graphs: Mapping[str, Graph], device: str = "auto") -> None:
        self._folder = folder
        self._graphs = graphs
        self._sessions: dict[str, ort.InferenceSession] = {}
        self._threads = min(available_cpus(), _MOST_THREADS)
        self.device = choose_device(device)
        if self.device == "cuda" and not self._cuda_answers():
            reason = "CUDA was found but onnxruntime could not use it (driver and cuDNN must match its build)"
            if device == "cuda":
                raise UserError(f"--device cuda: {reason}; use --device cpu or auto")
            logger.warning("device: cpu, because %s", reason)
            self.device = "cpu"
        self.precision = "float32"
        self.providers: tuple[str, ...] = (_CUDA, _CPU) if self.device == "cuda" else (_CPU,)

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `Runtime.run`."""
        session = self._sessions.get(graph) or self._load(graph)
        outputs = self._graphs[graph].outputs
        try:
            return dict(zip(outputs, session.run(list(outputs), dict(inputs)), strict=True))
        except Exception as error:  # onnxruntime's exceptions share no base class but Exception
            count = len(next(iter(inputs.values())))
            if self.device == "cpu" or count == 1 or "memory" not in str(error).lower():
                raise
        logger.warning("%s: %d images are too much for the GPU's memory; halved", graph, count)
        halves = [
            self.run(graph, {name: array[part] for name, array in inputs.items()})
            for part in (slice(count // 2), slice(count // 2, None))
        ]
        return {name: np.concatenate([half[name] for half in halves]) for name in outputs}

    def _cuda_answers(self) -> bool:
        """Load the smallest graph: onnxruntime takes the CPU instead of CUDA without a word."""
        smallest = min(self._graphs, key=lambda name: (self._folder / self._graphs[name].file).stat().st_size)
        works = _CUDA in self._load(smallest).get_providers()
        if not works:
            self._sessions.clear()
        return works

    def _load(self, graph: str) -> ort.InferenceSession:
        path = self._folder / self._graphs[graph].file
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads if path.stat().st_size > _LARGE_BYTES else 1
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        # Spinning threads would take the processors from the threads that decode images and write masks.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # TF32 rounds to 10 bits: results would depend on the GPU's generation.
        cuda = [(_CUDA, {"use_tf32": "0"})] if self.device == "cuda" else []
        try:
            session = ort.InferenceSession(str(path), options, providers=[*cuda, _CPU])
        except Exception as error:  # onnxruntime's exceptions share no base class but Exception
            raise WeightsError(f"onnxruntime cannot load {path}: {error}; export the weights again") from error
        self._sessions[graph] = session
        return session


def choose_device(wanted: str) -> str:
    """Return `cpu` or `cuda` for `auto|cpu|cuda`, and log why. Raises UserError if `cuda` cannot be had."""
    if wanted == "cpu":
        return "cpu"
    if _CUDA not in ort.get_available_providers():
        reason = "this onnxruntime has no CUDA provider"
    elif not cuda_device_count():
        reason = "no CUDA device is visible (driver missing, or the container was started without --gpus)"
    else:
        ort.preload_dlls()
        return "cuda"
    if wanted == "cuda":
        raise UserError(f"--device cuda: {reason}; use --device cpu or auto")
    logger.info("device: cpu, because %s", reason)
    return "cpu"


def cuda_device_count() -> int:
    """Number of CUDA devices by the driver's own word; 0 without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    return count.value if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0
