"""Float16 graphs, run by onnxruntime on the CPU: their numbers, and which graphs stay in float32."""

import numpy as np
import onnx
import pytest

from challenge.errors import WeightsError
from model.frozen.metadata import Graph, read_metadata
from model.frozen.router import Router
from model.frozen.runtimes.float16 import as_float16, inner_graphs
from model.frozen.runtimes.onnx import OnnxRuntime


@pytest.fixture(scope="module")
def metadata(tiny_weights):
    return read_metadata(tiny_weights)


def test_encoders_and_decoders_are_inner_graphs_and_heads_are_not(metadata):
    inner = inner_graphs(metadata.graphs)
    lasts = {task.path[-1] for task in metadata.tasks.values() if task.path}
    assert inner
    assert inner.isdisjoint(lasts)
    assert inner | lasts == set(metadata.graphs)


def test_weights_become_float16_and_the_ends_stay_float32(metadata, tiny_weights):
    (name,) = [name for name, graph in metadata.graphs.items() if "images" in graph.inputs]
    graph = onnx.load_from_string(as_float16(tiny_weights / metadata.graphs[name].file)).graph
    types = {tensor.data_type for tensor in graph.initializer if len(tensor.dims) == 4}
    assert types == {onnx.TensorProto.FLOAT16}
    assert {value.type.tensor_type.elem_type for value in graph.output} == {onnx.TensorProto.FLOAT}
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8


def test_answers_in_float16_are_close_to_those_in_float32(metadata, tiny_weights):
    size = metadata.image_size
    images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    exact, rounded = (
        {
            task_id: output
            for task_id, _, output in Router(
                metadata, OnnxRuntime(tiny_weights, metadata.graphs, "cpu", precision)
            ).run(images, [list(metadata.tasks)] * 2)
        }
        for precision in ("float32", "float16")
    )
    assert exact.keys() == rounded.keys()
    for task_id, output in exact.items():
        assert rounded[task_id].dtype == np.float32
        difference = np.abs(rounded[task_id] - output).max() / max(1, np.abs(output).max())
        assert difference < 0.01, task_id
    assert any((rounded[task_id] != output).any() for task_id, output in exact.items())


def test_a_graph_that_cannot_be_converted_is_a_weights_error(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"nothing")
    graphs = {"a": Graph("a.onnx", "", ("images",), ("x",)), "b": Graph("b.onnx", "", ("x",), ("y",))}
    with pytest.raises(WeightsError, match=r"a\.onnx cannot be converted to float16: .*; use --precision float32"):
        OnnxRuntime(tmp_path, graphs, "cpu", "float16").run("a", {})
