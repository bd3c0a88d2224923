"""Several runs become weights of several networks; runs that do not fit together are refused in one sentence."""

import json
import shutil
from dataclasses import replace

import pytest
from click.testing import CliRunner
from tiny import export_tiny
from unit.training.commands import assert_refused
from unit.training.recipes import tiny_config

from challenge.errors import UserError
from challenge.tasks import CATALOGUE, TaskKind
from model.frozen.metadata import Member, TaskMetadata, read_metadata, verify
from model.frozen.outputs.postprocess import Postprocess, Postprocessing
from training.__main__ import main
from training.data.rows import DataSource
from training.distributed import Ranks
from training.export.ensemble import export_runs, joined
from training.loop.runs import cross_validate, train_run
from training.run_folder.trainable import read_start


@pytest.fixture(scope="module")
def folds(four_kinds, tmp_path_factory):
    """The two runs of a cross-validation, which share what helped both."""
    folder = tmp_path_factory.mktemp("folds")
    cross_validate(tiny_config(optim={"images": 8}), DataSource(four_kinds, folder / "cache"), folder, Ranks(), 2)
    return folder / "fold-0", folder / "fold-1"


def call(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False)


def test_folds_get_one_choice_and_one_weights_folder(folds, four_kinds, tmp_path):
    done = call("refine", *folds, "--data-root", four_kinds, "--cache", folds[0].parent / "cache")
    assert done.exit_code == 0, done.output
    chosen = [(run / "refinements.json").read_text("utf-8") for run in folds]
    assert chosen[0] == chosen[1]
    done = call("export", *folds, "--output", tmp_path / "weights", "--postprocess", "masks")
    assert "2 networks, " in done.stdout
    assert " MB in " in done.stdout
    metadata = read_metadata(tmp_path / "weights")
    verify(metadata, tmp_path / "weights")
    assert [member.folder for member in metadata.members] == ["member-1", "member-2"]
    assert metadata.default_postprocess is Postprocess.MASKS
    members = [read_metadata(tmp_path / "weights" / member.folder) for member in metadata.members]
    assert metadata.extra["training"]["steps"] == sum(one.extra["training"]["steps"] for one in members)
    assert (tmp_path / "weights" / "member-2" / "network.safetensors").is_file()
    assert "2 networks answer together" in (tmp_path / "weights" / "README.md").read_text("utf-8")
    recorded = {task_id: Postprocessing.from_table(table) for task_id, table in json.loads(chosen[0]).items()}
    assert {task_id: metadata.tasks[task_id].postprocessing for task_id in recorded} == recorded


def test_an_ensemble_goes_into_an_empty_folder_or_replaces_all_of_an_earlier_one(folds, tmp_path_factory, tmp_path):
    third = shutil.copytree(folds[0], tmp_path_factory.mktemp("third") / "run")
    export_runs([*folds, third], tmp_path, None, None)
    assert (tmp_path / "member-3" / "weights.json").is_file()
    assert_refused(call("export", *folds, "--output", tmp_path), "is not empty; choose another folder")
    assert call("export", *folds, "--output", tmp_path, "--overwrite").exit_code == 0
    assert not (tmp_path / "member-3").exists()
    assert len(read_metadata(tmp_path).members) == 2
    export_runs(folds[:1], tmp_path, None, None, overwrite=True)
    assert not list(tmp_path.glob("member-*"))
    verify(read_metadata(tmp_path), tmp_path)


def test_runs_of_a_second_phase_answer_the_tasks_that_they_chose(four_kinds, tmp_path):
    source = DataSource(four_kinds, tmp_path / "cache")
    first = tiny_config(optim={"images": 8})
    train_run(first, source, tmp_path / "first", Ranks())
    start, _ = read_start(tmp_path / "first")
    runs = []
    for names in (("segmentation",), ("breast_2cls", "detection", "regression")):
        runs.append(tmp_path / names[0])
        train_run(replace(first, data=replace(first.data, tasks=names)), source, runs[-1], Ranks(), start=start)
    metadata = export_runs(runs, tmp_path / "weights", None, None)
    verify(metadata, tmp_path / "weights")
    answering = {
        task_id: [member.folder for member in metadata.members if member.metadata.tasks[task_id].answers == "network"]
        for task_id, task in metadata.tasks.items()
        if task.answers == "network"
    }
    assert answering == {
        "breast_lesion": ["member-1"],
        "breast_2cls": ["member-2"],
        "breast_lesion_det": ["member-2"],
        "fetal_head_biometry": ["member-2"],
    }
    (masks, others) = (tmp_path / "weights" / member.folder / "heads" for member in metadata.members)
    assert (masks / "breast_lesion.onnx").is_file()
    assert not (others / "breast_lesion.onnx").exists()
    for member in metadata.members:  # each is complete by itself
        verify(read_metadata(tmp_path / "weights" / member.folder), tmp_path / "weights" / member.folder)


