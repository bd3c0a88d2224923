"""A tiny network with all that an export of a run holds."""

from pathlib import Path

import pytest
from tiny import TASKS, export_tiny, tiny_network

from training.config import from_dict
from training.trainable import write_trainable


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Graphs, `weights.json` and `network.safetensors` of one tiny MH-MTL network."""
    folder = tmp_path_factory.mktemp("tiny")
    export_tiny(folder)
    options = {"encoder": "test_efficientnet", "pyramid_channels": 32, "segmentation_channels": 32}
    config = from_dict({"system": {"name": "mh_mtl", "options": options}, "data": {"mean": [0.5] * 3, "std": [0.5] * 3}})
    write_trainable(tiny_network(), config, {"rows": {spec.task_id: 1 for spec in TASKS}}, folder)
    return folder
