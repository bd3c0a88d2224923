"""A folder with planted faults: each is found, and the cleaned folder has none."""

import csv
import itertools
import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from phantoms import write_folder
from PIL import Image
from unit.training.data.scans import near_copy, scan, write_scans
from unit.training.recipes import TASKS, parts_of, tiny_config

from training.__main__ import main
from training.data.rows import DataSource
from training.inspection import Level, inspect_folder, summary_lines, write_clean_folder


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """Eight pictures of each kind, eight of them spoilt in different ways."""
    root = tmp_path_factory.mktemp("faulty") / "data"
    write_folder(root, seed=3, per_task=8, only=TASKS)

    def change(task_id, number, **cells):
        for path in (root / "csv_files").glob("*.csv"):
            with path.open(encoding="utf-8-sig", newline="") as stream:
                rows = list(csv.DictReader(stream))
            of_task = [row for row in rows if row["task_id"] == task_id]
            if of_task:
                of_task[number].update(cells)
                with path.open("w", encoding="utf-8", newline="") as stream:
                    writer = csv.DictWriter(stream, list(rows[0]))
                    writer.writeheader()
                    writer.writerows(rows)
                return of_task[number]
        raise AssertionError(task_id)

    def file(cell):
        return root / cell.removeprefix("../")

    change("breast_lesion_det", 0, x_min="900", x_max="950")
    change("breast_lesion_det", 1, x_min="-20")
    change("breast_lesion_det", 2, x_min="200", x_max="100")
    change("breast_lesion_det", 3, y_min="wide")
    change("breast_2cls", 4, mask="7")
    points = json.loads(change("fetal_head_biometry", 0)["point_1_xy"])
    change("fetal_head_biometry", 0, point_1_xy=change("fetal_head_biometry", 0)["point_2_xy"],
           point_2_xy=json.dumps(points))  # fmt: skip
    change("fetal_head_biometry", 1, point_3_xy="[5000, 2]")
    change("fetal_head_biometry", 2, point_4_xy="")
    file(change("fetal_head_biometry", 3)["image_path"]).write_bytes(b"no image")
    crumbs = file(change("breast_lesion", 4)["mask_path"])
    with Image.open(crumbs) as image:
        labels = np.array(image)
    for row, column in itertools.product((0, 1, 2), (0, 1, 2)):
        labels[row:72:6, column:72:6] = 1
    Image.fromarray(labels).save(crumbs, "PNG")
    mask = file(change("breast_lesion", 5)["mask_path"])
    with Image.open(mask) as image:
        Image.fromarray(np.asarray(image) * 3).save(mask, "PNG")
    Image.new("L", (7, 7)).save(file(change("breast_lesion", 6)["mask_path"]), "PNG")
    file(change("breast_lesion", 7)["mask_path"]).unlink()
    return root


EXPECTED = {
    ("error", "box outside the image"): 1,
    ("warning", "box extends beyond the image"): 1,
    ("error", "empty or upside-down box"): 1,
    ("error", "malformed truth"): 2,
    ("warning", "points out of order"): 1,
    ("error", "point outside the image"): 1,
    ("warning", "missing points"): 1,
    ("error", "unreadable image"): 1,
    ("error", "mask of another size"): 1,
    ("error", "unreadable mask"): 2,
    ("warning", "scattered class"): 1,
}
LEFT = {"points out of order", "missing points", "scattered class"}
"""What a row may be trained on with."""


def counts(inspection):
    found = {}
    for finding in inspection.findings:
        key = finding.level.value, finding.fault
        found[key] = found.get(key, 0) + 1
    return found


def test_every_planted_fault_is_found_and_nothing_else(faulty):
    assert counts(inspect_folder(faulty)) == EXPECTED


def test_the_summary_names_rows_and_counts(faulty):
    text = "\n".join(summary_lines(inspect_folder(faulty)))
    assert "ERROR: box outside the image: 1" in text
    assert "Det-One.csv, line 2 (breast_lesion_det): (900.0" in text
    assert "32 rows, 9 errors, 4 warnings" in text
    assert "? no 'group' column" in text


def test_a_sound_folder_has_no_errors(four_kinds):
    inspection = inspect_folder(four_kinds)
    assert not inspection.has_errors
    assert len(inspection.by_task) == len(TASKS)


def test_the_cleaned_folder_can_be_trained_on(faulty, tmp_path):
    kept = write_clean_folder(inspect_folder(faulty), tmp_path / "clean")
    assert kept == 32 - 9
    again = inspect_folder(tmp_path / "clean")
    assert counts(again) == {("warning", fault): 1 for fault in LEFT}
    clipped = [s for s in again.manifest.samples if s.cells.get("x_min") == "0"]
    assert len(clipped) == 1
    parts = parts_of(DataSource(tmp_path / "clean", tmp_path / "cache"), tiny_config())
    assert sum(len(part.samples) for part in parts) == kept


