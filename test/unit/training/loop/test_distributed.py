"""Several processes with a share of every batch each learn the same as one process with the whole batch."""

import json
import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from unit.training.recipes import TINY, tiny_config, tiny_trainer

from training.config import to_dict
from training.data.rows import DataSource
from training.data.sampling import Draw
from training.distributed import Ranks
from training.loop.runs import train_run
from training.loop.step import Step
from training.run_folder import checkpoint_file

# Batch norm on CPU ranks sees their own rows, and dropout draws for itself: both would make a difference.
SECTIONS = {
    "system": {"options": {**TINY["system"]["options"], "dropout": 0.0}},
    "encoder": {"freeze_batchnorm": True},
    "data": {"tasks": ["breast_lesion", "breast_2cls", "fetal_head_biometry"]},
    "augment": {"hflip": 0.5, "geometry": 0.5},
    "sampling": {"tasks_per_step": 2, "joint": True},
    "balance": {"method": "uncertainty"},
    "loss": {"segmentation": "dice"},  # its sums run over the batch: it does not split into a mean of ranks
    # SGD, as Adam blows up the noise in gradients that are nearly zero.
    "optim": {"images": 60, "batch_size": 3, "clip_norm": 1.0, "name": "sgd", "encoder_lr": 0.01, "head_lr": 0.02},
}

TRAIN = """
import json, sys, torch
from pathlib import Path
torch.set_num_threads(1)
from training.config import from_dict
from training.data.rows import DataSource
from training.distributed import join_ranks
from training.loop.runs import train_run
recipe, data, cache, run = map(Path, sys.argv[1:])
train_run(from_dict(json.loads(recipe.read_text())), DataSource(data, cache), run, join_ranks())
"""

PARTLY_USED = """
import torch
from torch import distributed, nn
from training.distributed import join_ranks
ranks = join_ranks()
both, first, last, nobody = (nn.Parameter(torch.ones(size)) for size in (1, 2, 3, 4))
((1 + ranks.rank) * both.sum() + 10 * (last if ranks.rank else first).sum()).backward()
ranks.sum_gradients([both, first, last, nobody])
assert both.grad.tolist() == [3], both.grad
assert first.grad.tolist() == [10, 10], first.grad
assert last.grad.tolist() == [10, 10, 10], last.grad
assert nobody.grad is None
distributed.destroy_process_group()
"""


@pytest.fixture
def start(tmp_path):
    """Run a program on this many gloo ranks."""

    def run(program, count, *arguments):
        (tmp_path / "rank.py").write_text(program, "utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}",
             tmp_path / "rank.py", *arguments],
            check=False, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": os.getcwd(), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]

    return run


# Three rows on two ranks: one has two of them. Five on three: 2, 2, 1. Two on three: the last has none.
@pytest.mark.parametrize(
    ("count", "batch_size", "sampling"),
    [
        (2, 3, SECTIONS["sampling"]),
        pytest.param(2, 6, {"mixed": True}, marks=pytest.mark.slow),
        *(pytest.param(3, rows, SECTIONS["sampling"], marks=pytest.mark.slow) for rows in (5, 2)),
    ],
)
def test_uneven_ranks_learn_what_one_process_learns(four_kinds, tmp_path, start, count, batch_size, sampling):
    optim = {**SECTIONS["optim"], "batch_size": batch_size, "images": 20 * batch_size}
    config = tiny_config(**{**SECTIONS, "optim": optim, "sampling": sampling}, checkpoint_every=2)
    source = DataSource(four_kinds, tmp_path / "cache")
    train_run(config, source, tmp_path / "one", Ranks())
    (tmp_path / "recipe.json").write_text(json.dumps(to_dict(config)), "utf-8")
    start(TRAIN, count, tmp_path / "recipe.json", four_kinds, tmp_path / "cache", tmp_path / "many")
    one, many = (_losses(tmp_path / name) for name in ("one", "many"))
    assert len(one) == len(many) >= 5
    for whole, shared in zip(one, many, strict=True):
        assert shared == pytest.approx(whole, rel=1e-4, abs=1e-5)
    states = [checkpoint_file.load(tmp_path / name / checkpoint_file.LAST) for name in ("one", "many")]
    first, second = (state.network for state in states)
    assert [state.counters.images_seen for state in states] == [optim["images"]] * 2
    fresh = tiny_trainer(config, source, tmp_path).parts.network.state_dict()
    learned = [name for name, value in fresh.items() if not torch.equal(value, first[name])]
    assert {name.split(".")[0] for name in learned} == {
        "backbone",
        "pyramid",
        "heads",
    }  # or both would agree in nothing
    for key, value in first.items():
        torch.testing.assert_close(second[key], value, rtol=1e-3, atol=1e-5, msg=key)


def test_a_parameter_that_only_some_ranks_used_gets_their_gradient(start):
    start(PARTLY_USED, 2)


@pytest.mark.parametrize("rows", [1, 2, 5, 8])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_ranks_part_is_its_share_of_the_images(rows, count):
    draw = Draw("a", tuple(range(rows)), tuple((0, row) for row in range(rows)))
    parts = [Ranks(rank, count).part(rows) for rank in range(count)]
    assert sum(parts) == pytest.approx(1)
    for rank, part in enumerate(parts):
        assert part == (len(draw.share(rank, count).rows) / rows if rank < rows else 0)


class Overflowing(Ranks):
    """A rank beside another one whose gradients overflowed."""

    def sum_gradients(self, parameters):
        """Add the other rank's gradients."""
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.fill_(float("inf"))


def test_all_ranks_skip_a_step_that_overflows_on_one_of_them(four_kinds, tmp_path):
    config = tiny_config(runtime={"precision": "float16"}, optim={"ema_decay": 0.0})
    trainer = tiny_trainer(config, DataSource(four_kinds, tmp_path / "cache"), tmp_path / "run", ranks=Overflowing())
    before = [value.detach().clone() for value in trainer.parts.network.parameters()]
    draw = Draw("breast_lesion", (0, 1), ((0, 0), (0, 1)))
    trainer.position.sampler = {"step": 1}
    trainer.train_step([draw], [trainer.parts.data[draw]])
    for value, old in zip(trainer.parts.network.parameters(), before, strict=True):
        assert torch.equal(value, old)


class Alone(Ranks):
    """A rank that has a number among several, and all rows."""

    def gather_rows(self, own, rows):
        """Return the rows as they are."""
        return own

    def sum_gradients(self, parameters):
        """Leave the own gradients."""


def test_an_auxiliary_loss_is_the_mean_over_all_images(four_kinds, tmp_path):
    """Each rank adds its own images' loss, weighted by their number; a rank without images adds nothing."""
    config, source = tiny_config(optim={"clip_norm": 0.0}), DataSource(four_kinds, tmp_path / "cache")
    trainer, found = tiny_trainer(config, source, tmp_path / "run"), []
    draw, own = Draw("breast_2cls", (0, 1), ((0, 0), (0, 1))), nn.Parameter(torch.zeros(()))
    trainer.parts.network.auxiliary_loss = lambda: 1 * own
    for rank in range(3):
        own.grad = None
        step = Step(config, trainer.parts, Alone(rank, 3))
        step([draw], [trainer.parts.data[draw]], 1, 0.5)
        found.append(float(own.grad))
    assert found == [0.5, 0.5, 0.0]


def _losses(run):
    lines = map(json.loads, (run / "log.jsonl").read_text("utf-8").splitlines())
    return [line["loss"] for line in lines if "loss" in line]
