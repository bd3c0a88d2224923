"""A whole run, its crashes and its resumption, in seconds."""

import itertools
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from phantoms import write_folder
from PIL import Image
from unit.training.recipes import TASKS, tiny_config, tiny_trainer

from challenge.errors import UserError
from challenge.host.signals import Stopped
from evaluate.scores.aggregate import by_task, sample_task
from evaluate.scores.metric_table import Column
from evaluate.scores.scoring import measure
from model.frozen.run.report import RunReport
from model.frozen.run.submission import Options, run_submission
from training.config import to_dict
from training.data.rows import DataSource
from training.distributed import Ranks
from training.export.run import export_run
from training.loop.runs import FOLDS, cross_validate, train_run
from training.loop.schedule import Schedule
from training.loop.trainer import Trainer
from training.run_folder import checkpoint_file
from training.run_folder.run_log import read_log
from training.run_folder.run_report import ALL_ROWS
from training.run_folder.trainable import load_network

NOT_REPRODUCIBLE = ("images_per_second", "cpu_seconds")


def log_of(run):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key not in NOT_REPRODUCIBLE} for line in lines]


def tensors_of(run):
    state = checkpoint_file.load(run / checkpoint_file.LAST)
    return {**{f"n.{k}": v for k, v in state.network.items()}, **{f"e.{k}": v for k, v in state.ema.items()}}


@pytest.fixture(scope="module")
def source(four_kinds, tmp_path_factory):
    return DataSource(four_kinds, tmp_path_factory.mktemp("cache"))


class Killed(Exception):
    """Stands for the end of the process: nothing runs after it but what is on disk."""


def killed_at(step, config, source, output, monkeypatch):
    """Run until `step` steps are done, then stop dead."""
    whole = Trainer.train_step

    def dying(self, draws, batches):
        losses = whole(self, draws, batches)
        if self.step == step:
            raise Killed
        return losses

    output.mkdir(exist_ok=True)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", dying)
        with pytest.raises(Killed):
            train_run(config, source, output, Ranks())


RESUMABLE = tiny_config(
    checkpoint_every=3,
    augment={"hflip": 0.5, "geometry": 0.5, "speckle": 0.5},
    sampling={"tasks_per_step": 2, "method": "temperature", "joint": True},
    balance={"method": "uncertainty"},
    dev={"every": 4},
    optim={"images": 64, "clip_norm": 1.0},
)


