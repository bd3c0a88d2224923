"""OpenVINO on the CPU. Optional: `openvino` is imported when a runtime is made, and only then."""

import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import gettempdir
from threading import Lock
from types import ModuleType
from typing import Any

from challenge.errors import WeightsError
from model.frozen.metadata import Graph
from model.frozen.runtimes.base import Array, ProviderError, lanes, runtime_threads
from model.frozen.runtimes.openvino_exact import keep_exact
from model.frozen.runtimes.signal_stack import kept_signal_stack

_TYPES = {"float32": "f32", "bfloat16": "bf16"}
_EXACT_CONVOLUTIONS = 3
"""The first filters of a network answer to small differences of neighbouring pixels, which bfloat16 rounds away: so
many convolutions of the graph that reads the images stay in float32. docs/performance.md tells what that is worth."""


class OpenVinoRuntime:
    """One compiled model per graph, compiled when the graph is first used; nothing is cached on disk.

    `precision` is `float32` or `bfloat16`; inputs and outputs are float32 in both. Raises ProviderError if OpenVINO is
    not installed, or for `bfloat16` if the processor has no such instructions or there is no temporary folder.
    """

    name = "OpenVINO"
    device = "cpu"

    def __init__(self, folder: Path, graphs: Mapping[str, Graph], precision: str = "float32") -> None:
        self._openvino = _import_openvino()
        self._core = self._openvino.Core()
        self._folder = folder
        self._graphs = graphs
        self._models: dict[str, Any] = {}
        self._requests: dict[str, list[Any]] = {graph: [] for graph in graphs}
        self._locks = {graph: Lock() for graph in graphs}
        self.lanes = lanes()
        self.precision = precision
        self.providers: tuple[str, ...] = ("CPU",)
        with kept_signal_stack():
            if precision == "bfloat16":
                self._check_bfloat16()

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `Runtime.run`."""
        with self._locks[graph]:
            with kept_signal_stack():
                model = self._models.get(graph) or self._load(graph)
            idle = self._requests[graph]
            request = idle.pop() if idle else model.create_infer_request()
        outputs = request.infer(dict(inputs), share_inputs=True)
        idle.append(request)
        return {name: outputs[name] for name in self._graphs[graph].outputs}

    def _check_bfloat16(self) -> None:
        if "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise ProviderError("this processor has neither AVX512-BF16 nor AMX")
        try:
            gettempdir()
        except OSError as error:
            raise ProviderError("OpenVINO needs a writable temporary folder for it (TMPDIR)") from error

    def _load(self, graph: str) -> Any:
        path = self._folder / self._graphs[graph].file
        how = {
            "INFERENCE_PRECISION_HINT": _TYPES[self.precision],
            "NUM_STREAMS": self.lanes,
            "INFERENCE_NUM_THREADS": runtime_threads(),
            # Pinned threads would fight with those that decode images and write masks.
            "ENABLE_CPU_PINNING": False,
            # One thread per model beside the common ones, not two: containers may limit their number.
            "EXCLUSIVE_ASYNC_REQUESTS": True,
        }
        try:
            model = self._core.read_model(str(path))
            if self.precision == "bfloat16" and "images" in self._graphs[graph].inputs:
                model = keep_exact(self._openvino, model, _EXACT_CONVOLUTIONS)
            compiled = self._core.compile_model(model, "CPU", how)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise WeightsError(f"OpenVINO cannot load {path}: {reason}; use --precision float32") from error
        self._models[graph] = compiled
        return compiled


def _import_openvino() -> ModuleType:
    # Importing OpenVINO reports that to Intel where openvino-telemetry, which comes with it, is installed. This entry
    # says that it is not.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise ProviderError("OpenVINO is not installed (pip install openvino)") from error
    module: ModuleType = openvino
    return module
