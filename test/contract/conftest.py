import subprocess
import sys

import pytest
from contract.faults import DataFolder, command
from tiny import export_tiny


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny_weights")
    export_tiny(folder)
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
