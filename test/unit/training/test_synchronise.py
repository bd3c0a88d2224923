"""Synchronisation changes the layers that generate the prompt embeddings, and nothing else."""

import pytest
import torch
from click.testing import CliRunner
from phantoms import write_folder
from unit.training.recipes import tiny_config

from challenge.errors import UserError
from training import checkpoint
from training.__main__ import main
from training.distributed import Ranks
from training.loop import load_network
from training.rows import DataSource
from training.runs import train_run

SWIN = {"channels": 8, "depths": [1, 1, 1, 1], "heads": [1, 2, 2, 4], "window": 2, "drop_path": 0.1}
TASKS = ("breast_lesion", "breast_2cls")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    home = tmp_path_factory.mktemp("trained")
    write_folder(home / "data", seed=3, per_task=6, only=TASKS)
    system = {"name": "perceptguide", "options": SWIN}
    train_run(tiny_config(system=system), DataSource(home / "data", home / "cache"), home / "run", Ranks())
    return home / "run"


def sync(*arguments):
    CliRunner().invoke(main, ["sync", *map(str, arguments)], catch_exceptions=False)


def test_only_the_prompt_layers_change(trained, tmp_path):
    write_folder(tmp_path / "new", seed=9, per_task=6, only=TASKS)
    arguments = ("--from", trained, "--data-root", tmp_path / "new", "--output", tmp_path / "run", "--images", 48)
    sync(*arguments)
    before, _, _ = load_network(trained)
    after, config, _ = load_network(tmp_path / "run")
    assert config.optim.trained == "prompts"
    expected = {id(parameter) for parameter in before.prompt_parameters()}
    names = {name for name, parameter in before.named_parameters() if id(parameter) in expected}
    new = after.state_dict()
    changed = {name for name, value in before.state_dict().items() if not torch.equal(value, new[name])}
    assert changed
    assert changed <= names
    last = checkpoint.load(tmp_path / "run" / checkpoint.LAST)["network"]
    assert {name for name, value in before.state_dict().items() if not torch.equal(value, last[name])} <= names
    # Both decoders learned, through every one of the four prompts.
    for branch in ("dense_branch", "global_branch"):
        for prompt in range(4):
            assert any(name.startswith(branch) and f".embed.{prompt}." in name for name in changed)


def test_a_task_without_a_head_is_an_error(trained, tmp_path):
    write_folder(tmp_path / "new", seed=9, per_task=3, only=("fetal_head_biometry",))
    with pytest.raises(UserError, match="no head for fetal_head_biometry"):
        sync("--from", trained, "--data-root", tmp_path / "new", "--output", tmp_path / "run")


def test_a_system_without_prompts_is_an_error(tmp_path):
    write_folder(tmp_path / "data", seed=3, per_task=4, only=TASKS[1:])
    with pytest.raises(UserError, match="'mh_mtl' has no prompts"):
        train_run(
            tiny_config(optim={"trained": "prompts"}), DataSource(tmp_path / "data", tmp_path / "cache"),
            tmp_path / "run", Ranks(),
        )  # fmt: skip
