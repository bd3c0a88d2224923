"""UUSIC 2025 through the frozen submission and `inference.py`, on phantoms (docs/reference/contract.md, 2)."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from challenge.errors import ManifestError
from challenge.profile import FMC_UIA, choose_profile, uusic
from evaluate.scores.result import summarise
from evaluate.scores.uusic import measure_list
from evaluate.uusic_folder import write_uusic_folder
from inference import Model
from model.frozen.run.merge import merge
from model.frozen.run.report import RunReport
from model.frozen.run.submission import Options, run_submission

ENTRIES = (
    {"dataset_name": "KidneyUS", "organ": "Kidney", "task": "segmentation"},
    {"dataset_name": "Breast_luminal", "organ": "Breast", "task": "classification"},
    {"dataset_name": "Elsewhere", "organ": "Breast", "task": "segmentation"},
    {"dataset_name": "Elsewhere", "organ": "Spleen", "task": "classification"},
)


@pytest.fixture(scope="module")
def images(phantom_folder, tmp_path_factory):
    """A folder in UUSIC's layout, and four rows more: two untrained heads, an unknown data set, an unknown organ."""
    folder = tmp_path_factory.mktemp("uusic")
    write_uusic_folder(phantom_folder, folder, "test")
    listed = json.loads((folder / "list.json").read_text("utf-8"))
    first = folder / listed[0]["img_path_relative"]
    for number, entry in enumerate(ENTRIES):
        path = f"more/imgs/img_{number}{first.suffix}"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(first, folder / path)
        listed.append({"img_path_relative": path, **entry})
    (folder / "list.json").write_text(json.dumps(listed), "utf-8")
    return folder


def answer(images, output, weights, data=None, **options):
    report = RunReport()
    profile = options.pop("profile", None) or uusic(images / "list.json")
    run_submission(data or images, output, Options(weights, profile=profile, **options), report)
    return report


@pytest.fixture(scope="module")
def answered(images, tiny_weights, tmp_path_factory):
    output = tmp_path_factory.mktemp("answers")
    return output, answer(images, output, tiny_weights)


def rows(images, task):
    listed = json.loads((images / "list.json").read_text("utf-8"))
    return [entry["img_path_relative"] for entry in listed if entry["task"] == task]


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_folder_holds_the_challenge_s_files_and_nothing_else(answered, images):
    output, report = answered
    masks = {path.replace("img", "mask") for path in rows(images, "segmentation")}
    assert set(contents(output)) == masks | {"classification.json"}
    assert report.answered == report.rows == len(rows(images, "segmentation") + rows(images, "classification"))


def test_masks_are_0_and_255_of_native_size(answered, images):
    output, _ = answered
    values = set()
    for path in rows(images, "segmentation"):
        with Image.open(output / path.replace("img", "mask")) as mask, Image.open(images / path) as image:
            assert (mask.format, mask.mode, mask.size) == ("PNG", "L", image.size)
            values |= set(np.unique(np.asarray(mask)).tolist())
    assert values == {0, 255}


def test_masks_are_the_foreground_of_the_first_profile_s(answered, images, phantom_folder, tiny_weights, tmp_path):
    answer(images, tmp_path, tiny_weights, data=phantom_folder, profile=FMC_UIA, tasks=("cardiac_multi",))
    output, _ = answered
    ours = sorted((output / "segmentation/Cardiac").rglob("*.png"))
    theirs = sorted((tmp_path / "Segmentation/Four/CAMUS").rglob("*.png"))
    assert len(ours) == len(theirs) > 0
    for one, other in zip(ours, theirs, strict=True):
        assert ((np.asarray(Image.open(one)) > 0) == (np.asarray(Image.open(other)) > 0)).mean() > 0.999


def test_classes_are_in_list_order_with_two_or_four_probabilities(answered, images):
    found = json.loads((answered[0] / "classification.json").read_text("utf-8"))
    assert list(found) == rows(images, "classification")
    for path, item in found.items():
        assert set(item) == {"probability", "prediction"}
        assert len(item["probability"]) == (4 if path.startswith("more/imgs/img_1") else 2)
        assert abs(sum(item["probability"]) - 1) < 1e-6
        assert item["prediction"] == int(np.argmax(item["probability"]))


