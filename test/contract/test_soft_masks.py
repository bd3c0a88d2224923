"""`--soft-masks` and `--confidence`: the same answers beside them, and they are as safe as masks."""

import errno
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from contract.faults import DataFolder, contents
from PIL import Image

from challenge import writers
from challenge.errors import UserError
from challenge.host.disk import DiskFullError
from challenge.imaging.decode import read_image
from challenge.manifest import read_manifest
from challenge.paths import find_image
from challenge.predictions import MaskPrediction
from challenge.writers import eight_bit
from evaluate.__main__ import main as evaluate
from inference import Predictor
from model.frozen.options import Options
from model.frozen.run import recorder
from model.frozen.run.merge import merge
from model.frozen.run.report import RunReport
from model.frozen.run.submission import run_submission

LUNG = "Segmentation/good 0.png"


@pytest.fixture
def many(data: DataFolder) -> DataFolder:
    """The good rows, a mask of three classes, one of an untrained head, one of an unreadable image."""
    (data.root / "images" / "bad.png").write_bytes(b"no image")
    data.add(
        ("../images/good 1.png", "cervix_multi", "segmentation", "3", "../deep/er/three.png"),
        ("../images/good 1.png", "cervix", "segmentation", "2", "../prior.png"),
        ("../images/bad.png", "lung", "segmentation", "2", "../bad.png"),
    )
    return data


def answer(data, output, soft, weights, stop=lambda: False, **options):
    report = RunReport()
    given = Options(weights, 1, device="cpu", soft_masks=soft, **options)
    run_submission(data.root, output, given, report, stop)
    return report


def rows_of(file):
    return {(row["row"], row["task_id"]): row for row in json.loads(file.read_text("utf-8"))["rows"]}


def test_the_answers_keep_their_bytes_and_every_class_has_a_file(many, call, tmp_path):
    soft, file = tmp_path / "soft", tmp_path / "confidence.json"
    plain = call(many.root, output=tmp_path / "plain")
    asked = call(many.root, "--soft-masks", soft, "--confidence", file, output=tmp_path / "asked")
    assert (asked.code, asked.answers) == (0, plain.answers)
    assert set(contents(soft)) == {
        f"class_1/{LUNG}", "class_1/deep/er/three.png", "class_2/deep/er/three.png", "class_1/prior.png",
        "class_1/bad.png",
    }  # fmt: skip
    with Image.open(tmp_path / "asked" / LUNG) as mask, Image.open(soft / "class_1" / LUNG) as found:
        assert (found.mode, found.size) == ("L", mask.size)
        labels, probabilities = np.asarray(mask), np.asarray(found)
    assert (probabilities[labels == 1] >= 127).all()
    assert (probabilities[labels == 0] <= 128).all()
    for blank in ("prior.png", "bad.png"):
        with Image.open(soft / "class_1" / blank) as found:
            assert not np.asarray(found).any()


def test_priors_and_fallbacks_have_no_confidence(many, call, tmp_path):
    ended = call(many.root, "--confidence", tmp_path / "confidence.json")
    rows = rows_of(tmp_path / "confidence.json")
    assert len(rows) == 7
    assert rows["odd.csv, line 3", "cervix"]["confidence"] is None
    assert rows["odd.csv, line 4", "lung"]["confidence"] is None
    assert 0 < rows["good.csv, line 2", "lung"]["confidence"] < 1
    assert rows["good.csv, line 4", "thyroid_nodule_det"]["spread"] > 0  # the grid of boxes is a map
    assert rows["good.csv, line 5", "IUGC"]["confidence"] is None  # this system gives points without maps
    report = ended.report["confidence"]
    assert set(report) == {"lung", "organ_cls", "thyroid_nodule_det", "cervix_multi"}
    assert report["lung"]["rows"] == 1
    assert report["lung"]["median"] == rows["good.csv, line 2", "lung"]["confidence"]


def stops_after(batches):
    left = iter(range(batches))
    return lambda: next(left, None) is None