def test_what_two_folders_share_is_an_error(four_kinds, tmp_path):
    other = tmp_path / "val"
    write_folder(other, seed=9, per_task=2, only=("breast_2cls", "breast_lesion_det"))
    first = next(iter(inspect_folder(four_kinds).manifest.samples))
    target = next((other / "Segmentation").rglob("*.png"))
    shutil.copy(four_kinds / first.image_path.removeprefix("../"), target)
    shared = [f for f in inspect_folder(four_kinds, other).findings if f.fault == "image in both folders"]
    assert {f.sample.image_path for f in shared if f.sample} == {first.image_path}
    assert all(f.level is Level.ERROR for f in shared)


def test_the_same_image_with_two_labels_is_an_error(four_kinds, tmp_path):
    root = shutil.copytree(four_kinds, tmp_path / "data")
    rows = [s for s in inspect_folder(root).manifest.samples if s.task_id == "breast_2cls"]
    one = next(s for s in rows if s.cells["mask"] == "0")
    other = next(s for s in rows if s.cells["mask"] == "1")
    shutil.copy(root / one.image_path.removeprefix("../"), root / other.image_path.removeprefix("../"))
    faults = {f.fault: f for f in inspect_folder(root).findings}
    assert faults["same image, other label"].level is Level.ERROR


def test_the_command_draws_and_says_by_its_exit_code(faulty, tmp_path):
    def run(root, *more):
        return CliRunner().invoke(
            main, ["inspect", "--data-root", str(root), "--output", str(tmp_path / "out"), *map(str, more)]
        )

    bad = run(faulty, "--fix", tmp_path / "fixed")
    assert bad.exit_code == 1
    assert "unreadable mask: 2" in bad.output
    good = run(tmp_path / "fixed")
    assert good.exit_code == 0, good.output
    for name in ("overview", *TASKS):
        with Image.open(tmp_path / "out" / f"{name}.png") as picture:
            assert min(picture.size) > 200
    with (tmp_path / "out" / "findings.csv").open(encoding="utf-8", newline="") as stream:
        assert {row["fault"] for row in csv.DictReader(stream)} == LEFT


def test_near_copies_in_both_folders_are_an_error_and_are_cleaned_away(tmp_path):
    root = write_scans(tmp_path / "data", {"a": scan(1), "b": scan(2)}, {"a": "Anna"})
    val = write_scans(tmp_path / "val", {"x": near_copy(scan(1)), "y": scan(3)}, {"x": "Berta"})
    inspection = inspect_folder(root, val)
    (finding,) = [f for f in inspection.findings if f.fault == "near-copy in both folders"]
    assert (finding.level, finding.sample.image_path) == (Level.ERROR, "../a.png")
    assert "with ../x.png (a.csv, line 2), groups Anna and Berta" in finding.detail
    assert write_clean_folder(inspection, tmp_path / "clean") == 1


def test_near_copies_in_one_folder_are_warnings_with_a_picture(tmp_path):
    pictures = {"a": scan(1), "a again": near_copy(scan(1)), "b": scan(2), "b again": near_copy(scan(2)), "c": scan(3)}
    root = write_scans(tmp_path / "data", pictures, {"a": "Anna", "a again": "Berta"})
    result = CliRunner().invoke(main, ["inspect", "--data-root", str(root), "--output", str(tmp_path / "out")])
    assert result.exit_code == 0
    assert "WARNING: near-copies in two groups: 1" in result.output
    assert "WARNING: near-copies joined into a group: 1" in result.output
    assert "near-copies: the largest group that training keeps together has 2 images" in result.output
    with (tmp_path / "out" / "findings.csv").open(encoding="utf-8", newline="") as stream:
        rows = {row["fault"]: row for row in csv.DictReader(stream)}
    pair = rows["near-copies in two groups"]
    assert {"../a.png", "../a again.png"} == {pair["image_path"], pair["detail"].split(" with ")[1].split(" (")[0]}
    with Image.open(tmp_path / "out" / "near_copies.png") as picture:
        assert min(picture.size) > 200


def test_there_is_no_picture_of_near_copies_where_there_are_none(tmp_path):
    root = write_scans(tmp_path / "data", {"a": scan(1), "b": scan(2)})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "near_copies.png").write_bytes(b"of an inspection before")
    result = CliRunner().invoke(main, ["inspect", "--data-root", str(root), "--output", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "out" / "near_copies.png").exists()
