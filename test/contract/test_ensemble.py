"""Weights of two networks: their answers are joined, no byte depends on the way of a run, and faults are named."""

import json
import shutil
from itertools import count

import numpy as np
import pytest
from contract.faults import GOOD
from PIL import Image

from challenge.imaging.decode import read_image
from challenge.imaging.geometry import Resize
from challenge.predictions import MaskPrediction
from model.frozen import loading
from model.frozen.metadata import read_metadata
from model.frozen.options import Options
from model.frozen.outputs.decode import answer
from model.frozen.outputs.joining import join
from model.frozen.router import Router
from model.frozen.run.merge import merge
from model.frozen.run.report import RunReport
from model.frozen.run.submission import run_submission
from model.frozen.runtimes.onnx import OnnxRuntime


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".journal"
    }


def run(data, output, weights, stop=lambda: False, **options):
    report = RunReport()
    run_submission(data, output, Options(weights, precision="float32", **options), report, stop)
    return report


def joined_raw(folder, image, task_id):
    """The raw outputs of both members, each run from its own folder, joined here."""
    several = []
    for name in ("member-1", "member-2"):
        metadata = read_metadata(folder / name)
        router = Router(metadata, OnnxRuntime(folder / name, metadata.graphs))
        several += [outputs for _, _, outputs in router.run(image[None], [[task_id]])]
    assert not np.allclose(*several)
    return join(metadata.tasks[task_id].spec.kind, several)[0]


def test_answers_are_the_joined_answers_of_the_members(data, call, ensemble, tmp_path):
    ended = call(data.root, "--postprocess", "none", weights=ensemble)
    assert (ended.code, ended.fallbacks) == (0, {})
    metadata = read_metadata(ensemble)
    for path, task_id, _, _, mask in GOOD:
        native = read_image(data.root / path[3:]).pixels
        resize = Resize.of(native.shape[1], native.shape[0], metadata.image_size)
        raw = joined_raw(ensemble, resize.image(native, metadata.resampling), task_id)
        expected, reason = answer(raw, metadata.tasks[task_id].spec, resize)
        assert reason is None
        if isinstance(expected, MaskPrediction):
            with Image.open(tmp_path / "out" / mask[3:]) as image:
                np.testing.assert_array_equal(np.asarray(image), expected.labels)
        else:
            found = json.dumps(ended.answers[path, task_id])
            values = [value for value in vars(expected).values() if isinstance(value, tuple)]
            assert values
            assert all(str(list(value))[1:-1] in found for value in values)


@pytest.fixture(scope="module")
def whole(ensemble, phantom_folder, tmp_path_factory):
    """The answers of one undisturbed run by the weights' default, and its report."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(phantom_folder, folder, ensemble)


def test_the_report_says_what_it_cost(whole):
    _, report = whole
    table = report.to_dict()
    assert (report.status, report.postprocess, report.fallbacks) == ("complete", "views", [])
    assert (table["cost"]["networks"], table["cost"]["views"]) == (2, 4)
    assert 2 < table["cost"]["passes"] < 8


def test_a_stopped_and_resumed_run_gives_the_same_bytes(whole, ensemble, phantom_folder, tmp_path):
    folder, report = whole
    questions = count()
    stopped = run(phantom_folder, tmp_path, ensemble, stop=lambda: next(questions) > 8)
    assert stopped.status == "stopped"
    assert 0 < stopped.answered < report.rows
    assert run(phantom_folder, tmp_path, ensemble, resume=True).resumed == stopped.answered
    assert contents(tmp_path) == contents(folder)


def test_parts_give_the_same_bytes(whole, ensemble, phantom_folder, tmp_path):
    parts = [tmp_path / f"part {number}" for number in range(2)]
    for number, part in enumerate(parts):
        run(phantom_folder, part, ensemble, num_parts=2, part_id=number)
    merge(parts, tmp_path / "merged", RunReport())
    assert contents(tmp_path / "merged") == contents(whole[0])


def test_an_image_is_decoded_once(data, call, ensemble, monkeypatch):
    read = []

    def counted(path, **how):
        read.append(path.name)
        return read_image(path, **how)

    monkeypatch.setattr(loading, "read_image", counted)
    assert call(data.root, weights=ensemble).code == 0
    assert sorted(read) == ["good 0.png", "good 1.png"]


def edit(path, change):
    table = json.loads(path.read_text("utf-8"))
    change(table)
    path.write_text(json.dumps(table), "utf-8")


FAULTS = {
    "no member": (lambda w: shutil.rmtree(w / "member-2"), "the member 'member-2' is missing"),
    "no graph": (lambda w: (w / "member-2" / "encoder.onnx").unlink(), "'member-2/encoder' is missing"),
    "another graph": (lambda w: shutil.copy(w / "member-1" / "encoder.onnx", w / "member-2"),
                      "does not match the sha256"),
    "another member": (lambda w: shutil.copy(w / "member-1" / "weights.json", w / "member-2"),
                       "does not match the sha256"),
    "a member elsewhere": (lambda w: edit(w / "weights.json", lambda t: t["members"][0].update(folder="../x")),
                           "lies outside the weights folder"),
    "a member without a digest": (lambda w: edit(w / "weights.json", lambda t: t["members"][0].pop("sha256")),
                                  "incomplete or malformed"),
    "another image size": (lambda w: edit(w / "weights.json", lambda t: t.update(image_size=128)),
                           "member-1 has another image size than the others"),
    "a task that no member answers": (lambda w: edit(w / "weights.json", lambda t: t["tasks"]["FUGC"].update(
        answers="network")), "no member answers 'FUGC' with the network"),
    "another way to join": (lambda w: edit(w / "weights.json", lambda t: t.update(join={"detection": "first"})),
                            "incomplete or malformed"),
    "a rotated box": (lambda w: edit(w / "weights.json", lambda t: t["tasks"]["thyroid_nodule_det"].update(
        postprocessing={"views": ["rotate 10"]})), "the view 'rotate 10' is not for detection"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_missing_altered_or_unfit_member_is_exit_code_2(data, call, ensemble, tmp_path, fault):
    damage, sentence = FAULTS[fault]
    weights = shutil.copytree(ensemble, tmp_path / "weights")
    damage(weights)
    ended = call(data.root, weights=weights)
    assert ended.code == 2
    assert sentence in ended.last_line
    assert not (tmp_path / "out").exists()