def test_a_resumed_run_writes_the_same_and_writes_again_what_is_missing(many, tiny_weights, tmp_path):
    answer(many, tmp_path / "one", tmp_path / "soft", tiny_weights, confidence=tmp_path / "one.json")
    whole = contents(tmp_path / "soft")
    stopped = answer(many, tmp_path / "two", tmp_path / "soft 2", tiny_weights, stops_after(2))
    assert stopped.status == "stopped"
    for lost in sorted((tmp_path / "soft 2").rglob("*.png"))[:1]:
        lost.unlink()
    with pytest.raises(UserError, match="soft_masks is yes there and no here"):
        answer(many, tmp_path / "two", None, tiny_weights, resume=True)
    again = answer(many, tmp_path / "two", tmp_path / "soft 2", tiny_weights, resume=True,
                   confidence=tmp_path / "two.json")  # fmt: skip
    assert again.status == "complete"
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert contents(tmp_path / "soft 2") == whole
    assert rows_of(tmp_path / "two.json") == rows_of(tmp_path / "one.json")


def test_parts_share_a_folder_and_merge_finds_what_is_missing(many, tiny_weights, tmp_path):
    answer(many, tmp_path / "one", tmp_path / "whole", tiny_weights, confidence=tmp_path / "one.json")
    parts, soft = [tmp_path / "p0", tmp_path / "p1"], tmp_path / "soft"
    for number, part in enumerate(parts):
        answer(many, part, soft, tiny_weights, num_parts=2, part_id=number)
    report = RunReport()
    merge(parts, tmp_path / "out", report, soft_masks=soft, confidence=tmp_path / "merged.json")
    assert contents(tmp_path / "out") == contents(tmp_path / "one")
    assert contents(soft) == contents(tmp_path / "whole")
    assert rows_of(tmp_path / "merged.json") == rows_of(tmp_path / "one.json")
    assert set(report.confidence) == {"lung", "organ_cls", "thyroid_nodule_det", "cervix_multi"}
    (soft / "class_1" / LUNG).write_bytes(b"?")
    with pytest.raises(UserError, match=r"class_1/.* is missing or altered; give all parts one --soft-masks folder"):
        merge(parts, tmp_path / "again", RunReport(), soft_masks=soft)
    merge(parts, tmp_path / "without", RunReport())
    assert contents(tmp_path / "without") == contents(tmp_path / "one")


def test_parts_without_soft_masks_cannot_be_merged_with_them(many, tiny_weights, tmp_path):
    answer(many, tmp_path / "p0", None, tiny_weights, num_parts=2, part_id=0)
    answer(many, tmp_path / "p1", None, tiny_weights, num_parts=2, part_id=1)
    with pytest.raises(UserError, match="the parts were answered without --soft-masks"):
        merge([tmp_path / "p0", tmp_path / "p1"], tmp_path / "out", RunReport(), soft_masks=tmp_path / "soft")


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("out/soft", "one lies in the other"),
        ("out", "one lies in the other"),
        ("data/soft", "one lies in the other"),
        ("data/images", "one lies in the other"),
        (".", "one lies in the other"),
        ("other", "holds the answers of a run"),
        ("file", "is a file"),
    ],
)
def test_folders_that_others_need_are_refused_before_any_work(many, call, tmp_path, folder, message):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "detection_predictions.json").write_text("[]")
    (tmp_path / "file").write_text("")
    ended = call_or_usage(call, many.root, "--soft-masks", tmp_path / folder)
    assert ended is None or ended.code == 2
    assert ended is None or re.search(message, ended.last_line)
    assert not (tmp_path / "out").exists()


def call_or_usage(call, *arguments):
    """Return how the command ended; None if its command line was refused, which leaves no report."""
    try:
        return call(*arguments)
    except FileNotFoundError:
        return None


def test_the_weights_labels_and_links_are_refused(many, tiny_weights, tmp_path):
    with pytest.raises(UserError, match="one lies in the other"):
        answer(many, tmp_path / "out", tiny_weights / "soft", tiny_weights)
    with pytest.raises(UserError, match="needs resized logits; leave out --mask-resize labels"):
        answer(many, tmp_path / "out", tmp_path / "soft", tiny_weights, mask_resize="labels")
    (tmp_path / "soft").mkdir()
    (tmp_path / "soft" / "class_1").symlink_to(many.root)
    with pytest.raises(UserError, match="link"):
        answer(many, tmp_path / "out", tmp_path / "soft", tiny_weights)


