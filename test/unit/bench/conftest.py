"""A tiny network with all files of an export, phantoms, and a small generated folder."""

from pathlib import Path

import pytest
from tiny import export_tiny, tiny_network

from bench.rows import Phantoms, answered_by, mix, write_rows
from training.config import from_dict
from training.run_folder.trainable import write_trainable

RECIPE = {
    "system": {
        "name": "mh_mtl",
        "options": {"encoder": "test_efficientnet", "pyramid_channels": 32, "segmentation_channels": 32},
    },
    "data": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
}


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Graphs, `weights.json` and `network.safetensors` of one tiny MH-MTL network."""
    folder = tmp_path_factory.mktemp("tiny")
    export_tiny(folder)
    write_trainable(tiny_network(), from_dict(RECIPE), folder)
    return folder


@pytest.fixture(scope="session")
def phantoms() -> Phantoms:
    """A few pictures of every task."""
    return Phantoms.draw()


@pytest.fixture(scope="session")
def small_folder(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path, phantoms: Phantoms) -> Path:
    """40 rows that the tiny network answers. Tests must not write into it."""
    folder = tmp_path_factory.mktemp("rows")
    tasks = answered_by(tiny_weights)
    write_rows(folder, mix(40, tasks, phantoms), tasks, phantoms)
    return folder
