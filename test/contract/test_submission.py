"""All 27 subtasks through the frozen submission: layout, schema, failures (docs/reference/contract.md, 1.2 and 1.3)."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from challenge.errors import ManifestError, PathError, UserError
from challenge.manifest import read_manifest
from challenge.tasks import CATALOGUE, TaskKind
from inference import Model
from model.frozen.metadata import read_metadata
from model.frozen.run.report import RunReport
from model.frozen.run.submission import Options, run_submission

SCHEMAS = {
    "classification": {"image_path", "task_id", "predicted_class", "predicted_probs"},
    "detection": {"image_path", "task_id", "bbox_normalized", "bbox_pixels"},
    "regression": {"image_path", "task_id", "predicted_points_normalized", "predicted_points_pixels"},
}


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def load(folder, kind):
    return json.loads((folder / f"{kind}_predictions.json").read_text("utf-8"))


def run(data, output, weights, **options):
    report = RunReport()
    run_submission(data, output, Options(weights, **options), report)
    return report


@pytest.fixture(scope="module")
def answered(phantom_folder, tiny_weights, tmp_path_factory):
    output = tmp_path_factory.mktemp("answers")
    return output, run(phantom_folder, output, tiny_weights)


def native_size(data, sample):
    with Image.open(data / sample.image_path.removeprefix("../")) as image:
        return image.size


def test_folder_holds_the_contract_s_files_and_nothing_else(answered, phantom_folder, tiny_weights):
    output, report = answered
    samples = read_manifest(phantom_folder, read_metadata(tiny_weights).specs).samples
    masks = {str(sample.mask_file) for sample in samples if sample.kind is TaskKind.SEGMENTATION}
    assert files(output) == masks | {f"{kind}_predictions.json" for kind in SCHEMAS}
    assert report.answered == report.rows == len(samples)
    assert {sample.task_id for sample in samples} >= set(CATALOGUE)
    assert not report.fallbacks


def test_masks_are_native_size_class_indices(answered, phantom_folder):
    output, _ = answered
    for sample in read_manifest(phantom_folder).samples:
        if sample.kind is TaskKind.SEGMENTATION:
            with Image.open(output / sample.mask_file) as mask:
                assert mask.format == "PNG"
                assert mask.mode == "L"
                assert mask.size == native_size(phantom_folder, sample)
                assert np.asarray(mask).max() < sample.num_classes


@pytest.mark.parametrize("kind", SCHEMAS)
def test_json_entries_echo_the_manifest_in_its_order(answered, phantom_folder, tiny_weights, kind):
    output, _ = answered
    entries = load(output, kind)
    samples = [s for s in read_manifest(phantom_folder, read_metadata(tiny_weights).specs).samples if s.kind == kind]
    assert [(e["image_path"], e["task_id"]) for e in entries] == [(s.image_path, s.task_id) for s in samples]
    assert all(set(entry) == SCHEMAS[kind] for entry in entries)


def test_probabilities_boxes_and_points_are_in_range(answered, phantom_folder, tiny_weights):
    output, _ = answered
    samples = {(s.image_path, s.task_id): s for s in read_manifest(phantom_folder).samples}
    for item in load(output, "classification"):
        assert abs(sum(item["predicted_probs"]) - 1) < 1e-6
        assert len(item["predicted_probs"]) == CATALOGUE[item["task_id"]].num_classes
        assert item["predicted_class"] == int(np.argmax(item["predicted_probs"]))
    for kind, pixels, normalized in [
        ("detection", "bbox_pixels", "bbox_normalized"),
        ("regression", "predicted_points_pixels", "predicted_points_normalized"),
    ]:
        for item in load(output, kind):
            sample = samples[item["image_path"], item["task_id"]]
            size = np.tile(native_size(phantom_folder, sample), len(item[pixels]) // 2)
            assert len(item[pixels]) == (4 if kind == "detection" else 2 * sample.num_classes)
            np.testing.assert_allclose(np.array(item[normalized]) * size, item[pixels], rtol=1e-9)
            assert (np.array(item[pixels]) >= 0).all()
            assert (np.array(item[pixels]) <= size).all()


def test_untrained_heads_answer_with_the_prior_and_are_named_once(phantom_folder, tiny_weights, tmp_path, caplog):
    run(phantom_folder, tmp_path, tiny_weights)
    lines = [record.message for record in caplog.records if "answered with the prior" in record.message]
    assert lines == ["tasks without training data, answered with the prior: FUGC, cervix"]
    points = [item for item in load(tmp_path, "regression") if item["task_id"] == "FUGC"]
    assert points
    assert all(item["predicted_points_normalized"] == [0.5] * 4 for item in points)


def test_batch_size_does_not_change_the_answers(answered, phantom_folder, tiny_weights, tmp_path):
    output, _ = answered
    run(phantom_folder, tmp_path, tiny_weights, batch_size=1)
    assert files(output) == files(tmp_path)
    for one, other in zip(load(output, "classification"), load(tmp_path, "classification"), strict=True):
        np.testing.assert_allclose(one["predicted_probs"], other["predicted_probs"], atol=1e-5)
    for name in files(output):
        if name.lower().startswith("segmentation"):
            one, other = (np.asarray(Image.open(folder / name)) for folder in (output, tmp_path))
            assert (one == other).mean() > 0.999


def test_two_runs_are_equal_byte_for_byte(answered, phantom_folder, tiny_weights, tmp_path):
    output, _ = answered
    run(phantom_folder, tmp_path, tiny_weights)
    assert all((output / name).read_bytes() == (tmp_path / name).read_bytes() for name in files(output))


def test_the_organisers_interface(phantom_folder, tiny_weights, tmp_path, answered):
    Model(tiny_weights).predict(str(phantom_folder), str(tmp_path), batch_size=8)
    assert files(tmp_path) == files(answered[0])


def test_tasks_option_skips_the_other_rows(phantom_folder, tiny_weights, tmp_path):
    report = run(phantom_folder, tmp_path, tiny_weights, tasks=("organ_cls",))
    assert {item["task_id"] for item in load(tmp_path, "classification")} == {"organ_cls"}
    assert load(tmp_path, "detection") == []
    assert set(report.counts) == {"classification"}
    with pytest.raises(UserError, match=r"unknown task 'organ_cl' \(did you mean 'organ_cls'\?\)"):
        run(phantom_folder, tmp_path, tiny_weights, tasks=("organ_cl",))


class Folder:
    """A data folder of one's own making: good.png, and rows to ask about it."""

    def __init__(self, root):
        self.root = root
        (root / "csv_files").mkdir(parents=True)
        noise = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
        for name in ("good.png", "other.png"):
            Image.fromarray(noise).save(root / name)

    def write(self, *rows, name="rows.csv", columns=("image_path", "task_id", "task_name", "num_classes", "mask_path")):
        with (self.root / "csv_files" / name).open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([columns, *rows])
        return self.root


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "data")


