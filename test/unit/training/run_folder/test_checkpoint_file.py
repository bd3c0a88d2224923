"""A checkpoint is complete or absent; any other file in its place is one sentence."""

import errno
import os
import pickle
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from unit.training.commands import assert_refused
from unit.training.recipes import tiny_config

from challenge.errors import UserError
from challenge.host.disk import DiskFullError
from training.__main__ import main
from training.config import write_json
from training.run_folder import checkpoint_file
from training.run_folder.checkpoint_state import RunState
from training.run_folder.run_facts import Counters, RunFacts
from training.run_folder.trainable import FILE, read_start

SAMPLES = Path(__file__).with_name("samples")


class RunsCode:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def good(path):
    state = RunState(tiny_config(), (), {"weight": torch.zeros(1000)}, None, Counters(1, 3), RunFacts())
    checkpoint_file.save(path, state)


def saved(path, change):
    """Write a changed copy of a good checkpoint."""
    good(path)
    table = torch.load(path, weights_only=True)
    change(table)
    torch.save(table, path)


DAMAGED = {
    "cut": ("is damaged", lambda path: (good(path), path.write_bytes(path.read_bytes()[:2000]))),
    "empty": ("is empty", lambda path: path.write_bytes(b"")),
    "pointer": ("Git LFS pointer", lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid 1\n")),
    "pickle": ("could run code", lambda path: path.write_bytes(pickle.dumps(RunsCode(path.with_name("ran"))))),
    "text": ("not a PyTorch checkpoint", lambda path: path.write_text("not yet")),
    "foreign": ("not a checkpoint of this project", lambda path: torch.save({"model": torch.zeros(2)}, path)),
    "list": ("not a checkpoint of this project", lambda path: torch.save([1, 2], path)),
    "first edition": ("first edition", lambda path: path.write_bytes((SAMPLES / "first-edition.pt").read_bytes())),
    "later": ("has format 3, but this version reads 2", lambda path: saved(path, lambda table: table.update(format=3))),
    "missing": ("is damaged", lambda path: saved(path, lambda table: table.pop("facts"))),
    "wrong": ("is damaged", lambda path: saved(path, lambda table: table.update(counters={"step": 1}))),
}


@pytest.mark.parametrize("kind", DAMAGED)
@pytest.mark.parametrize("name", [checkpoint_file.LAST, checkpoint_file.BEST])
def test_a_file_that_is_not_a_checkpoint_is_reported(kind, name, tmp_path):
    message, make = DAMAGED[kind]
    make(tmp_path / name)
    with pytest.raises(UserError, match=message) as error:
        checkpoint_file.load_best(tmp_path)
    assert name in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["empty", "pointer", "pickle", "text"])
def test_damaged_tensor_files_are_one_sentence(kind, tmp_path):
    DAMAGED[kind][1](tmp_path / FILE)
    with pytest.raises(UserError, match=FILE) as error:
        read_start(tmp_path)
    assert len(str(error.value).splitlines()) == 1


def test_the_command_ends_before_data_are_read(tmp_path):
    write_json(tiny_config(), tmp_path / "recipe.json")
    (tmp_path / "recipe.toml").write_text("", "utf-8")
    DAMAGED["empty"][1](tmp_path / checkpoint_file.LAST)
    arguments = ["train", "--config", tmp_path / "recipe.toml", "--data-root", tmp_path / "none", "--output", tmp_path]
    assert_refused(
        CliRunner().invoke(main, [*map(str, arguments), "--resume"], catch_exceptions=False), r"last\.pt is empty"
    )


def test_a_full_disk_keeps_the_old_checkpoint_and_leaves_no_part_of_the_new_one(tmp_path):
    """For the writer, a limit of the file size is like a full disk."""
    good(tmp_path / checkpoint_file.LAST)
    before = (tmp_path / checkpoint_file.LAST).read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limit[1]))
    try:
        with pytest.raises(DiskFullError, match=r"no room is left in .* for a checkpoint of [\d,]+ bytes; make room"):
            good(tmp_path / checkpoint_file.LAST)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint_file.LAST]
    assert (tmp_path / checkpoint_file.LAST).read_bytes() == before


def test_another_disk_error_is_not_a_full_disk(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(checkpoint_file, "write_atomically", broken)
    with pytest.raises(OSError, match="broken"):
        good(tmp_path / checkpoint_file.LAST)


def test_the_command_ends_with_1_and_a_sentence_on_a_full_disk(four_kinds, tmp_path):
    (tmp_path / "recipe.toml").write_text(textwrap.dedent("""
        checkpoint_every = 2
        [system]
        options = { encoder = "test_efficientnet", pyramid_channels = 32, segmentation_channels = 32 }
        [data]
        image_size = 64
        [optim]
        images = 32
        batch_size = 4
        [runtime]
        device = "cpu"
    """), "utf-8")  # fmt: skip
    program = f"""
        import resource, sys
        from training.run_folder import checkpoint_file
        from training.__main__ import run
        save = checkpoint_file.save

        def on_a_full_disk(path, state):
            if state.counters.steps >= 4:
                resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, -1))
            save(path, state)

        checkpoint_file.save = on_a_full_disk
        sys.argv[1:] = ["train", "--config", {str(tmp_path / "recipe.toml")!r}, "--data-root", {str(four_kinds)!r},
                        "--output", {str(tmp_path / "run")!r}]
        raise SystemExit(run())
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": os.getcwd()})  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "no room is left" in done.stderr.splitlines()[-1]
    assert checkpoint_file.load(tmp_path / "run" / checkpoint_file.LAST).counters.steps == 2
    assert not list((tmp_path / "run").glob("*partial*")) + list((tmp_path / "run").glob(".*"))
