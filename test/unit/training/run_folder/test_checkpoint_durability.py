"""A checkpoint is complete on disk before it replaces the earlier one."""

import os
from pathlib import Path

import pytest
import torch
from unit.training.recipes import tiny_config

from challenge.errors import UserError
from training.run_folder import checkpoint_file
from training.run_folder.checkpoint_state import RunState
from training.run_folder.run_facts import Counters, RunFacts


def state(step, **network):
    """A run's state after `step` steps."""
    return RunState(tiny_config(), (), network, None, Counters(step), RunFacts())


@pytest.fixture
def events(monkeypatch):
    """("sync", inode, bytes) and ("rename", inode, whether the earlier file was still there)."""
    seen = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor):
        seen.append(("sync", os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size))
        fsync(descriptor)

    def renamed(source, target, **more):
        seen.append(("rename", os.stat(source).st_ino, Path(target).exists()))
        replace(source, target, **more)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    return seen


def test_a_checkpoint_is_synced_before_it_is_renamed(events, tmp_path):
    path = tmp_path / checkpoint_file.LAST
    checkpoint_file.save(path, state(1))
    events.clear()
    checkpoint_file.save(path, state(2, weights=torch.arange(1000)))
    own, size = path.stat().st_ino, path.stat().st_size
    assert [event for event in events if event[1] == own] == [("sync", own, size), ("rename", own, True)]
    assert checkpoint_file.load(path).counters.steps == 2
    assert os.listdir(tmp_path) == [checkpoint_file.LAST]


def test_the_best_checkpoint_is_preferred_to_the_last(tmp_path):
    with pytest.raises(UserError, match="there is no checkpoint"):
        checkpoint_file.load_best(tmp_path)
    checkpoint_file.save(tmp_path / checkpoint_file.LAST, state(2))
    assert checkpoint_file.load_best(tmp_path).counters.steps == 2
    checkpoint_file.save(tmp_path / checkpoint_file.BEST, state(1))
    assert checkpoint_file.load_best(tmp_path).counters.steps == 1


def test_a_run_of_folds_names_its_folds(tmp_path):
    for number in (0, 1):
        (tmp_path / f"fold-{number}").mkdir()
        checkpoint_file.save(tmp_path / f"fold-{number}" / checkpoint_file.LAST, state(1))
    with pytest.raises(UserError, match="it is a run of folds: give one of fold-0, fold-1$"):
        checkpoint_file.load_best(tmp_path)