def test_unreadable_image_costs_its_own_rows_only(folder, tiny_weights, tmp_path):
    (folder.root / "bad.png").write_text("<html>404</html>")
    data = folder.write(
        ("../bad.png", "thyroid_nodule_det", "detection", 1, ""),
        ("../good.png", "thyroid_nodule_det", "detection", 1, ""),
        ("../absent.png", "lung", "segmentation", 2, "../Segmentation/a.png"),
        ("../../outside.png", "organ_cls", "classification", 6, ""),
    )
    report = run(data, tmp_path / "out", tiny_weights)
    assert [item["row"] for item in sorted(report.fallbacks, key=lambda item: item["row"])] == [
        "rows.csv, line 2", "rows.csv, line 4", "rows.csv, line 5"]  # fmt: skip
    bad, good = load(tmp_path / "out", "detection")
    np.testing.assert_allclose(bad["bbox_normalized"], (0.1, 0.2, 0.3, 0.4))
    clean = run(folder.write(("../good.png", "thyroid_nodule_det", "detection", 1, "")), tmp_path / "two", tiny_weights)
    assert not clean.fallbacks
    assert load(tmp_path / "two", "detection") == [good]
    with Image.open(tmp_path / "out/Segmentation/a.png") as mask:
        assert mask.size == (256, 256)