def test_a_full_disk_keeps_valid_answers_and_resume_writes_the_rest(many, tiny_weights, tmp_path, monkeypatch):
    answer(many, tmp_path / "one", tmp_path / "whole", tiny_weights)
    calls = []

    def full(*arguments):
        calls.append(arguments)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return writers.write_soft_masks(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(recorder, "write_soft_masks", full)
        with pytest.raises(DiskFullError, match=r"no room is left .* --resume"):
            answer(many, tmp_path / "out", tmp_path / "soft", tiny_weights)
    assert not list((tmp_path / "soft").rglob("*.partial"))
    answer(many, tmp_path / "out", tmp_path / "soft", tiny_weights, resume=True)
    assert contents(tmp_path / "out") == contents(tmp_path / "one")
    assert contents(tmp_path / "soft") == contents(tmp_path / "whole")


@pytest.mark.parametrize("weights", ["tiny_weights", "looking", "ensemble"])
def test_the_predictor_gives_the_numbers_of_the_files(weights, phantom_folder, tmp_path, request):
    folder, soft = request.getfixturevalue(weights), tmp_path / "soft"
    options = Options(folder, 1, device="cpu", soft_masks=soft, tasks=("lung", "breast_lesion", "cardiac_multi"))
    run_submission(phantom_folder, tmp_path / "out", options, RunReport())
    seen = 0
    with Predictor(folder, device="cpu", batch_size=1) as predictor:
        for sample in read_manifest(phantom_folder).samples:
            if sample.task_id not in options.tasks or sample.task_id not in predictor.tasks or seen > 3:
                continue
            image = find_image(phantom_folder, sample.image_path)
            found = predictor.predict(image, sample.task_id, soft_masks=True)[sample.task_id]
            assert isinstance(found, MaskPrediction)
            assert found.soft.shape == (sample.num_classes - 1, *found.labels.shape)
            for number, plane in enumerate(found.soft, 1):
                written = read_image(soft / f"class_{number}" / sample.mask_file).pixels[..., 0]
                assert np.array_equal(written, eight_bit(plane))
            assert predictor.predict(image, sample.task_id)[sample.task_id].soft is None
            seen += 1
    assert seen


def test_shipped_weights_give_maps_of_boxes_and_points(repository):
    image = np.random.default_rng(0).integers(0, 256, (90, 120), dtype=np.uint8)
    with Predictor(repository / "weights", device="cpu", precision="float32") as predictor:
        answers = predictor.predict(image, ("IUGC", "thyroid_nodule_det", "fetal_head_biometry"))
    peaks = (answers["thyroid_nodule_det"].peak, *answers["IUGC"].peaks)
    assert len(peaks) == 4
    assert all(0 < peak.maximum < 1 and 0 < peak.spread < 150 for peak in peaks)
    assert answers["fetal_head_biometry"].peaks is None  # the ends of an ellipse are not read from maps


def test_report_and_confidence_are_two_files(many, call, tmp_path):
    assert call_or_usage(call, many.root, "--confidence", tmp_path / "report.json") is None
    refused = call_or_usage(call, many.root, "--confidence", tmp_path / "out" / "x.json")
    assert refused is None or refused.code == 2
    assert not (tmp_path / "out").exists()


def test_a_run_resumed_into_another_folder_fills_it(many, tiny_weights, tmp_path):
    """The files of the earlier folder are not there, so their rows are answered again."""
    first = Options(tiny_weights, 1, device="cpu", soft_masks=tmp_path / "a")
    run_submission(many.root, tmp_path / "out", first, RunReport(), stops_after(3))
    run_submission(many.root, tmp_path / "out", replace(first, soft_masks=tmp_path / "b", resume=True), RunReport())
    assert len(contents(tmp_path / "b")) == 5


def test_confidences_are_measured_by_one_command(phantom_folder, tiny_weights, tmp_path):
    file, output = tmp_path / "confidence.json", tmp_path / "page"
    tasks = ("lung", "organ_cls", "thyroid_nodule_det")
    options = Options(tiny_weights, 4, device="cpu", tasks=tasks, confidence=file)
    run_submission(phantom_folder, tmp_path / "out", options, RunReport())
    arguments = ["confidence", "--data-root", phantom_folder, "--predictions", tmp_path / "out", "--confidence", file,
                 "--output", output, "--jobs", "1", "--draws", "10"]  # fmt: skip
    for _ in range(2):  # its own files are replaced
        done = CliRunner().invoke(evaluate, list(map(str, arguments)), catch_exceptions=False)
        assert done.exit_code == 0, done.output
    assert (output / "risk-coverage.png").read_bytes().startswith(b"\x89PNG")
    text = (output / "confidence.md").read_text("utf-8")
    assert text in done.output
    for task_id in tasks:
        assert f"| {task_id} |" in text
