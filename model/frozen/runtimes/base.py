"""The protocol that every engine implements."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy.typing as npt

Array = npt.NDArray[Any]


class Runtime(Protocol):
    """Runs one graph at a time. Graphs are loaded when first used."""

    device: str
    """`cpu` or `cuda`: what is really used."""
    providers: tuple[str, ...]
    """The engine's own names of what it really uses, best first."""
    precision: str
    """`float32`, `bfloat16` or `float16`."""

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run `graph` on arrays whose first axis is the batch; return its outputs by name."""
        ...
