"""Three ways to share networks: one budget, the same share of it per task, one table; finished networks are kept."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest
from click.testing import CliRunner
from phantoms import write_folder
from unit.training.recipes import TINY

from challenge.errors import UserError
from training.__main__ import main
from training.config import SamplingConfig, from_dict
from training.run_folder.run_report import TABLE
from training.studies.aggregation import clinical, parse_groups, plan, run_config
from training.studies.aggregation_report import TaskComparison, gain, report

SIZES = {"breast_lesion": 300, "breast_2cls": 100, "thyroid_nodule": 80, "mine": 20}
GROUPS = {"breast": ("breast_lesion", "breast_2cls"), "thyroid": ("thyroid_nodule",), "other": ("mine",)}


def config(**sampling):
    return from_dict({"optim": {"images": 1000}, "sampling": sampling})


@pytest.mark.parametrize("method", ["uniform", "proportional", "temperature"])
def test_every_paradigm_draws_the_budget_and_every_task_its_share(method):
    runs = plan(SIZES, GROUPS, config(method=method))
    images = {(run.paradigm, run.name): run.images for run in runs}
    alone = {name: number for (paradigm, name), number in images.items() if paradigm == "task-specific"}
    assert sum(alone.values()) == pytest.approx(1000, abs=2)
    assert images["unified", "all"] == 1000
    assert images["grouped", "breast"] == pytest.approx(alone["breast_lesion"] + alone["breast_2cls"], abs=1)
    assert ("grouped", "thyroid") not in images  # the task's own network is the group's


def test_a_part_has_its_tasks_and_no_advantage():
    recipe = from_dict({
        "optim": {"images": 1000, "batch_size": 10, "warmup_steps": 100}, "dev": {"every": 5},
        "sampling": {"joint": True, "tasks_per_step": 2},
    })  # fmt: skip
    runs = plan(SIZES, GROUPS, recipe)
    run = next(run for run in runs if run.name == "mine")
    own = run_config(recipe, run)
    assert own.data.tasks == ("mine",)
    assert own.optim.images == run.images == 250
    assert own.optim.warmup_steps == 2  # a tenth of 25 steps
    assert own.sampling == SamplingConfig(tasks_per_step=1)
    assert own.dev.every == 0


def test_groups_from_the_table_and_from_the_command_line():
    assert clinical(SIZES) == {"breast": ["breast_lesion", "breast_2cls"], "thyroid": ["thyroid_nodule"],
                               "other": ["mine"]}  # fmt: skip
    assert parse_groups(["a=x,y", "b=z"]) == {"a": ("x", "y"), "b": ("z",)}
    with pytest.raises(UserError, match="is not NAME=TASK,TASK"):
        parse_groups(["breast_lesion"])
    with pytest.raises(UserError, match="x is in two groups; give each task one group"):
        parse_groups(["a=x,y", "b=x"])


def test_gains_are_positive_where_sharing_helps():
    scores = {"task-specific": 20.0, "grouped": 30.0, "unified": 10.0}
    points = TaskComparison("p", "regression", "g", 5, scores)
    masks = TaskComparison("m", "segmentation", "g", 9, scores)
    assert [gain(points, name) for name in ("grouped", "unified")] == [-0.5, 0.5]
    assert [gain(masks, name) for name in ("grouped", "unified")] == [0.5, -0.5]
    nothing = TaskComparison("z", "segmentation", "h", 9, {**scores, "task-specific": 0.0})
    assert gain(nothing, "grouped") is None
    text = report([points, masks, nothing], 1000)
    assert "| p | g | 5 | MRE | 20.00 | 30.00 | 10.00 | -50.0 | +50.0 |" in text
    assert "| z | h | 9 | Dice | 0.0000 | 30.0000 | 10.0000 | n/a | n/a |" in text
    assert "| g | 2 | 100 % | +0.0 | +0.0 |" in text


def test_settings_with_many_and_few_rows_stand_below_each_other():
    many = TaskComparison("m", "segmentation", "g", 90, {"task-specific": 0.5, "grouped": 0.6, "unified": 0.5})
    few = TaskComparison("m", "segmentation", "g", 9, {"task-specific": 0.2, "grouped": 0.1, "unified": 0.3}, 0.1)
    text = report([many, few], 1000)
    assert text.index("## 100 % of the rows") < text.index("| m | g | 90 | Dice |")
    assert text.index("## 10 % of the rows") < text.index("| m | g | 9 | Dice |")
    assert text.index("| all | 1 | 100 % | +20.0 | +0.0 |") < text.index("| all | 1 | 10 % | -50.0 | +50.0 |")


def test_every_setting_has_the_same_networks_budget_and_shares():
    runs = plan(SIZES, GROUPS, config(), (0.1, 1.0, 0.1))
    many, few = ([run for run in runs if run.fraction == fraction] for fraction in (1.0, 0.1))
    assert len(many) + len(few) == len(runs)
    assert [dataclasses.replace(run, fraction=1.0) for run in few] == many
    assert str(few[0].folder) == "rows-10/task-specific/breast_lesion"
    assert run_config(config(), few[0]).data.train_fraction == 0.1
    halved = dataclasses.replace(config(), data=dataclasses.replace(config().data, train_fraction=0.5))
    assert run_config(halved, few[0]).data.train_fraction == pytest.approx(0.05)


def recipe_text():
    sections = {**TINY, "optim": {**TINY["optim"], "images": 24}}
    lines = []
    for name, values in sections.items():
        lines.append(f"[{name}]")
        for key, value in values.items():
            inline = ", ".join(f"{k} = {json.dumps(v)}" for k, v in value.items()) if isinstance(value, dict) else ""
            lines.append(f"{key} = " + ("{ " + inline + " }" if inline else json.dumps(value)))
    return "\n".join(lines)


TASKS = ("breast_lesion", "breast_2cls", "fetal_head_biometry")


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    """The command with all but its output folder."""
    folder = tmp_path_factory.mktemp("aggregate")
    write_folder(folder / "train", seed=3, per_task=8, only=TASKS)
    write_folder(folder / "val", seed=4, per_task=3, only=TASKS)
    (folder / "tiny.toml").write_text(recipe_text())
    return ["aggregate", "--config", str(folder / "tiny.toml"), "--data-root", str(folder / "train"), "--val-root",
            str(folder / "val"), "--group", "breast=breast_lesion,breast_2cls", "--group", "head=fetal_head_biometry",
            "--cache", str(folder / "cache"), "--output"]  # fmt: skip


@pytest.fixture(scope="module")
def whole(arguments, tmp_path_factory):
    """The output of a command that nothing interrupted, for all rows and for half of them, and what it showed."""
    output = tmp_path_factory.mktemp("whole") / "out"
    command = [*arguments, str(output), "--fraction", "1.0", "--fraction", "0.5"]
    return output, CliRunner().invoke(main, command, catch_exceptions=False).output


def runs_in(output):
    return sorted(str(path.parent.relative_to(output)) for path in output.rglob(TABLE))


def test_the_command_trains_all_networks_in_every_setting(whole):
    output, shown = whole
    names = ["grouped/breast", "task-specific/breast_2cls", "task-specific/breast_lesion",
             "task-specific/fetal_head_biometry", "unified/all"]  # fmt: skip
    assert runs_in(output) == [f"{setting}/{name}" for setting in ("rows-100", "rows-50") for name in names]
    comparisons = json.loads((output / "aggregation.json").read_text())
    assert [one["fraction"] for one in comparisons] == [1.0] * 3 + [0.5] * 3
    rows = {(one["fraction"], one["task_id"]): one["training_rows"] for one in comparisons}
    assert rows[0.5, "breast_lesion"] < rows[1.0, "breast_lesion"]
    assert {one["task_id"] for one in comparisons} == set(TASKS)
    head = next(one for one in comparisons if one["group"] == "head")
    assert head["scores"]["grouped"] == head["scores"]["task-specific"]
    assert (output / "aggregation.png").stat().st_size > 1000
    assert (output / "aggregation.md").read_text() in shown


def killed(arguments, when):
    """Run the command in a process of its own, which kills itself as soon as `when` says so."""
    program = f"""
        import os, signal, sys
        from pathlib import Path
        import torch
        torch.set_num_threads(1)
        from training.run_folder import checkpoint_file
        from training.studies import aggregation
        save, train_run = checkpoint_file.save, aggregation.train_run

        def watched_save(path, state):
            save(path, state)
            if {when!r} == "in a run" and path.parent.name == "breast_lesion" and state.counters.steps == 1:
                os.kill(os.getpid(), signal.SIGKILL)

        def watched_run(config, source, output, ranks, **how):
            if {when!r} == "between runs" and output.name == "breast":
                os.kill(os.getpid(), signal.SIGKILL)
            return train_run(config, source, output, ranks, **how)

        checkpoint_file.save, aggregation.train_run = watched_save, watched_run
        from training.__main__ import main
        main()
    """
    command = [sys.executable, "-c", textwrap.dedent(program), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


@pytest.mark.slow
def test_killed_in_a_run_and_between_runs_it_goes_on_and_repeats_no_finished_network(arguments, whole, tmp_path):
    output = tmp_path / "out"
    command = [*arguments, str(output), "--resume", "--set", "checkpoint_every=1"]
    killed(command, "in a run")
    half = output / "rows-100" / "task-specific" / "breast_lesion"
    assert (half / "last.pt").is_file()
    assert not (half / TABLE).exists()
    killed(command, "between runs")
    finished = runs_in(output)
    assert finished == [f"rows-100/task-specific/{task_id}" for task_id in sorted(TASKS)]
    before = {name: (output / name / "last.pt").stat().st_mtime_ns for name in finished}
    CliRunner().invoke(main, command, catch_exceptions=False)
    assert {name: (output / name / "last.pt").stat().st_mtime_ns for name in finished} == before
    assert runs_in(output) == [name for name in runs_in(whole[0]) if name.startswith("rows-100")]
    found, expected = (json.loads((folder / "aggregation.json").read_text()) for folder in (output, whole[0]))
    assert found == [one for one in expected if one["fraction"] == 1.0]
