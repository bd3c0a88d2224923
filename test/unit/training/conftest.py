"""A small phantom folder to train on."""

from pathlib import Path

import pytest
import torch
from phantoms import write_folder
from unit.training.recipes import TASKS


@pytest.fixture(scope="session")
def four_kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom folder with the tasks of `TASKS`, eight pictures each. Tests must not write into it."""
    folder = tmp_path_factory.mktemp("four kinds")
    write_folder(folder, seed=3, per_task=8, only=TASKS)
    return folder


@pytest.fixture(autouse=True)
def one_thread():
    """Threads do not help tiny networks, and slow them down on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