def test_one_run_answers_a_task_if_the_command_says_so(folds, tmp_path):
    weights, (first, second) = tmp_path / "weights", folds
    named = ["--answered-by", f"classification={second}", "--answered-by", f"breast_lesion={first}"]
    done = call("export", *folds, "--output", weights, *named)
    assert done.exit_code == 0, done.output
    answering = {
        task_id: [one.folder for one in read_metadata(weights).members if one.metadata.tasks[task_id].path]
        for task_id in ("breast_2cls", "breast_lesion", "breast_lesion_det")
    }
    assert answering == {
        "breast_2cls": ["member-2"],
        "breast_lesion": ["member-1"],
        "breast_lesion_det": ["member-1", "member-2"],
    }
    assert not (weights / "member-1" / "heads" / "breast_2cls.onnx").exists()
    verify(read_metadata(weights), weights)


def test_training_goes_on_from_a_member_without_what_it_left_to_others(folds, four_kinds, tmp_path):
    first, second = folds
    weights, kinds = tmp_path / "weights", ("segmentation", "detection", "regression")
    by = {"classification": second, **dict.fromkeys(kinds, first)}
    export_runs(folds, weights, None, None, answered_by=by)
    with pytest.raises(UserError, match=r"holds 2 networks; begin with one of them, such as .*member-1"):
        read_start(weights)
    masks, classes = (read_start(weights / name)[0] for name in ("member-1", "member-2"))
    whole = {key for key in read_start(first)[0].state if not key.startswith("heads.")}
    assert whole <= set(masks.state)
    assert not any("pyramid" in key or "breast_lesion" in key for key in classes.state)
    assert not any("heads.breast_2cls" in key for key in masks.state)
    assert set(classes.facts.rows) == {"breast_2cls"}
    config = tiny_config(optim={"images": 8})
    train_run(config, DataSource(four_kinds, tmp_path / "cache"), tmp_path / "again", Ranks(), start=classes)
    again = read_start(tmp_path / "again")[0]
    assert set(again.state) == set(read_start(first)[0].state)
    assert not again.left


def test_runs_may_have_other_tasks(four_kinds, tmp_path):
    source, config = DataSource(four_kinds, tmp_path / "cache"), tiny_config(optim={"images": 8})
    train_run(config, source, tmp_path / "all", Ranks())
    train_run(replace(config, data=replace(config.data, tasks=("breast_2cls",))), source, tmp_path / "alone", Ranks())
    export_runs([tmp_path / "all", tmp_path / "alone"], tmp_path / "weights", None, None)
    metadata = read_metadata(tmp_path / "weights")
    assert set(metadata.tasks) == set(read_start(tmp_path / "all")[0].facts.rows) | set(CATALOGUE)
    assert len(read_start(tmp_path / "alone")[0].tasks) < len(metadata.tasks)
    assert len({frozenset(member.metadata.tasks) for member in metadata.members}) == 1


@pytest.mark.parametrize(
    ("name", "run", "said"),
    [
        ("breast_2cls", "elsewhere", "breast_2cls cannot be answered by"),
        ("breast_2clz", "first", r"was not trained on 'breast_2clz' \(did you mean 'breast_2cls'"),
        ("cervix", "first", "was not trained on 'cervix', so it"),
        ("breast_2cls", "", "is not TASK=RUN"),
    ],
)
def test_a_run_that_cannot_answer_a_task_is_refused(name, run, said, folds, tmp_path):
    run = {"first": folds[0], "elsewhere": tmp_path / "elsewhere"}.get(run, run)
    assert_refused(call("export", *folds, "--output", tmp_path / "out", "--answered-by", f"{name}={run}"), said)
    assert not (tmp_path / "out").exists()  # said before anything is exported


