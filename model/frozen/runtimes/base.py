"""The protocol of a runtime, a library that runs graphs."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy.typing as npt

from challenge.host.limits import available_cpus

Array = npt.NDArray[Any]

_MOST_THREADS = 16
_MOST_LANES = 2


class Runtime(Protocol):
    """Runs graphs, which are loaded when first used. `run` may be called from several threads."""

    name: str
    """`onnxruntime` or `OpenVINO`."""
    device: str
    """`cpu` or `cuda`, the device in use."""
    providers: tuple[str, ...]
    """The runtime's own names for what it uses, best first."""
    precision: str
    """`float32`, `tf32`, `bfloat16` or `float16`: the type of convolutions and matrix products. Outputs are float32."""

    lanes: int
    """How many batches to run at once, so that one uses the cores that another leaves idle."""

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run `graph` on arrays whose first axis is the batch; return its outputs by name."""
        ...


class ProviderError(Exception):
    """A runtime cannot use what it was asked to use; the text says why."""


def runtime_threads() -> int:
    """Return the number of threads for all graphs together: the available processors, up to a useful limit."""
    return min(available_cpus(), _MOST_THREADS)


def lanes() -> int:
    """Return how many batches to run at once on a CPU. Each takes the memory of a batch's largest tensors."""
    return min(available_cpus(), _MOST_LANES)
