"""Torch and ONNX agree, for every kind, at other batch sizes than the exporter saw."""

import numpy as np
import pytest
import torch
from tiny import export_tiny, tiny_network

from model.frozen.router import Router
from model.frozen.runtimes.onnx import OnnxRuntime


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return export_tiny(folder), folder


@pytest.mark.parametrize("task_id", ["cardiac_multi", "organ_cls", "thyroid_nodule_det", "fetal_head_biometry"])
@pytest.mark.parametrize("count", [1, 3])
def test_torch_and_onnx_agree(exported, task_id, count):
    facts, folder = exported
    images = np.random.default_rng(count).integers(0, 256, (count, 256, 256, 3), dtype=np.uint8)
    router = Router(facts, OnnxRuntime(folder, facts.graphs, "cpu"))
    ((_, _, frozen),) = router.run(images, [[task_id]] * count)
    normalised = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    with torch.inference_mode():
        expected = tiny_network()(normalised, task_id).numpy()
    assert frozen.shape == expected.shape
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose(frozen, expected, atol=1e-4)