def test_a_task_has_one_run_that_answers_it(folds, tmp_path):
    twice = [f"--answered-by=breast_2cls={run}" for run in folds]
    assert_refused(call("export", *folds, "--output", tmp_path / "out", *twice), "breast_2cls is named twice")
    alone = f"--answered-by=breast_2cls={folds[0]}"
    assert_refused(
        call("export", folds[0], "--output", tmp_path / "out", alone), "chooses between several runs, but one"
    )


def test_a_run_that_is_named_twice_is_refused(folds, tmp_path):
    twice = folds[0].parent / "." / folds[0].name
    assert_refused(call("export", *folds, twice, "--output", tmp_path / "out"), "is named twice")
    assert not (tmp_path / "out").exists()


def test_cards_say_which_network_they_are_of(folds, tmp_path):
    weights = tmp_path / "weights"
    export_runs(folds, weights, None, None)
    titles = {(weights / place / "README.md").read_text().splitlines()[0] for place in (".", "member-1", "member-2")}
    assert len(titles) == 3


def test_a_run_that_would_answer_nothing_is_refused(folds, tmp_path):
    kinds = ("segmentation", "classification", "detection", "regression")
    named = [f"--answered-by={kind}={folds[0]}" for kind in kinds]
    assert_refused(call("export", *folds, "--output", tmp_path / "out", *named), "answers no task")


@pytest.fixture(scope="module")
def metadata(tmp_path_factory):
    return export_tiny(tmp_path_factory.mktemp("tiny"))


def both(one, other):
    return joined([Member("a", "0", one), Member("b", "0", other)], ["run 1", "run 2"], {})


def changed(metadata, task_id, **what):
    return replace(metadata, tasks={**metadata.tasks, task_id: replace(metadata.tasks[task_id], **what)})


@pytest.mark.parametrize(
    ("difference", "sentence"),
    [
        ({"image_size": 128}, "run 2 has another image size than run 1"),
        ({"mean": (0.1, 0.5, 0.5)}, "run 2 has another normalisation than run 1"),
        ({"tidy_coordinates": False}, "run 2 has another rule for coordinates than run 1"),
        ({"tasks": {}}, "run 2 has other tasks than run 1"),
    ],
)
def test_runs_that_differ_are_refused(metadata, difference, sentence):
    with pytest.raises(UserError, match=f"^{sentence}; export runs that agree"):
        both(metadata, replace(metadata, **difference))


def test_what_the_runs_say_of_a_task_must_agree(metadata):
    with pytest.raises(UserError, match="lung: the runs record different post-processing"):
        both(metadata, changed(metadata, "lung", postprocessing=Postprocessing(fill_holes=True)))
    named = changed(metadata, "breast_2cls", class_names=("benign", "malignant"))
    with pytest.raises(UserError, match="breast_2cls: the runs call the classes"):
        both(named, changed(metadata, "breast_2cls", class_names=("malignant", "benign")))
    assert both(metadata, named).tasks["breast_2cls"].class_names == ("benign", "malignant")


def test_a_task_is_described_by_the_networks_that_were_trained_on_it(metadata):
    first = changed(metadata, "thyroid_nodule_det", fallback=(0.1, 0.2, 0.3, 0.4), trained_on="10 images")
    second = changed(metadata, "thyroid_nodule_det", fallback=(0.3, 0.2, 0.5, 0.4), trained_on="12 images")
    task = both(first, second).tasks["thyroid_nodule_det"]
    assert task.trained_on == "10 images / 12 images"
    assert task.fallback == pytest.approx((0.2, 0.2, 0.4, 0.4))
    untrained = replace(first, tasks={**first.tasks, "thyroid_nodule_det": prior("thyroid_nodule_det")})
    assert both(untrained, second).tasks["thyroid_nodule_det"].fallback == (0.3, 0.2, 0.5, 0.4)
    assert both(untrained, untrained).tasks["thyroid_nodule_det"].answers == "prior"


def prior(task_id):
    spec = CATALOGUE[task_id]
    assert spec.kind is TaskKind.DETECTION
    return TaskMetadata(spec, (), "prior")


def test_precisions_are_those_that_all_were_tested_in(metadata):
    both_of_them = replace(metadata, precisions=("float32", "bfloat16"))
    assert both(both_of_them, metadata).precisions == ("float32",)
    assert both(both_of_them, both_of_them).precisions == ("float32", "bfloat16")