@pytest.fixture(scope="module")
def uninterrupted(source, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "whole"
    torch.set_num_threads(1)
    train_run(RESUMABLE, source, run, Ranks())
    return run


def test_the_reference_run_learned(source, uninterrupted, tmp_path):
    """Otherwise two runs that both skip something would compare as equal."""
    state = checkpoint_file.load(uninterrupted / checkpoint_file.LAST)
    assert (state.counters.steps, state.resume.progress) == (8, 1)
    assert state.counters.images_seen == 8 * 2 * 4
    assert set(state.resume.sampler["drawn"]) == set(TASKS)
    assert sum(state.resume.sampler["drawn"].values()) == state.counters.images_seen
    log = log_of(uninterrupted)
    assert [line["step"] for line in log] == [3, 4, 4, 6, 8, 8]
    assert [line["images"] for line in log if "loss" in line] == [24, 32, 48, 64]
    assert {task_id for line in log for task_id in line.get("loss", {})} == set(TASKS)
    fresh = tiny_trainer(RESUMABLE, source, tmp_path).parts.network.state_dict()
    for name, value in state.network.items():
        counts = "num_batches_tracked" in name
        if not name.startswith("heads.") or any(f".{task_id}." in name for task_id in TASKS):
            assert counts or not torch.equal(value, fresh[name]), name
            assert counts or not torch.equal(value, state.ema[name]), name
    assert state.resume.balance["log_variance"].all()
    moments = state.resume.optimizer["state"].values()
    assert {int(moment["step"]) for moment in moments} <= set(range(1, 9))
    assert max(int(moment["step"]) for moment in moments) == 8


@pytest.mark.parametrize("step", [2, 3, 4, 8])
def test_a_killed_run_resumes_to_the_same_curve_and_weights(step, source, uninterrupted, tmp_path, monkeypatch):
    run = tmp_path / "run"
    killed_at(step, RESUMABLE, source, run, monkeypatch)
    train_run(RESUMABLE, source, run, Ranks(), resume=True)
    assert log_of(run) == log_of(uninterrupted)
    expected = tensors_of(uninterrupted)
    assert all(torch.equal(value, expected[key]) for key, value in tensors_of(run).items())


def test_kill_9_of_the_process_itself(source, uninterrupted, tmp_path):
    run = tmp_path / "run"
    program = f"""
        import os, signal
        from pathlib import Path
        from training.run_folder import checkpoint_file
        from training.config import from_dict
        from training.distributed import Ranks
        from training.loop.trainer import Trainer
        from training.data.rows import DataSource
        from training.loop.runs import train_run
        import json, torch
        torch.set_num_threads(1)
        config = from_dict(json.loads(Path({str(uninterrupted / "config.json")!r}).read_text()))
        save = checkpoint_file.save

        def dying(path, state):
            if state.counters.steps >= 6:
                path.with_name(".0.partial").write_bytes(b"half a check")  # in the middle of writing
                os.kill(os.getpid(), signal.SIGKILL)
            save(path, state)

        checkpoint_file.save = dying
        train_run(config, DataSource(Path({str(source.data_root)!r}), Path({str(source.cache)!r})), Path({str(run)!r}),
                  Ranks())
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False, capture_output=True,
                          env={**os.environ, "PYTHONPATH": os.getcwd()})  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert log_of(run)[-1]["step"] == 6  # a line that the resumed run has to write again
    train_run(RESUMABLE, source, run, Ranks(), resume=True)
    assert log_of(run) == log_of(uninterrupted)
    expected = tensors_of(uninterrupted)
    assert all(torch.equal(value, expected[key]) for key, value in tensors_of(run).items())


@pytest.mark.parametrize("step", [2, 3, 7])
def test_a_run_stopped_by_a_signal_resumes_to_the_same_curve_and_weights(step, source, uninterrupted, tmp_path,
                                                                           monkeypatch):  # fmt: skip
    """The signal comes in the middle of a step: that step is finished and saved, whatever was last logged."""
    run, whole = tmp_path / "run", Trainer.train_step

    def signalled(self, draws, batches):
        if self.step == step and not (run / "sent").exists():
            (run / "sent").touch()
            os.kill(os.getpid(), signal.SIGTERM)
        return whole(self, draws, batches)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", signalled)
        with pytest.raises(Stopped, match=rf"stopped by SIGTERM; .* after step {step} .* with --resume") as stopped:
            train_run(RESUMABLE, source, run, Ranks())
    assert stopped.value.number == signal.SIGTERM
    assert checkpoint_file.load(run / checkpoint_file.LAST).counters.steps == step
    train_run(RESUMABLE, source, run, Ranks(), resume=True)
    assert log_of(run) == log_of(uninterrupted)
    expected = tensors_of(uninterrupted)
    assert all(torch.equal(value, expected[key]) for key, value in tensors_of(run).items())


@pytest.mark.parametrize(("ranks", "workers"), [(1, 0), (1, 2), (2, 0)])
def test_the_command_ends_with_128_and_the_signal(ranks, workers, four_kinds, tmp_path):
    """All processes of the job get the signal, as from a scheduler; with several ranks only one of them does."""
    (tmp_path / "recipe.json").write_text(json.dumps(to_dict(RESUMABLE)), "utf-8")
    program = """
        import json, os, signal, sys
        from pathlib import Path
        import torch
        torch.set_num_threads(1)
        from training import __main__ as command, config
        from training.loop import trainer as loop
        recipe, data, cache, run, workers, code = sys.argv[1:]
        table = json.loads(Path(recipe).read_text())
        table["runtime"]["workers"] = int(workers)
        config.load_config = lambda *_: config.from_dict(table)
        whole = loop.Trainer.train_step

        def signalled(self, draws, batches):
            if self.step == 2 and self.ranks.rank == self.ranks.count - 1:
                alone = self.ranks.count > 1
                (os.kill if alone else os.killpg)(os.getpid() if alone else os.getpgid(0), signal.SIGTERM)
            return whole(self, draws, batches)

        loop.Trainer.train_step = signalled
        sys.argv[1:] = ["train", "--config", recipe, "--data-root", data, "--cache", cache, "--output", run]
        number = command.run()
        Path(code + os.environ.get("RANK", "0")).write_text(str(number))
        raise SystemExit(number)
    """
    (tmp_path / "rank.py").write_text(textwrap.dedent(program), "utf-8")
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    arguments = ("recipe.json", four_kinds, "cache", "run")
    done = subprocess.run(
        [sys.executable, *launcher, tmp_path / "rank.py", *(tmp_path / name for name in arguments), str(workers),
         tmp_path / "code"],
        check=False, capture_output=True, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.getcwd(), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert [(tmp_path / f"code{rank}").read_text() for rank in range(ranks)] == ["143"] * ranks, done.stderr[-3000:]
    assert "stopped by SIGTERM; the checkpoint after step 2" in done.stderr
    if ranks == 1:
        assert done.returncode == 143
        assert done.stderr.splitlines()[-1].endswith("repeat the command with --resume")
    assert checkpoint_file.load(tmp_path / "run" / checkpoint_file.LAST).counters.steps == 2


def test_worker_processes_change_nothing(source, uninterrupted, tmp_path):
    config = replace(RESUMABLE, runtime=replace(RESUMABLE.runtime, workers=2))
    train_run(config, source, tmp_path / "run", Ranks())
    assert log_of(tmp_path / "run") == log_of(uninterrupted)


def test_a_run_leaves_its_recipe_table_and_curves(uninterrupted):
    table = (uninterrupted / "scores.md").read_text("utf-8")
    for task_id in TASKS:
        assert f"| {task_id} | " in table
    assert "**mean**" in table
    with Image.open(uninterrupted / "curves.png") as picture:
        assert min(picture.size) > 300
    first = log_of(uninterrupted)[0]
    assert first["step"] == 3
    assert set(first["loss"]) <= set(TASKS)
    assert first["lr"]["heads"] > first["lr"]["encoder"] > 0
    network, state = load_network(uninterrupted)
    assert state.config == RESUMABLE
    assert not network.training
    assert set(state.facts.rows) == set(TASKS)
    assert {task_id: len(mean) for task_id, mean in state.facts.means.items()} == {
        "breast_lesion_det": 4, "fetal_head_biometry": 8,
    }  # fmt: skip


def test_dev_scores_equal_the_official_scores_of_the_exported_submission(source, tmp_path):
    val = tmp_path / "val"
    write_folder(val, seed=9, per_task=3, only=TASKS)
    config = tiny_config(optim={"images": 32})
    train_run(config, replace(source, val_root=val), tmp_path / "run", Ranks())
    assert export_run(tmp_path / "run", tmp_path / "weights", None, None).precisions == ("float32",)
    run_submission(val, tmp_path / "answers", Options(tmp_path / "weights", device="cpu"), RunReport())
    measured = measure(val, tmp_path / "answers")
    rows = by_task(measured.tasks, measured.cases)
    _, state = load_network(tmp_path / "run")
    for spec in measured.tasks:
        cases = [measured.cases[i] for i in rows[spec.task_id]]
        scores = sample_task(spec, cases, np.zeros((0, len(cases)), np.uint16))
        official = {name: sampled.value for (name, column), sampled in scores.items() if column is Column.OFFICIAL}
        # Float32 noise of two runtimes moves single pixels and thousandths of a pixel.
        assert state.facts.dev[spec.task_id] == pytest.approx(official, rel=2e-3, abs=2e-3), spec.task_id


def test_a_time_budget_ends_the_run_with_its_schedule(source, tmp_path, monkeypatch):
    ticks = itertools.count()  # a clock that is looked at once for every step, and goes on by six seconds each time
    monkeypatch.setattr("training.loop.trainer.Schedule", partial(Schedule, clock=lambda: 6.0 * next(ticks)))
    config = tiny_config(optim={"images": 10**6, "warmup_steps": 0})
    train_run(config, source, tmp_path / "run", Ranks(), max_minutes=1.0)
    state = checkpoint_file.load(tmp_path / "run" / checkpoint_file.LAST)
    assert state.resume.progress >= 1
    assert state.counters.steps == 10
    assert (tmp_path / "run" / "scores.md").is_file()


def test_training_stops_early_when_nothing_gets_better(source, tmp_path):
    config = tiny_config(optim={"images": 4000, "encoder_lr": 0.0, "head_lr": 0.0, "final_lr": 0.0, "ema_decay": 0.0},
                         dev={"every": 2, "patience": 2}, data={"tasks": ["breast_2cls"]},
                         encoder={"freeze_batchnorm": True})  # fmt: skip
    train_run(config, source, tmp_path / "run", Ranks())
    assert checkpoint_file.load(tmp_path / "run" / checkpoint_file.LAST).counters.steps == 6
    assert checkpoint_file.load(tmp_path / "run" / checkpoint_file.BEST).counters.steps == 2


def test_a_loss_that_is_not_finite_ends_the_run_with_advice(source, tmp_path):
    config = tiny_config(optim={"warmup_steps": 0}, checkpoint_every=5)
    # A recipe cannot ask for such rates; gradients can come to the same.
    config = replace(config, optim=replace(config.optim, encoder_lr=1e12, head_lr=1e12))
    with pytest.raises(UserError, match=r"not finite at step \d+; start again with lower learning rates"):
        train_run(config, source, tmp_path / "run", Ranks())


def test_a_frozen_start_trains_only_the_heads(source, tmp_path):
    config = tiny_config(optim={"freeze_shared": 1.0, "images": 32})
    tmp_path.joinpath("run").mkdir()
    trainer = tiny_trainer(config, source, tmp_path / "run")
    before = {key: value.clone() for key, value in trainer.parts.network.state_dict().items()}
    trainer.run()
    after = trainer.parts.network.state_dict()
    moved = {key.split(".")[0] for key, value in before.items() if not torch.equal(value, after[key])}
    assert moved == {"heads"}


def test_reduced_precision_learns_nearly_the_same(source, tmp_path):
    losses = {}
    for precision in ("float32", "bfloat16"):
        config = tiny_config(runtime={"precision": precision}, checkpoint_every=4, optim={"images": 16})
        train_run(config, source, tmp_path / precision, Ranks())
        losses[precision] = log_of(tmp_path / precision)[0]["loss"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.1)
    assert losses["bfloat16"] != losses["float32"]


def test_cross_validation_scores_every_row_once(source, tmp_path):
    config = tiny_config(optim={"images": 8}, data={"tasks": ["breast_2cls"]})
    cross_validate(config, source, tmp_path / "run", Ranks(), 2)
    summary = json.loads((tmp_path / "run" / FOLDS).read_text("utf-8"))
    assert summary["folds"] == 2
    assert 0 <= summary["tasks"]["breast_2cls"]["Accuracy"]["mean"] <= 1
    rows = [checkpoint_file.load(tmp_path / "run" / f"fold-{n}" / checkpoint_file.LAST).facts.rows for n in range(2)]
    assert sum(row["breast_2cls"] for row in rows) == 8  # each row trains in one of two folds
    before = (tmp_path / "run" / "fold-0" / checkpoint_file.LAST).stat().st_mtime_ns
    cross_validate(config, source, tmp_path / "run", Ranks(), 2, resume=True)
    assert (tmp_path / "run" / "fold-0" / checkpoint_file.LAST).stat().st_mtime_ns == before


def test_a_run_folder_is_not_overwritten_and_not_mixed(source, uninterrupted, tmp_path):
    with pytest.raises(UserError, match="holds a run already; add --resume"):
        train_run(RESUMABLE, source, uninterrupted, Ranks())
    with pytest.raises(UserError, match="another config"):
        train_run(replace(RESUMABLE, seed=1), source, uninterrupted, Ranks(), resume=True)


def test_a_wrong_task_in_the_rules_is_named(source, tmp_path):
    with pytest.raises(UserError, match="did you mean 'breast_2cls'"):
        tiny_trainer(tiny_config(tasks={"breast_2cl": {"hflip": False}}), source, tmp_path)


def test_the_loss_of_a_perfect_start_is_known(source, tmp_path):
    """The heads of points begin at the training mean: the first loss is the spread of the points."""
    config = tiny_config(data={"tasks": ["fetal_head_biometry"]}, optim={"images": 4}, checkpoint_every=1)
    tmp_path.joinpath("run").mkdir()
    trainer = tiny_trainer(config, source, tmp_path / "run")
    mean = torch.tensor(trainer.parts.facts.means["fetal_head_biometry"])
    with torch.no_grad():
        output = trainer.parts.network.eval()(torch.zeros(1, 3, 64, 64), "fetal_head_biometry")[0]
    assert (output - mean).abs().max() < 0.2
    assert math.isfinite(trainer.parts.facts.means["fetal_head_biometry"][0])


def test_some_dev_rows_choose_the_network_and_all_of_them_judge_it(tmp_path):
    write_folder(tmp_path / "data", seed=9, per_task=16, only=TASKS)
    data = {"dev_fraction": 0.6, "near_copies": 0.0}
    config = tiny_config(optim={"images": 48}, data=data, dev={"every": 4, "rows": 8})
    source = DataSource(tmp_path / "data", tmp_path / "cache")
    trainer = train_run(config, source, tmp_path / "run", Ranks())
    quick, whole = trainer.parts.quick_scorer, trainer.parts.scorer
    assert 0 < len(quick.part.samples) < len(whole.part.samples)
    assert {s.task_id for s in quick.part.samples} == set(TASKS)
    lines = [line for line in read_log(tmp_path / "run" / "log.jsonl") if "dev" in line]
    assert [line.get(ALL_ROWS, False) for line in lines] == [False] * (len(lines) - 1) + [True]
    chosen = max(lines[:-1], key=lambda line: line["selection"])
    network, best = load_network(tmp_path / "run")
    assert best.counters.steps == lines[-1]["step"] == chosen["step"]
    # As official scores were before: by the whole network on all rows.
    assert best.facts.dev == lines[-1]["dev"] == whole.score(network).tasks
    assert quick.score(network).selection == pytest.approx(chosen["selection"])
    assert f"(selection {lines[-1]['selection']:.4f})" in (tmp_path / "run" / "scores.md").read_text()
    last = checkpoint_file.load(tmp_path / "run" / checkpoint_file.LAST)
    for name, value in trainer.parts.network.state_dict().items():
        assert torch.equal(value, last.network[name])
