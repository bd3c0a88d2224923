"""Three ways to share networks: one budget, the same share of it per task, one table; finished networks are kept."""

import json

import pytest
from click.testing import CliRunner
from phantoms import write_folder
from unit.training.recipes import TINY

from challenge.errors import UserError
from training.__main__ import main
from training.config import SamplingConfig, from_dict
from training.run_folder.run_report import TABLE
from training.studies.aggregation import clinical, parse_groups, plan, run_config
from training.studies.aggregation_report import TaskComparison, gain, table

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
    text = table([points, masks, nothing], 1000)
    assert "| p | g | 5 | MRE | 20.00 | 30.00 | 10.00 | -50.0 | +50.0 |" in text
    assert "| z | h | 9 | Dice | 0.0000 | 30.0000 | 10.0000 | n/a | n/a |" in text
    assert "| g | 2 | +0.0 | +0.0 |" in text


def recipe_text():
    sections = {**TINY, "optim": {**TINY["optim"], "images": 24}}
    lines = []
    for name, values in sections.items():
        lines.append(f"[{name}]")
        for key, value in values.items():
            inline = ", ".join(f"{k} = {json.dumps(v)}" for k, v in value.items()) if isinstance(value, dict) else ""
            lines.append(f"{key} = " + ("{ " + inline + " }" if inline else json.dumps(value)))
    return "\n".join(lines)


def test_the_command_trains_all_networks_and_goes_on_where_it_stopped(tmp_path):
    tasks = ("breast_lesion", "breast_2cls", "fetal_head_biometry")
    write_folder(tmp_path / "train", seed=3, per_task=4, only=tasks)
    write_folder(tmp_path / "val", seed=4, per_task=3, only=tasks)
    (tmp_path / "tiny.toml").write_text(recipe_text())
    arguments = ["aggregate", "--config", tmp_path / "tiny.toml", "--data-root", tmp_path / "train", "--val-root",
                 tmp_path / "val", "--output", tmp_path / "out", "--group", "breast=breast_lesion,breast_2cls",
                 "--group", "head=fetal_head_biometry"]  # fmt: skip
    shown = CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False)
    runs = sorted(str(p.parent.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob(TABLE))
    assert runs == ["grouped/breast", "task-specific/breast_2cls", "task-specific/breast_lesion",
                    "task-specific/fetal_head_biometry", "unified/all"]  # fmt: skip
    comparisons = json.loads((tmp_path / "out" / "aggregation.json").read_text())
    assert {one["task_id"] for one in comparisons} == set(tasks)
    head = next(one for one in comparisons if one["group"] == "head")
    assert head["scores"]["grouped"] == head["scores"]["task-specific"]
    assert (tmp_path / "out" / "aggregation.png").stat().st_size > 1000
    assert (tmp_path / "out" / "aggregation.md").read_text() in shown.output

    kept = tmp_path / "out" / "grouped" / "breast" / "last.pt"
    before = kept.stat().st_mtime_ns
    (tmp_path / "out" / "unified" / "all" / TABLE).unlink()
    CliRunner().invoke(main, [*map(str, arguments), "--resume"], catch_exceptions=False)
    assert kept.stat().st_mtime_ns == before
    assert (tmp_path / "out" / "unified" / "all" / TABLE).is_file()
    assert json.loads((tmp_path / "out" / "aggregation.json").read_text()) == comparisons
