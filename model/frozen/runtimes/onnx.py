"""onnxruntime on CPU, CUDA or TensorRT."""

import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from threading import Lock

import numpy as np
import onnxruntime as ort

from challenge.errors import WeightsError
from model.frozen.metadata import Graph
from model.frozen.runtimes.base import Array, ProviderError, lanes, runtime_threads
from model.frozen.runtimes.float16 import as_float16, check_converter, inner_graphs

logger = logging.getLogger(__name__)

TENSORRT, CUDA, CPU = "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"
# The default search times all algorithms of a convolution, so a resumed run could take others and get other bytes.
_CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC"}
_NEEDS = {
    TENSORRT: "TensorRT was found but onnxruntime could not use it (its libraries and the driver must match its build)",
    CUDA: "CUDA was found but onnxruntime could not use it (driver and cuDNN must match its build)",
}
_ERRORS_ONLY = 3
_LARGE_BYTES = 1 << 20


class OnnxRuntime:
    """One session per graph, made when the graph is first used.

    `device` is `cpu` or `cuda`; `precision` is `float32`, or on CUDA `tf32` (convolutions and matrix products round to
    10 bits) or `float16`. Float16 is for all graphs but the last ones (`inner_graphs`). They are converted when they
    are loaded, or compiled by TensorRT if there is a folder `tensorrt`, which keeps the compiled engines.

    Each session has threads of its own, so only large graphs get several: containers may limit the number of threads.

    Raises ProviderError if onnxruntime cannot really use the device in that precision.
    """

    name = "onnxruntime"

    def __init__(
        self,
        folder: Path,
        graphs: Mapping[str, Graph],
        device: str = "cpu",
        precision: str = "float32",
        tensorrt: Path | None = None,
    ) -> None:
        self._folder = folder
        self._graphs = graphs
        self._sessions: dict[str, ort.InferenceSession] = {}
        self._locks = {graph: Lock() for graph in graphs}
        self.lanes = lanes() if device == "cpu" else 1
        self.device, self.precision = device, precision
        self._tensorrt = tensorrt
        self._reduced = inner_graphs(graphs) if precision == "float16" else frozenset[str]()
        if self._reduced and not tensorrt:
            check_converter()
        fastest = () if device == "cpu" else (TENSORRT, CUDA) if tensorrt else (CUDA,)
        self.providers: tuple[str, ...] = (*fastest, CPU)
        if self.device != "cpu":
            self._check_provider()

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `Runtime.run`."""
        with self._locks[graph]:
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

    def _check_provider(self) -> None:
        """Load the smallest graph: onnxruntime takes a slower provider than it was asked for without a word."""
        first = self.providers[0]
        if first not in ort.get_available_providers():
            raise ProviderError(f"this onnxruntime has no {first}")
        choice = self._reduced or self._graphs
        smallest = min(choice, key=lambda name: (self._folder / self._graphs[name].file).stat().st_size)
        if first not in self._load(smallest).get_providers():
            raise ProviderError(_NEEDS[first])

    def _load(self, graph: str) -> ort.InferenceSession:
        path = self._folder / self._graphs[graph].file
        options = ort.SessionOptions()
        options.intra_op_num_threads = runtime_threads() // self.lanes if path.stat().st_size > _LARGE_BYTES else 1
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        # Spinning threads would take the processors from the threads that decode images and write masks.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        _share_memory()
        options.add_session_config_entry("session.use_env_allocators", "1")
        reduced = graph in self._reduced
        model = as_float16(path) if reduced and not self._tensorrt else str(path)
        try:
            session = ort.InferenceSession(model, options, providers=self._providers_of(reduced))
        except Exception as error:  # onnxruntime's exceptions share no base class but Exception
            raise WeightsError(f"onnxruntime cannot load {path}: {error}; export the weights again") from error
        self._sessions[graph] = session
        return session

    def _providers_of(self, reduced: bool) -> list[tuple[str, dict[str, str]]]:
        """Return providers and their options for a graph; TensorRT is for those in float16."""
        options = {
            TENSORRT: _tensorrt_options(self._tensorrt) if self._tensorrt else {},
            # TF32 is onnxruntime's default, and answers would depend on the GPU's generation.
            CUDA: {**_CUDA_OPTIONS, "use_tf32": "1" if self.precision == "tf32" else "0"},
            CPU: {},
        }
        return [(name, options[name]) for name in self.providers if reduced or name != TENSORRT]


@cache
def _share_memory() -> None:
    """Let all sessions of this process take their memory from one arena.

    By itself each session keeps one as large as its largest batch needs: 824 instead of 346 MiB for 17 tasks.
    """
    ort.create_and_register_allocator(
        ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT), None
    )


def _tensorrt_options(folder: Path) -> dict[str, str]:
    """Compiling takes minutes, so `folder` keeps engines and the times of their kernels for the next run."""
    return {
        "trt_fp16_enable": "1",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
    }
