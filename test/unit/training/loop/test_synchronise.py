"""Synchronisation changes the layers that generate the prompt embeddings, and nothing else."""

import re

import pytest
import torch
from click.testing import CliRunner
from phantoms import write_folder
from unit.training.commands import assert_refused
from unit.training.recipes import tiny_config

from challenge.errors import UserError
from training.__main__ import main
from training.data.rows import DataSource
from training.distributed import Ranks
from training.loop.runs import train_run
from training.run_folder import checkpoint_file
from training.run_folder.trainable import load_network

SWIN = {"channels": 8, "depths": [1, 1, 1, 1], "heads": [1, 2, 2, 4], "window": 2, "drop_path": 0.1}
TASKS = ("breast_lesion", "breast_2cls", "thyroid_nodule_det")
EMBED = re.compile(r"(dense_branch|global_branch)\..+\.embed\.\d\.")
"""Names of the layers that turn prompts into embeddings, one for each of the four prompts of a block."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    home = tmp_path_factory.mktemp("trained")
    write_folder(home / "data", seed=3, per_task=6, only=TASKS)
    system = {"name": "perceptguide", "options": SWIN}
    train_run(tiny_config(system=system), DataSource(home / "data", home / "cache"), home / "run", Ranks())
    return home / "run"


def sync(*arguments):
    return CliRunner().invoke(main, ["sync", *map(str, arguments)], catch_exceptions=False)


def test_only_the_prompt_layers_change(trained, tmp_path):
    write_folder(tmp_path / "new", seed=9, per_task=6, only=TASKS)
    arguments = ("--from", trained, "--data-root", tmp_path / "new", "--output", tmp_path / "run", "--images", 48)
    sync(*arguments)
    before, _ = load_network(trained)
    after, state = load_network(tmp_path / "run")
    assert state.config.optim.trained == "prompts"
    # Masks, classes and boxes: the head of the last has batch norm, whose statistics must stay as well.
    assert any("running_mean" in name for name in before.state_dict())
    last = checkpoint_file.load(tmp_path / "run" / checkpoint_file.LAST)
    assert last.resume.sampler["drawn"].keys() == set(TASKS)
    assert min(last.resume.sampler["drawn"].values()) > 0
    for state in (after.state_dict(), last.network, last.ema):
        changed = {name for name, value in before.state_dict().items() if not torch.equal(value, state[name])}
        assert changed
        assert [name for name in sorted(changed) if not EMBED.match(name)] == []
    # Both decoders learned, through every one of the four prompts.
    for branch in ("dense_branch", "global_branch"):
        for prompt in range(4):
            assert any(name.startswith(branch) and f".embed.{prompt}." in name for name in changed)


def test_a_task_without_a_head_is_an_error(trained, tmp_path):
    write_folder(tmp_path / "new", seed=9, per_task=3, only=("fetal_head_biometry",))
    assert_refused(
        sync("--from", trained, "--data-root", tmp_path / "new", "--output", tmp_path / "run"),
        "no head for fetal_head_biometry",
    )


def test_a_system_without_prompts_is_an_error(tmp_path):
    write_folder(tmp_path / "data", seed=3, per_task=4, only=TASKS[1:2])
    with pytest.raises(UserError, match="this system has no prompts"):
        train_run(
            tiny_config(optim={"trained": "prompts"}), DataSource(tmp_path / "data", tmp_path / "cache"),
            tmp_path / "run", Ranks(),
        )  # fmt: skip
