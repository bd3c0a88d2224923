"""`training average`: the mean of two second rounds is a run like others; unrelated runs are refused."""

import shutil
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from unit.training.commands import assert_refused
from unit.training.recipes import tiny_config

from challenge.errors import UserError
from training.__main__ import main
from training.data.rows import DataSource
from training.distributed import Ranks
from training.export.run import export_run
from training.loop.runs import train_run
from training.run_folder import checkpoint_file
from training.run_folder.averaging import average_runs
from training.run_folder.trainable import load_network, read_start


@pytest.fixture(scope="module")
def runs(four_kinds, tmp_path_factory):
    """A first round, and two second rounds from it."""
    folder = tmp_path_factory.mktemp("runs")
    config, source = tiny_config(optim={"images": 32}), DataSource(four_kinds, folder / "cache")
    train_run(config, source, folder / "first", Ranks())
    start, _ = read_start(folder / "first")
    for seed in (1, 2):
        train_run(replace(config, seed=seed), source, folder / f"second-{seed}", Ranks(), start=start)
    return folder


def test_the_mean_of_two_rounds_is_scored_and_exported_like_a_run(runs, four_kinds, tmp_path):
    arguments = ["average", runs / "second-1", runs / "second-2", "--output", tmp_path / "mean"]
    assert CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False).exit_code == 0
    (first, _), (second, _) = load_network(runs / "second-1"), load_network(runs / "second-2")
    mean, state = load_network(tmp_path / "mean")
    assert (state.facts.images_before, state.counters.images_seen) == (32, 64)
    each = [load_network(runs / name)[1] for name in ("second-1", "second-2")]
    assert state.counters.steps == sum(own.counters.steps for own in each)
    assert state.counters.cpu_seconds == pytest.approx(sum(own.counters.cpu_seconds for own in each))
    assert each[0].facts.dev
    assert state.facts.dev == {}  # the scores of one of them are not the mean's
    one, two, changed, counted = first.state_dict(), second.state_dict(), 0, 0
    for name, value in mean.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (one[name] + two[name]) / 2)
            changed += not torch.equal(one[name], two[name])
        else:  # a counter has no mean
            assert torch.equal(value, one[name])
            counted = max(counted, int(value))
    assert changed > 5
    assert counted > 0
    arguments = ["score", tmp_path / "mean", "--data-root", four_kinds, "--cache", runs / "cache"]
    assert "breast_lesion" in CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False).output
    export_run(tmp_path / "mean", tmp_path / "weights", None, None)
    assert read_start(tmp_path / "weights")[0].counters.images_seen == 64


def test_a_reinitialised_head_is_the_first_runs(runs, tmp_path):
    average_runs([runs / "second-2", runs / "second-1"], tmp_path / "mean", ["breast_lesion"])
    first, mean = load_network(runs / "second-2")[0].state_dict(), load_network(tmp_path / "mean")[0].state_dict()
    alike = {name.split(".")[1] for name in first if name.startswith("heads.") and torch.equal(first[name], mean[name])}
    assert "breast_lesion" in alike
    assert "breast_2cls" not in alike


def test_a_run_is_averaged_with_the_network_that_it_began_with(runs, tmp_path):
    average_runs([runs / "first", runs / "second-1"], tmp_path / "mean")
    (start, before), (second, after) = load_network(runs / "first"), load_network(runs / "second-1")
    mean, state = load_network(tmp_path / "mean")
    key = next(name for name, value in start.state_dict().items() if name.startswith("heads.") and value.dim() > 1)
    torch.testing.assert_close(mean.state_dict()[key], (start.state_dict()[key] + second.state_dict()[key]) / 2)
    assert state.facts.images_before == 0
    assert state.counters.images_seen == before.counters.images_seen + after.counters.images_seen == 64


def test_a_run_that_chose_tasks_is_averaged_with_its_start(runs, four_kinds, tmp_path, caplog):
    """A second phase on some of the tasks; the other heads stay, and the encoder is the mean."""
    config, source = tiny_config(optim={"images": 16}), DataSource(four_kinds, runs / "cache")
    config = replace(config, data=replace(config.data, tasks=("breast_2cls",)))
    start, _ = read_start(runs / "first")
    train_run(config, source, tmp_path / "classes", Ranks(), start=start)
    average_runs([runs / "first", tmp_path / "classes"], tmp_path / "mean")
    assert "chose different tasks" in caplog.text
    (first, _), (mean, state) = load_network(runs / "first"), load_network(tmp_path / "mean")
    heads = {name for name in first.state_dict() if name.startswith("heads.breast_lesion.")}
    assert heads
    for name, value in mean.state_dict().items():
        if name in heads:
            torch.testing.assert_close(value, first.state_dict()[name])
    assert set(state.facts.rows) == set(load_network(runs / "first")[1].facts.rows)
    split = replace(config, data=replace(config.data, split_seed=7))
    train_run(split, source, tmp_path / "split", Ranks(), start=start)
    with pytest.raises(UserError, match="have different dev rows"):
        average_runs([runs / "first", tmp_path / "split"], tmp_path / "other")


def test_unrelated_runs_cannot_be_averaged(runs, tmp_path):
    with pytest.raises(UserError, match="began with different networks"):
        average_runs([runs / "second-1", runs / "first"], tmp_path / "mean")
    shutil.copytree(runs / "second-2", tmp_path / "split")
    state = checkpoint_file.load(tmp_path / "split" / checkpoint_file.LAST)
    data = replace(state.config.data, split_seed=7)
    state = replace(state, config=replace(state.config, data=data))
    checkpoint_file.save(tmp_path / "split" / checkpoint_file.BEST, state)
    with pytest.raises(UserError, match="have different dev rows"):
        average_runs([runs / "second-1", tmp_path / "split"], tmp_path / "mean")
    with pytest.raises(UserError, match="at least two runs"):
        average_runs([runs / "second-1"], tmp_path / "mean")
    with pytest.raises(UserError, match="holds a run already"):
        average_runs([runs / "second-1", runs / "second-2"], runs / "first")


def test_the_old_name_of_an_option_is_explained(tmp_path):
    arguments = ["average", "a", "b", "--output", str(tmp_path / "mean"), "--anew", "lung"]
    assert_refused(
        CliRunner().invoke(main, arguments, catch_exceptions=False), "the option --anew is now called --reinitialise"
    )
