"""The protocol that every engine implements."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy.typing as npt

from challenge.host.limits import available_cpus

Array = npt.NDArray[Any]

_MOST_THREADS = 16
_MOST_LANES = 2


class Runtime(Protocol):
    """Runs graphs, which are loaded when first used. `run` may be called from several threads."""

    engine: str
    """`onnxruntime` or `OpenVINO`."""
    device: str
    """`cpu` or `cuda`: what is really used."""
    providers: tuple[str, ...]
    """The engine's own names of what it really uses, best first."""
    precision: str
    """`float32`, `bfloat16` or `float16`: what the large sums are computed in. Outputs are float32."""

    lanes: int
    """How many batches should be under way at once: where one keeps a core idle, another uses it."""

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run `graph` on arrays whose first axis is the batch; return its outputs by name."""
        ...


class ProviderError(Exception):
    """An engine cannot use what it was asked to; the text says why."""


def engine_threads() -> int:
    """Threads of all graphs together: the processors that this process may use, but not more than help."""
    return min(available_cpus(), _MOST_THREADS)


def lanes() -> int:
    """Batches that pass the network at once on CPUs: each more takes the memory of a batch's largest tensors."""
    return min(available_cpus(), _MOST_LANES)
