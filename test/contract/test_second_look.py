"""The shipped weights with second looks: the default follows the weights, and no byte depends on the way of a run."""

from itertools import count

import pytest

from challenge.tasks import TaskKind
from model.frozen.options import Options
from model.frozen.outputs.postprocess import Postprocess
from model.frozen.run.merge import merge
from model.frozen.run.report import RunReport
from model.frozen.run.submission import run_submission

LOOKED = (TaskKind.SEGMENTATION, TaskKind.DETECTION)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".journal"
    }


def answer(data, output, weights, stop=lambda: False, **options):
    report = RunReport()
    run_submission(data, output, Options(weights, precision="float32", **options), report, stop)
    return report


@pytest.fixture(scope="module")
def whole(looking, phantom_folder, tmp_path_factory):
    """The answers of one undisturbed run by the weights' default, and its report."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, answer(phantom_folder, folder, looking)


def test_the_default_is_what_the_weights_recommend(whole, looking, phantom_folder, tmp_path):
    folder, report = whole
    assert (report.status, report.postprocess, report.fallbacks) == ("complete", "look", [])
    looked = [kind for kind in LOOKED if report.counts[kind]]
    assert 0 < report.second_looks <= sum(report.counts[kind] for kind in looked)
    asked = answer(phantom_folder, tmp_path / "asked", looking, postprocess=Postprocess.LOOK)
    assert asked.second_looks == report.second_looks
    assert contents(tmp_path / "asked") == contents(folder)


def test_without_it_masks_and_boxes_differ_and_nothing_else(whole, looking, repository, phantom_folder, tmp_path):
    folder, _ = whole
    plain = answer(phantom_folder, tmp_path / "plain", looking, postprocess=Postprocess.NONE)
    assert (plain.second_looks, plain.postprocess) == (0, "none")
    once, twice = contents(tmp_path / "plain"), contents(folder)
    assert once.keys() == twice.keys()
    differ = {name for name in once if once[name] != twice[name]}
    assert "detection_predictions.json" in differ
    assert any(name.startswith("Segmentation") for name in differ)
    assert not differ & {"classification_predictions.json", "regression_predictions.json"}
    shipped = answer(phantom_folder, tmp_path / "shipped", repository / "weights", postprocess=Postprocess.NONE)
    assert (shipped.second_looks, shipped.postprocess) == (0, "none")
    assert contents(tmp_path / "shipped") == once


def test_a_stopped_and_resumed_run_gives_the_same_bytes(whole, looking, phantom_folder, tmp_path):
    folder, report = whole
    questions = count()
    stopped = answer(phantom_folder, tmp_path, looking, stop=lambda: next(questions) > 8)
    assert stopped.status == "stopped"
    assert 0 < stopped.answered < report.rows
    resumed = answer(phantom_folder, tmp_path, looking, resume=True)
    assert resumed.resumed == stopped.answered
    assert resumed.second_looks == report.second_looks
    assert contents(tmp_path) == contents(folder)


def test_parts_give_the_same_bytes(whole, looking, phantom_folder, tmp_path):
    folder, report = whole
    parts = [tmp_path / f"part {number}" for number in range(3)]
    for number, part in enumerate(parts):
        answer(phantom_folder, part, looking, num_parts=3, part_id=number)
    merged = RunReport()
    merge(parts, tmp_path / "merged", merged)
    assert (merged.second_looks, merged.postprocess) == (report.second_looks, "look")
    assert contents(tmp_path / "merged") == contents(folder)
