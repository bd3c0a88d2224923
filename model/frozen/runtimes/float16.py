"""Float16 graphs, made from the float32 ones when they are loaded. Optional: the package `onnx` does it."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from challenge.errors import WeightsError
from model.frozen.metadata import Graph
from model.frozen.runtimes.base import ProviderError


def inner_graphs(graphs: Mapping[str, Graph]) -> frozenset[str]:
    """Return the graphs whose outputs other graphs take: encoders and decoders. Only these compute in float16.

    A head may give coordinates in 0..1, and float16 has 11 bits: half a pixel of an image of 1000 pixels.
    """
    taken = {name for graph in graphs.values() for name in graph.inputs}
    return frozenset(name for name, graph in graphs.items() if not taken.isdisjoint(graph.outputs))


def check_converter() -> None:
    """Raise ProviderError if the package that converts graphs is not installed."""
    if find_spec("onnx") is None:
        raise ProviderError("float16 without TensorRT needs the package onnx (pip install onnx)")


def as_float16(path: Path) -> bytes:
    """Return the graph in `path` with float16 weights and operations; its inputs and outputs stay float32.

    Operators that would lose their meaning, such as ranges, stay in float32 too. Raises WeightsError.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    try:
        converted = convert_float_to_float16(onnx.load(path), keep_io_types=True)
        return bytes(converted.SerializeToString())
    except Exception as error:  # a graph can be broken in many ways, and onnx has no common exception
        reason = " ".join(str(error).split())
        raise WeightsError(f"{path} cannot be converted to float16: {reason}; use --precision float32") from error
