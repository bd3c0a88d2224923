import os
import pickle
from pathlib import Path

import pytest
import torch

from challenge.errors import UserError
from training.torch_files import read_state_dict

STATE = {"encoder.a": torch.arange(3.0), "heads.lung.0.bias": torch.zeros(2)}


class Code:
    """If it is unpickled carelessly, it creates a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"model_state_dict": STATE, "epoch": 3, "best": 0.5, "optimizer": {"state": {0: torch.zeros(1)}}},
        {"state_dict": STATE, "hyper_parameters": {"lr": 1e-3}},
        {f"module.{key}": value for key, value in STATE.items()},
        {"state_dict": {f"module._orig_mod.{key}": value for key, value in STATE.items()}},
    ],
    ids=["plain", "model_state_dict", "state_dict", "DataParallel", "wrapped DataParallel, compiled"],
)
def test_wrappers_and_prefixes_are_removed(tmp_path, content):
    torch.save(content, tmp_path / "best_model.pth")
    state = read_state_dict(tmp_path / "best_model.pth")
    assert list(state) == list(STATE)
    assert all(torch.equal(state[key], STATE[key]) for key in STATE)


def test_a_submodule_called_module_keeps_its_name(tmp_path):
    torch.save({"encoder.module.weight": torch.zeros(1)}, tmp_path / "w.pth")
    assert list(read_state_dict(tmp_path / "w.pth")) == ["encoder.module.weight"]


@pytest.mark.parametrize(
    "save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2))]
)
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, save):
    save({"a": torch.zeros(1), "b": Code(tmp_path / "made")}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="could run code"):
        read_state_dict(tmp_path / "w.pth")
    assert not (tmp_path / "made").exists()


def test_a_git_lfs_pointer_is_named_as_such(tmp_path):
    (tmp_path / "w.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 81000000\n")
    with pytest.raises(UserError, match="git lfs pull"):
        read_state_dict(tmp_path / "w.pth")


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        read_state_dict(tmp_path / "w.pth")


@pytest.mark.parametrize("content", [b"", b"no checkpoint\n" * 40, bytes(range(256)) * 30])
def test_a_file_with_other_content(tmp_path, content):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(UserError, match="not a PyTorch checkpoint|is empty"):
        read_state_dict(tmp_path / "w.pth")


def test_half_a_file(tmp_path):
    torch.save(STATE, tmp_path / "whole.pth")
    data = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "w.pth").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="damaged"):
        read_state_dict(tmp_path / "w.pth")


@pytest.mark.parametrize("content", [{}, [1, 2], torch.zeros(3), {"epoch": 1}, {"state_dict": {"a": 1}}])
def test_a_checkpoint_without_a_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match="holds no state dict"):
        read_state_dict(tmp_path / "w.pth")
