"""What a run's answers gain by is chosen on its dev rows, written down, exported and used."""

import json
from dataclasses import asdict

import pytest
from click.testing import CliRunner
from unit.training.recipes import TASKS, tiny_config

from challenge.errors import UserError
from challenge.tasks import CATALOGUE, TaskKind, TaskSpec
from model.frozen.metadata import read_metadata
from model.frozen.outputs.postprocess import Postprocess, Postprocessing, SecondLook
from training.__main__ import main
from training.augmentation.task_rules import TaskRules
from training.data.rows import DataSource
from training.distributed import Ranks
from training.loop.runs import train_run
from training.selection.refinement import FILE, FLIP, PLAIN, ROTATIONS, choose, read_refinements

MASK = CATALOGUE["breast_lesion"]
POINTS = TaskSpec("fetal_head_biometry", TaskKind.REGRESSION, 4)


def scored(values, looks=None):
    """A score that knows refinements by what they do. `looks` is added by a second look, by its largest area."""

    def score(refinement):
        look = refinement.second_look
        plain = values[refinement.largest_component, refinement.fill_holes, "flip" in refinement.views]
        return plain + (looks[look.largest_area] if look and looks else 0)

    return score


def test_the_best_is_kept_and_the_mirror_comes_on_top_of_it():
    values = {(False, False, False): 0.80, (True, False, False): 0.82, (False, True, False): 0.81,
              (True, True, False): 0.8201, (True, False, True): 0.83}  # fmt: skip
    choice = choose(MASK, TaskRules(), scored(values))
    assert choice.refinement == Postprocessing(largest_component=True, views=("flip",))
    assert choice.chosen == FLIP
    assert list(choice.tried.values()) == [0.80, 0.82, 0.81, 0.8201, 0.82, 0.82, 0.83, 0.83, 0.83]


@pytest.mark.parametrize(
    ("looks", "chosen", "largest_area"),
    [({0.1: 0.01, 1.0: 0.02}, "look", 1.0), ({0.1: 0.02, 1.0: 0.021}, "look if under 10 %", 0.1),
     ({0.1: 0.002, 1.0: 0.01}, "look", 1.0), ({0.1: 0.002, 1.0: 0.002}, "holes filled", None)],
)  # fmt: skip
def test_a_second_look_is_tried_with_the_best_cleaning_and_only_where_small_if_that_is_as_good(
    looks, chosen, largest_area
):
    values = {(False, False, False): 0.80, (True, False, False): 0.80, (False, True, False): 0.82,
              (True, True, False): 0.82}  # fmt: skip
    choice = choose(MASK, TaskRules(hflip=False), scored(values, looks))
    look = SecondLook(largest_area=largest_area) if largest_area else None
    assert (choice.chosen, choice.refinement) == (chosen, Postprocessing(fill_holes=True, second_look=look))


def test_the_flip_comes_on_top_of_the_second_look_and_points_get_none():
    values = {(False, False, False): 0.50, (False, False, True): 0.60}
    choice = choose(CATALOGUE["thyroid_nodule_det"], TaskRules(), scored(values, {0.1: 0.01, 1.0: 0.05}))
    assert choice.refinement == Postprocessing(views=("flip",), second_look=SecondLook())
    assert choice.tried == pytest.approx(
        {PLAIN: 0.5, "look if under 10 %": 0.51, "look": 0.55, FLIP: 0.65, "scales": 0.65}
    )
    assert list(choose(POINTS, TaskRules(), scored(values)).tried) == [PLAIN, FLIP, "scales", ROTATIONS]


@pytest.mark.parametrize(("gain", "kept"), [(0.0071, True), (0.004, False)])
def test_two_more_views_must_gain_twice_as_much_as_one(gain, kept):
    choice = choose(MASK, TaskRules(hflip=False), lambda one: 0.8 + gain * ("rotate 10" in one.views))
    assert choice.refinement.views == (("rotate -10", "rotate 10") if kept else ())
    assert choice.tried["scales"] == 0.8


@pytest.mark.parametrize(
    ("spec", "rules", "rotates"),
    [(MASK, TaskRules(), True), (MASK, TaskRules(max_rotation=5), False), (POINTS, TaskRules(), True),
     (POINTS, TaskRules(point_order="1-2:x"), False), (CATALOGUE["thyroid_nodule_det"], TaskRules(), False)],
)  # fmt: skip
def test_rotations_are_tried_where_the_answer_can_be_brought_back(spec, rules, rotates):
    assert (ROTATIONS in choose(spec, rules, lambda _: 1.0).tried) == rotates


def test_what_brings_too_little_is_left_out_and_forbidden_flips_are_not_tried():
    values = {(False, False, False): 0.80, (True, False, False): 0.8004, (False, True, False): 0.79,
              (True, True, False): 0.79}  # fmt: skip
    choice = choose(MASK, TaskRules(hflip=False), scored(values))
    assert (choice.chosen, choice.refinement) == (PLAIN, Postprocessing())
    assert FLIP not in choice.tried


def test_distances_are_better_when_lower_and_points_told_apart_by_x_change_places():
    values = {(False, False, False): 15.0, (False, False, True): 14.0}
    choice = choose(POINTS, TaskRules(point_order="1-2:x, 3-4:y"), scored(values))
    assert choice.refinement == Postprocessing(views=("flip",), point_order=(1, 0, 2, 3))


def test_a_run_is_refined_on_its_dev_rows_and_exported_so(four_kinds, tmp_path):
    run = tmp_path / "run"
    train_run(tiny_config(data={"dev_fraction": 0.4}), DataSource(four_kinds, tmp_path / "cache"), run, Ranks())
    arguments = ["refine", run, "--data-root", four_kinds, "--cache", tmp_path / "cache"]
    lines = CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False).stdout.splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:]] == sorted(TASKS)
    assert all(line.count("**") == 2 for line in lines[2:])
    look = SecondLook(largest_area=0.1)
    wanted = {"breast_lesion": Postprocessing(largest_component=True, views=("flip",), second_look=look)}
    (run / FILE).write_text(json.dumps({"breast_lesion": asdict(wanted["breast_lesion"])}))
    assert read_refinements(run) == wanted
    exported = ["export", run, "--output", tmp_path / "weights", "--postprocess", "look"]
    CliRunner().invoke(main, list(map(str, exported)), catch_exceptions=False)
    metadata = read_metadata(tmp_path / "weights")
    assert metadata.default_postprocess is Postprocess.LOOK
    tasks = metadata.tasks
    assert {
        name: task.postprocessing for name, task in tasks.items() if task.postprocessing != Postprocessing()
    } == wanted


def test_damaged_refinements_are_named(tmp_path):
    assert read_refinements(tmp_path) == {}
    (tmp_path / FILE).write_text('{"breast_lesion": {"one_peace": true}}')
    with pytest.raises(UserError, match=r"refinements\.json is damaged"):
        read_refinements(tmp_path)
    (tmp_path / FILE).write_text('{"breast_lesion": {"second_look": {"zoom": 0}}}')
    with pytest.raises(UserError, match=r"refinements\.json is damaged"):
        read_refinements(tmp_path)


def test_refinements_of_earlier_versions_are_read(tmp_path):
    (tmp_path / FILE).write_text('{"breast_lesion": {"largest_component": true, "point_order": []}}')
    assert read_refinements(tmp_path) == {"breast_lesion": Postprocessing(largest_component=True)}
