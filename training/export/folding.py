"""Padding that TensorFlow-style encoders compute at run time -> the `pads` of their convolutions.

timm pads such images by a node of its own, with a size computed from the image's shape. Images have one size here, so
the padding is known. A `Pad` before a convolution costs time itself and keeps onnxruntime from its blocked layout.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import GraphProto, ModelProto, NodeProto

Array = npt.NDArray[np.generic]


def fold_padding(path: Path, inputs: Mapping[str, Array]) -> int:
    """Fold every zero padding of the graph at `path` into the convolution behind it; return how many there were.

    `inputs` are an example of what the graph is fed; their sizes, the batch aside, are those of every later image.
    """
    model = onnx.load(str(path))
    pairs = _foldable(model.graph)
    if not pairs:
        return 0
    sizes = _values(model, [pad.input[1] for pad, _ in pairs], inputs)
    folded = 0
    for (pad, convolution), size in zip(pairs, sizes, strict=True):
        begin, end = np.split(size, 2)
        if begin[:2].any() or end[:2].any() or (size < 0).any():
            continue
        _set_pads(convolution, [*begin[2:].tolist(), *end[2:].tolist()])
        convolution.input[0] = pad.input[0]
        folded += 1
    _drop_unused(model.graph)
    onnx.save(model, str(path))
    return folded


def _foldable(graph: GraphProto) -> list[tuple[NodeProto, NodeProto]]:
    """Return the nodes (Pad, Conv) where the convolution alone reads the padded map, and does not pad itself."""
    uses = Counter(name for node in graph.node for name in node.input)
    outputs = {value.name for value in graph.output}
    pads = {node.output[0]: node for node in graph.node if node.op_type == "Pad" and _is_zero(graph, node)}
    return [
        (pads[node.input[0]], node)
        for node in graph.node
        if node.op_type == "Conv"
        and node.input[0] in pads
        and uses[node.input[0]] == 1
        and node.input[0] not in outputs
        and not any(_attribute(node, "pads", []))
        and _attribute(node, "auto_pad", b"NOTSET") == b"NOTSET"
    ]


def _is_zero(graph: GraphProto, pad: NodeProto) -> bool:
    """Return whether a Pad node fills with zeros."""
    if _attribute(pad, "mode", b"constant") != b"constant" or len(pad.input) > 3:
        return False
    if len(pad.input) < 3 or not pad.input[2]:
        return True
    constants = {item.name: item for item in graph.initializer}
    constants |= {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    return pad.input[2] in constants and not onnx.numpy_helper.to_array(constants[pad.input[2]]).any()


def _values(model: ModelProto, names: list[str], inputs: Mapping[str, Array]) -> list[npt.NDArray[np.int64]]:
    """Return what the named tensors of integers are when the graph is fed with `inputs`."""
    watched = ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT64, None)
                                for name in dict.fromkeys(names))  # fmt: skip
    session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[npt.NDArray[np.int64]] = session.run(names, dict(inputs))
    return found


def _set_pads(convolution: NodeProto, pads: list[int]) -> None:
    kept = [attribute for attribute in convolution.attribute if attribute.name != "pads"]
    del convolution.attribute[:]
    convolution.attribute.extend([*kept, onnx.helper.make_attribute("pads", pads)])


def _drop_unused(graph: GraphProto) -> None:
    """Remove nodes and constants that nothing reads any more."""
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed.update(node.input)
            kept.append(node)
    constants = [item for item in graph.initializer if item.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(constants)


def _attribute(node: NodeProto, name: str, default: Any) -> Any:
    found = [onnx.helper.get_attribute_value(attribute) for attribute in node.attribute if attribute.name == name]
    return found[0] if found else default