def test_untrained_heads_give_the_prior_and_unknown_ones_are_reported(answered):
    output, report = answered
    assert {"kidney", "breast_luminal_4cls"} <= set(report.prior_tasks)
    assert "appendix_2cls" not in report.prior_tasks  # nobody asked
    notes = {item["row"].split(", ")[1]: item["note"] for item in report.notes}
    assert ["'Elsewhere' is unknown" in note or "'Spleen' is unknown" in note for note in notes.values()] == [True] * 2
    assert ["no task 'indistinct_2cls'" in item["reason"] for item in report.fallbacks] == [True]
    assert not np.asarray(Image.open(next(output.glob("more/masks/mask_0.*")))).any()


def test_the_organisers_interface(answered, images, tiny_weights, tmp_path):
    data_list = json.loads((images / "list.json").read_text("utf-8"))
    found = Model(tiny_weights).predict_segmentation_and_classification(data_list, str(images), str(tmp_path))
    assert contents(tmp_path) == contents(answered[0])
    assert found == json.loads((tmp_path / "classification.json").read_text("utf-8"))


def test_parts_merge_to_the_same_bytes(answered, images, tiny_weights, tmp_path):
    parts = [tmp_path / str(number) for number in range(2)]
    for number, part in enumerate(parts):
        answer(images, part, tiny_weights, num_parts=2, part_id=number)
    report = RunReport()
    merge(parts, tmp_path / "out", report)
    assert contents(tmp_path / "out") == contents(answered[0])
    assert len(report.notes) == 2


def test_a_stopped_run_resumes(answered, images, tiny_weights, tmp_path):
    asked = iter([False, True])
    options = Options(tiny_weights, profile=uusic(images / "list.json"))
    run_submission(images, tmp_path, options, report := RunReport(), lambda: next(asked, True))
    assert (report.status, 0 < report.answered < report.rows) == ("stopped", True)
    assert answer(images, tmp_path, tiny_weights, resume=True).resumed > 0
    assert contents(tmp_path) == contents(answered[0])


def test_answers_can_be_scored(answered, images):
    scores = summarise(measure_list(images / "truth.json", images, answered[0]), "", "", 10, profile="uusic")
    assert (scores.counts.missing, len(scores.tasks)) == (0, 5)


def test_a_bad_list_is_refused_before_any_work(images, tiny_weights, tmp_path):
    with pytest.raises(ManifestError, match="entry 1"):
        Model(tiny_weights).predict_segmentation_and_classification([{"task": "segmentation"}], str(images), "out")
    with pytest.raises(
        ManifestError, match=r"cannot be read \(Is a directory\)"
    ):  # what docker makes of a typing error
        answer(images, tmp_path / "out", tiny_weights, profile=uusic(images))
    assert not (tmp_path / "out").exists()


def test_the_profile_follows_what_is_mounted(images):
    assert choose_profile("auto", images / "list.json").name == "uusic"
    assert choose_profile("auto", images / "none.json").name == "fmc"
    assert choose_profile("fmc", images / "list.json").name == "fmc"
    assert choose_profile("uusic", images / "none.json").name == "uusic"


def call(repository, *options):
    command = [sys.executable, str(repository / "inference.py"), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_one_program_answers_both_challenges(answered, images, phantom_folder, repository, tiny_weights, tmp_path):
    weights = ("--weights", tiny_weights)
    second = call(repository, "--input", images, "--input-json", images / "list.json", "--output", tmp_path / "uusic",
                  "--strict", *weights)  # fmt: skip
    assert second.returncode == 3, second.stderr
    assert "list.json, entry" in second.stderr.splitlines()[-1]
    assert contents(tmp_path / "uusic") == contents(answered[0])
    first = call(repository, "--input", phantom_folder, "--output", tmp_path / "fmc", *weights)
    assert first.returncode == 0, first.stderr
    answer(images, tmp_path / "same", tiny_weights, data=phantom_folder, profile=FMC_UIA)
    assert contents(tmp_path / "fmc") == contents(tmp_path / "same")
    missing = call(
        repository, "--profile", "uusic", "--input", images, "--input-json", tmp_path / "none.json", *weights
    )
    assert missing.returncode == 2
    assert "--input-json" in missing.stderr.splitlines()[-1]
