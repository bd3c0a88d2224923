"""Corruptions change what they should, always in the same way, and the table has them all."""

import numpy as np
import pytest
from click.testing import CliRunner
from unit.training.recipes import TASKS, tiny_config

from training.__main__ import main
from training.data.rows import DataSource
from training.distributed import Ranks
from training.loop.runs import train_run
from training.studies.robustness import CORRUPTIONS


def picture(seed=0):
    rows, columns = np.mgrid[:64, :64] / 64
    grey = 90 + 60 * np.sin(9 * rows) * np.cos(7 * columns) + np.random.default_rng(seed).normal(0, 8, (64, 64))
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_changes_the_picture_but_not_its_shape(name):
    before = picture()
    first, again = (CORRUPTIONS[name](before, np.random.default_rng(1)) for _ in range(2))
    assert first.shape == before.shape
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert 1 < np.abs(first.astype(int) - before).mean() < 100


def test_crop_keeps_the_middle_where_it_was():
    before = picture()
    cropped = CORRUPTIONS["crop"](before, np.random.default_rng(0))
    assert not cropped[:5].any()
    assert np.array_equal(cropped[8:-8, 8:-8], before[8:-8, 8:-8])


def test_the_table_has_every_task_and_corruption(four_kinds, tmp_path):
    run = tmp_path / "run"
    train_run(tiny_config(), DataSource(four_kinds, tmp_path / "cache"), run, Ranks())
    arguments = ["robustness", run, "--data-root", four_kinds, "--cache", tmp_path / "cache"]
    lines = CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False).stdout.splitlines()
    assert lines[0] == "| task | score | clean | speckle | gain | blur | JPEG | contrast | crop |"
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:]] == list(TASKS)
    for line in lines[2:]:
        clean, *corrupted = line.strip("| ").split(" | ")[2:]
        assert len(corrupted) == len(CORRUPTIONS)
        assert clean != "n/a"
