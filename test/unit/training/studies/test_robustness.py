"""Changes do what they should, always in the same way, and the table has them all."""

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from unit.training.commands import assert_refused
from unit.training.recipes import TASKS, tiny_config

from model.frozen.outputs.postprocess import Postprocessing
from training.__main__ import main
from training.data.rows import DataSource
from training.distributed import Ranks
from training.loop.runs import train_run
from training.selection.dev_scores import DevScorer, DevScores
from training.studies.robustness import CHANGES


def picture(seed=0):
    rows, columns = np.mgrid[:64, :64] / 64
    grey = 90 + 60 * np.sin(9 * rows) * np.cos(7 * columns) + np.random.default_rng(seed).normal(0, 8, (64, 64))
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


ALL = [(kind, name) for kind, changes in CHANGES.items() for name in changes]


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_a_change_alters_the_picture_but_not_its_shape(kind, name):
    before = picture()
    first, again = (CHANGES[kind][name](before, np.random.default_rng(1)) for _ in range(2))
    assert first.shape == before.shape
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert 1 < np.abs(first.astype(int) - before).mean() < 100


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_a_change_leaves_positions_where_they_are(kind, name):
    before = np.zeros((64, 64, 3), np.uint8)
    before[24:40, 16:32] = 200
    after = CHANGES[kind][name](before, np.random.default_rng(3)).astype(float).mean(axis=2)
    weights = after - np.median(after)
    rows, columns = np.mgrid[:64, :64] + 0.5
    assert (rows * weights).sum() / weights.sum() == pytest.approx(32, abs=1)
    assert (columns * weights).sum() / weights.sum() == pytest.approx(24, abs=1)


def test_crop_keeps_the_middle_where_it_was():
    before = picture()
    cropped = CHANGES["corruptions"]["crop"](before, np.random.default_rng(0))
    assert not cropped[:5].any()
    assert np.array_equal(cropped[8:-8, 8:-8], before[8:-8, 8:-8])


def test_scan_lines_change_nothing_along_the_beam_near_the_probe():
    before = np.repeat(np.linspace(40, 200, 64, dtype=np.uint8)[:, None, None], 64, 1).repeat(3, 2)
    after = CHANGES["machines"]["scan converter"](before, np.random.default_rng(0))
    assert np.array_equal(after, before)


@pytest.mark.parametrize("kind", CHANGES)
def test_the_table_has_every_task_and_change(kind, four_kinds, tmp_path):
    run = tmp_path / "run"
    train_run(tiny_config(), DataSource(four_kinds, tmp_path / "cache"), run, Ranks())
    arguments = ["robustness", run, "--data-root", four_kinds, "--cache", tmp_path / "cache", "--changes", kind]
    lines = CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False).stdout.splitlines()
    assert lines[0] == f"| task | score | clean | {' | '.join(CHANGES[kind])} | mean of these |"
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:]] == [*TASKS, "selection"]
    for line in lines[2:]:
        clean, *changed = line.strip("| ").split(" | ")[-len(CHANGES[kind]) - 2 :]
        assert float(changed[-1]) == pytest.approx(np.mean([float(value) for value in changed[:-1]]), abs=0.01)
        assert clean != "n/a"


def test_networks_answer_together_on_the_tasks_that_all_of_them_learned(four_kinds, tmp_path):
    source, config = DataSource(four_kinds, tmp_path / "cache"), tiny_config(optim={"images": 8})
    train_run(config, source, tmp_path / "run", Ranks())
    data = replace(config.data, tasks=("breast_2cls", "detection"))
    train_run(replace(config, data=data, seed=7), source, tmp_path / "part", Ranks())
    tables = {}
    for name, runs in {"alone": ["run"], "twice": ["run", "run"], "part": ["run", "part"]}.items():
        arguments = ["robustness", *(tmp_path / run for run in runs), "--data-root", four_kinds]
        done = CliRunner().invoke(main, [*map(str, arguments), "--changes", "machines"], catch_exceptions=False)
        tables[name] = done.stdout
    assert tables["twice"] == tables["alone"]
    names = [line.split(" | ")[0].strip("| ") for line in tables["part"].splitlines()[2:]]
    assert names == ["breast_2cls", "breast_lesion_det", "selection"]
    assert tables["part"].splitlines()[3] not in tables["alone"]
    small = replace(config, data=replace(config.data, image_size=32))
    train_run(small, source, tmp_path / "small", Ranks())
    arguments = ["robustness", tmp_path / "run", tmp_path / "small", "--data-root", four_kinds]
    assert_refused(CliRunner().invoke(main, list(map(str, arguments))), r"another data.image_size than .*run")


def test_refined_scores_are_those_with_the_recorded_post_processing(four_kinds, tmp_path, monkeypatch):
    run, asked = tmp_path / "run", set()
    train_run(tiny_config(optim={"images": 8}), DataSource(four_kinds, tmp_path / "cache"), run, Ranks())
    (run / "refinements.json").write_text('{"breast_2cls": {"views": ["flip"]}}')

    def score(scorer, network):
        asked.add(scorer.refinements.get("breast_2cls"))
        return scored

    scored = DevScores({"breast_2cls": {"AUC": 0.5}}, 0.5)
    monkeypatch.setattr(DevScorer, "score", score)
    arguments = ["robustness", run, "--data-root", four_kinds, "--cache", tmp_path / "cache", "--changes", "machines"]
    for more, expected in (((), {None}), (("--refined",), {Postprocessing(views=("flip",))})):
        asked.clear()
        CliRunner().invoke(main, [*map(str, arguments), *more], catch_exceptions=False)
        assert asked == expected
