"""Keep the first operations of an OpenVINO model in float32 while the rest runs in bfloat16."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np

_OPERATION = re.compile(r'<layer [^>]*type="(?!Parameter"|Const"|Result")[^>]*>')
_KEEP = '<rt_info><attribute name="precise" version="0"/></rt_info>'
_CONVOLUTIONS = ("Convolution", "GroupConvolution")


def keep_exact(openvino: ModuleType, whole: Any, convolutions: int) -> Any:
    """Return `whole` with all operations up to its first `convolutions` ones marked to keep float32.

    A model with no more convolutions than that, as of a transformer, is returned as it is.

    Only OpenVINO's own format can express the mark, so these operations, a few kilobytes, pass through a temporary file
    and are put back in their place.
    """
    if sum(node.get_type_name() in _CONVOLUTIONS for node in whole.get_ops()) <= convolutions:
        return whole
    crossing = _crossing(whole, convolutions)
    first = _marked(openvino, openvino.Model(list(crossing), whole.get_parameters()))
    for result, consumers in zip(first.get_results(), crossing.values(), strict=True):
        for consumer in consumers:
            consumer.replace_source_output(result.input_value(0))
    return openvino.Model(whole.get_results(), first.get_parameters())


def _crossing(whole: Any, convolutions: int) -> dict[Any, list[Any]]:
    """Outputs of the first operations -> the inputs behind the cut that take them."""
    before: dict[str, Any] = {}
    for node in whole.get_ordered_ops():
        convolutions -= node.get_type_name() in _CONVOLUTIONS
        if convolutions < 0:
            break
        before[node.get_friendly_name()] = node
    crossing = {}
    for node in before.values():
        for output in node.outputs() if node.get_type_name() != "Constant" else ():
            behind = [to for to in output.get_target_inputs() if to.get_node().get_friendly_name() not in before]
            if behind:
                crossing[output] = behind
    return crossing


def _marked(openvino: ModuleType, model: Any) -> Any:
    with TemporaryDirectory() as folder:
        text, numbers = Path(folder) / "model.xml", Path(folder) / "model.bin"
        openvino.serialize(model, text, numbers)
        marked = _OPERATION.sub(lambda layer: layer.group() + _KEEP, text.read_text("utf-8"))
        weights = np.fromfile(numbers, np.uint8)
    return openvino.Core().read_model(marked.encode(), openvino.Tensor(weights))
