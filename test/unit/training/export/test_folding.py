"""Padding moves into convolutions only where the answers stay the same."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import nn

from challenge.tasks import CATALOGUE
from model.networks import build
from training.export.folding import fold_padding
from training.export.graphs import ExportFacts, export


class Padded(nn.Module):
    """SAME convolutions of two strides and sizes; `also` lets something else see the padded map too."""

    def __init__(self, value=0.0, mode="constant", also=False):
        super().__init__()
        self.first = Conv2dSame(3, 4, 3, stride=2)
        self.second = nn.Conv2d(4, 5, 5, stride=2)
        self.value, self.mode, self.also = value, mode, also

    def forward(self, x):
        x = self.first(x)
        padded = F.pad(x, (1, 2, 1, 2), mode=self.mode, value=self.value if self.mode == "constant" else None)
        y = self.second(padded)
        return y + padded.mean() if self.also else y


def exported(module, path, side=30):
    torch.manual_seed(0)
    x = torch.randn(2, 3, side, side)
    axes = {"x": {0: "batch"}, "y": {0: "batch"}}
    torch.onnx.export(module.eval(), (x,), str(path), input_names=["x"], output_names=["y"], dynamic_axes=axes,
                      opset_version=18, dynamo=False)  # fmt: skip
    return x.numpy()


def answer(path, x):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def count(path, kind):
    return sum(node.op_type == kind for node in onnx.load(str(path)).graph.node)


@pytest.mark.parametrize("side", [30, 31])
def test_the_answers_stay_and_the_padding_goes(side, tmp_path):
    path = tmp_path / "graph.onnx"
    x = exported(Padded(), path, side)
    before = answer(path, x)
    assert fold_padding(path, {"x": x}) == 2
    onnx.checker.check_model(str(path))
    assert count(path, "Pad") == count(path, "Shape") == 0
    np.testing.assert_allclose(answer(path, x), before, atol=1e-6)
    other = np.random.default_rng(0).standard_normal((5, 3, side, side)).astype(np.float32)
    assert answer(path, other).shape[0] == 5


@pytest.mark.parametrize("options", [{"value": 1.0}, {"mode": "reflect"}, {"also": True}])
def test_padding_that_means_something_else_stays(options, tmp_path):
    path = tmp_path / "graph.onnx"
    x = exported(Padded(**options), path)
    before = answer(path, x)
    assert fold_padding(path, {"x": x}) == 1
    assert count(path, "Pad") == 1
    np.testing.assert_allclose(answer(path, x), before, atol=1e-6)


def test_a_graph_without_padding_stays_byte_for_byte(tmp_path):
    path = tmp_path / "graph.onnx"
    x = exported(nn.Conv2d(3, 4, 3, padding=1), path)
    before = path.read_bytes()
    assert fold_padding(path, {"x": x}) == 0
    assert path.read_bytes() == before


def test_an_exported_encoder_pads_in_its_convolutions(tmp_path):
    network = build(
        "atlas", [CATALOGUE["organ_cls"]], encoder="tf_efficientnet_lite0", pyramid_channels=16, channels=16
    )
    export(network, ExportFacts("x", "atlas", (0.5,) * 3, (0.5,) * 3, image_size=64), tmp_path)
    assert count(tmp_path / "encoder.onnx", "Pad") == 0
