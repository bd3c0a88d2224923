"""Two processes with half of every batch each learn the same as one process with the whole batch."""

import json
import os
import subprocess
import sys

import pytest
import torch
from unit.training.recipes import TINY, tiny_config, tiny_trainer

from training.config import to_dict
from training.data.rows import DataSource
from training.distributed import Ranks
from training.loop.runs import train_run
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
    # Three rows on two ranks: one row is padding. SGD, as Adam blows up the noise in gradients that are nearly zero.
    "optim": {"images": 60, "batch_size": 3, "clip_norm": 1.0, "name": "sgd", "encoder_lr": 0.01, "head_lr": 0.02},
}


MIXED = {"sampling": {"mixed": True}, "optim": {**SECTIONS["optim"], "batch_size": 6}}


@pytest.mark.parametrize("sections", [SECTIONS, {**SECTIONS, **MIXED}], ids=["task by task", "mixed"])
def test_two_gloo_ranks_learn_what_one_process_learns(sections, four_kinds, tmp_path):
    config = tiny_config(**sections, checkpoint_every=2)
    source = DataSource(four_kinds, tmp_path / "cache")
    train_run(config, source, tmp_path / "one", Ranks())
    (tmp_path / "recipe.json").write_text(json.dumps(to_dict(config)), "utf-8")
    program = (
        "import json, sys, torch; from pathlib import Path\n"
        "torch.set_num_threads(1)\n"
        "from training.config import from_dict; from training.distributed import join_ranks\n"
        "from training.data.rows import DataSource; from training.loop.runs import train_run\n"
        "recipe, data, cache, run = map(Path, sys.argv[1:])\n"
        "train_run(from_dict(json.loads(recipe.read_text())), DataSource(data, cache), run, join_ranks())\n"
    )
    (tmp_path / "rank.py").write_text(program, "utf-8")
    arguments = ("recipe.json", four_kinds, "cache", "two")
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", tmp_path / "rank.py",
         *(tmp_path / argument for argument in arguments)],
        check=False, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd(), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (_losses(tmp_path / name) for name in ("one", "two"))
    assert len(one) == len(two) == 5
    for whole, halves in zip(one, two, strict=True):
        assert halves == pytest.approx(whole, rel=1e-4, abs=1e-5)
    states = [checkpoint_file.load(tmp_path / name / checkpoint_file.LAST) for name in ("one", "two")]
    first, second = (state.network for state in states)
    assert [state.counters.images_seen for state in states] == [60, 60]
    fresh = tiny_trainer(config, source, tmp_path).parts.network.state_dict()
    learned = [name for name, value in fresh.items() if not torch.equal(value, first[name])]
    assert {name.split(".")[0] for name in learned} == {
        "backbone",
        "pyramid",
        "heads",
    }  # or both would agree in nothing
    for key, value in first.items():
        torch.testing.assert_close(second[key], value, rtol=1e-3, atol=1e-5, msg=key)


def _losses(run):
    lines = map(json.loads, (run / "log.jsonl").read_text("utf-8").splitlines())
    return [line["loss"] for line in lines if "loss" in line]