def test_a_truncated_image_is_noted_and_not_a_fallback(folder, tiny_weights, tmp_path):
    data = (folder.root / "good.png").read_bytes()
    (folder.root / "cut.png").write_bytes(data[: len(data) * 3 // 4])
    report = run(folder.write(("../cut.png", "lung", "segmentation", 2, "../m.png")), tmp_path / "out", tiny_weights)
    assert not report.fallbacks
    assert "truncated" in report.notes[0]["note"]
    with Image.open(tmp_path / "out/m.png") as mask:
        assert mask.size == (90, 60)


@pytest.mark.parametrize(
    "mask_path",
    [
        "../../evil.png",
        "/etc/passwd",
        "../a/../../b.png",
        "../detection_predictions.json",
        "C:\\x.png",
        "..\\..\\x.png",
    ],
)
def test_escaping_mask_path_is_refused_before_any_work(folder, tiny_weights, tmp_path, mask_path):
    data = folder.write(("../good.png", "lung", "segmentation", 2, mask_path))
    with pytest.raises(PathError, match=r"rows.csv, line 2: mask_path"):
        run(data, tmp_path / "out", tiny_weights)
    assert not (tmp_path / "out").exists()


def test_mask_path_that_ends_in_jpg_is_lossless(folder, tiny_weights, tmp_path):
    run(folder.write(("../good.png", "cardiac_multi", "segmentation", 4, "../m.jpg")), tmp_path / "out", tiny_weights)
    with Image.open(tmp_path / "out/m.jpg") as mask:
        assert mask.format == "PNG"


def test_missing_mask_path_gets_the_documented_place(folder, tiny_weights, tmp_path):
    run(folder.write(("../good.png", "cardiac_multi", "segmentation", 4, "")), tmp_path / "out", tiny_weights)
    assert "Segmentation/Four/cardiac_multi/good.png" in files(tmp_path / "out")


def test_later_row_wins_a_contested_mask(folder, tiny_weights, tmp_path):
    rows = [(f"../{image}.png", "lung", "segmentation", 2, "../m.png") for image in ("good", "other")]
    report = run(folder.write(*rows), tmp_path / "out", tiny_weights)
    assert report.answered == 2
    assert [item["row"] for item in report.fallbacks] == ["rows.csv, line 2"]


def test_repeated_row_is_answered_once(folder, tiny_weights, tmp_path):
    row = ("../good.png", "organ_cls", "classification", 6, "")
    report = run(folder.write(row, row), tmp_path / "out", tiny_weights)
    assert (report.rows, report.duplicates, len(load(tmp_path / "out", "classification"))) == (1, 1, 1)


def test_unknown_task_gets_a_fallback_by_its_task_name(folder, tiny_weights, tmp_path):
    data = folder.write(("../good.png", "kidney_stone_det", "detection", 1, ""))
    report = run(data, tmp_path / "out", tiny_weights)
    assert "no task 'kidney_stone_det'" in report.fallbacks[0]["reason"]
    assert load(tmp_path / "out", "detection")[0]["bbox_normalized"] == [0.25, 0.25, 0.75, 0.75]


def test_wrong_num_classes_in_the_csv_does_not_matter(folder, tiny_weights, tmp_path):
    run(folder.write(("../good.png", "organ_cls", "classification", 99, "")), tmp_path / "out", tiny_weights)
    assert len(load(tmp_path / "out", "classification")[0]["predicted_probs"]) == 6


def test_header_only_is_valid(folder, tiny_weights, tmp_path):
    run(folder.write(), tmp_path / "out", tiny_weights)
    assert all(load(tmp_path / "out", kind) == [] for kind in SCHEMAS)


def test_manifest_errors_come_before_any_work(folder, tiny_weights, tmp_path):
    data = folder.write(("../good.png", "lung"), columns=("image_path", "task_id"))
    with pytest.raises(ManifestError, match=r"rows.csv lacks the column\(s\) task_name"):
        run(data, tmp_path / "out", tiny_weights)
    shutil.rmtree(data / "csv_files")
    with pytest.raises(ManifestError, match="csv_files"):
        run(data, tmp_path / "out", tiny_weights)
    assert not (tmp_path / "out").exists()


def test_links_out_of_the_output_folder_are_refused(folder, tiny_weights, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "Segmentation").symlink_to(tmp_path / "elsewhere")
    data = folder.write(("../good.png", "lung", "segmentation", 2, "../Segmentation/m.png"))
    with pytest.raises(PathError, match="leaves the output folder through a link"):
        run(data, tmp_path / "out", tiny_weights)
    assert not list((tmp_path / "elsewhere").iterdir())
