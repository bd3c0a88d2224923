import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from contract.faults import DataFolder, command
from tiny import export_tiny, export_tiny_ensemble

from challenge.tasks import TaskKind
from model.frozen.metadata import read_metadata, write_metadata
from model.frozen.outputs.postprocess import Postprocess, Postprocessing, SecondLook


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny_weights")
    export_tiny(folder)
    return folder


@pytest.fixture(scope="session")
def ensemble(tmp_path_factory):
    """Two tiny networks that answer together, with views and second looks for some tasks, also by default."""
    folder = tmp_path_factory.mktemp("ensemble")
    metadata = export_tiny_ensemble(folder)
    gains = {
        "lung": Postprocessing(views=("flip", "scale 1.2", "rotate 10"), second_look=SecondLook()),
        "IUGC": Postprocessing(views=("scale 0.85",)),
    }
    tasks = {task_id: replace(metadata.tasks[task_id], postprocessing=gain) for task_id, gain in gains.items()}
    tasks = {**metadata.tasks, **tasks}
    write_metadata(replace(metadata, tasks=tasks, default_postprocess=Postprocess.VIEWS), folder)
    return folder


@pytest.fixture(scope="session")
def looking(repository, tmp_path_factory):
    """The shipped weights, with a second look for every mask and box, also by default."""
    folder = tmp_path_factory.mktemp("looking") / "weights"
    shutil.copytree(repository / "weights", folder)
    metadata = read_metadata(folder)
    twice = {
        task_id: replace(task, postprocessing=replace(task.postprocessing, second_look=SecondLook()))
        for task_id, task in metadata.tasks.items()
        if task.spec.kind in (TaskKind.SEGMENTATION, TaskKind.DETECTION)
    }
    write_metadata(replace(metadata, tasks={**metadata.tasks, **twice}, default_postprocess=Postprocess.LOOK), folder)
    return folder


@pytest.fixture
def data(tmp_path):
    return DataFolder(tmp_path / "data")


@pytest.fixture
def call(monkeypatch, capsys, tiny_weights, tmp_path):
    return command(monkeypatch, capsys, tiny_weights, tmp_path)


@pytest.fixture
def process(repository, data, tiny_weights, tmp_path):
    """Run `inference.py` in a shell, which closes or moves its streams as `redirection` says."""

    def run(redirection, *options, output="out"):
        command = [sys.executable, repository / "inference.py", "--input", data.root, "--output", tmp_path / output,
                   "--weights", tiny_weights, "--batch-size", 1, "--device", "cpu", *options]  # fmt: skip
        shell = ["sh", "-c", f'exec "$@" {redirection}', "sh", *map(str, command)]
        return subprocess.run(shell, capture_output=True, text=True, check=False, cwd=tmp_path)

    return run


@pytest.fixture(scope="session")
def untouched(tiny_weights, tmp_path_factory):
    """The good rows' answers where nothing is wrong."""
    folder = tmp_path_factory.mktemp("untouched")
    with pytest.MonkeyPatch.context() as patch:
        ended = command(patch, _NoCapture(), tiny_weights, folder)(DataFolder(folder / "data").root)
    assert ended.code == 0
    assert not ended.fallbacks
    assert len(ended.answers) == 4
    return ended.answers


class _NoCapture:
    def readouterr(self):
        return self

    err = ""
