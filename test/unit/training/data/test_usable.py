"""What makes a row unusable: the list, and that `inspect`, `--fix` and `train` go by it alike."""

import csv
import json
import re
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image
from unit.training.recipes import parts_of, tiny_config

from challenge.errors import ManifestError, UserError
from challenge.manifest import Manifest, Row, Sample, read_manifest
from challenge.tasks import TaskKind
from training.data import rows as training_rows
from training.data.row_files import Reading, Unread
from training.data.rows import DataSource
from training.data.usable import errors, faulty
from training.inspection import checks as training_checks
from training.inspection import inspect_folder, write_clean_folder

WIDTH, HEIGHT = 40, 30
SIZE = WIDTH, HEIGHT
DETECTION, REGRESSION = TaskKind.DETECTION, TaskKind.REGRESSION


def sample(kind: TaskKind, line: int = 2, num_classes: int = 2, image: str = "../images/a.png", **cells: str) -> Sample:
    mask = PurePosixPath("masks/a.png") if kind is TaskKind.SEGMENTATION else None
    return Sample(image, "own", kind, num_classes, Row("a.csv", line), mask, cells)


def box(x0: object, y0: object, x1: object, y1: object, **more: object) -> Sample:
    return sample(DETECTION, x_min=f"{x0}", y_min=f"{y0}", x_max=f"{x1}", y_max=f"{y1}", **more)


def points(*texts: str) -> Sample:
    return sample(REGRESSION, **{f"point_{number}_xy": text for number, text in enumerate(texts, 1)})


def faults(row: Sample, reading: Reading | None = None) -> list[str]:
    return [str(error) for error in errors(Manifest((row,)), {row: reading or Reading(SIZE, SIZE)})]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (box(5, 5, 5, 20), "empty or upside-down box"),
        (box(20, 5, 10, 20), "empty or upside-down box"),
        (box(40, 5, 50, 20), r"box outside the image: \(40.0, 5.0, 50.0, 20.0\) in 40x30 pixels"),
        (box(0.2, 0.3, 0.6, 0.7), "box not in pixels: .*write boxes in pixels of the image"),
        (box(-0.01, 0.3, 1.02, 0.7), "box not in pixels"),
        (box("wide", 5, 10, 20), "malformed truth: the box"),
        (box("12,5", 5, 10, 20), "malformed truth: .* '12,5' has a decimal comma; write 12.5"),
        (points("[41, 5]", "[3, 4]"), r"point outside the image: \(41.0, 5.0\) in 40x30 pixels"),
        (points("[0.5, 0.25]", "[0.1, 0.9]"), "points not in pixels: .*write points in pixels of the image"),
        (points("(1, 2)", "[3, 4]"), "malformed truth: point_1_xy"),
        (points("[12,5, 3,5]", "[3, 4]"), "malformed truth: .* '12,5' has a decimal comma"),
        (sample(TaskKind.CLASSIFICATION, mask="2"), "malformed truth: the label '2' is not a class in 0..1"),
        (sample(TaskKind.CLASSIFICATION, mask="1,0"), "malformed truth: .* '1,0' has a decimal comma; write 1.0"),
    ],
)
def test_cells_that_cannot_be_trained_on(row, fault):
    (found,) = faults(row)
    assert found.startswith("a.csv, line 2: ")
    assert found.count("a.csv") == 1
    assert re.search(fault, found), found


@pytest.mark.parametrize(
    "row",
    [
        box(-5, 5, 60, 20),
        box(0, 0, 2, 2),
        box("", 5, 10, 20),
        points("[0, 0]", "[40, 30]"),
        points("[0.5, 0.5]", "[3, 4]"),
        points("", ""),
        sample(TaskKind.CLASSIFICATION, mask="1"),
        sample(TaskKind.CLASSIFICATION),
        sample(TaskKind.SEGMENTATION),
    ],
)
def test_cells_that_are_no_error(row):
    assert not faults(row)


def test_files_that_cannot_be_trained_on():
    row = sample(TaskKind.SEGMENTATION)
    assert faults(row, Reading(Unread("no such file"))) == ["a.csv, line 2: unreadable image: no such file"]
    assert faults(row, Reading(SIZE, Unread("holds 7"))) == ["a.csv, line 2: unreadable mask: holds 7"]
    assert faults(row, Reading(SIZE, (30, 40))) == [
        "a.csv, line 2: mask of another size: 30x40, the image has 40x30 pixels"
    ]


def repeated(first: Sample, *others: Sample) -> list[str]:
    manifest = Manifest((first,), others)
    return [str(error) for error in errors(manifest, {first: Reading(SIZE)})]


def test_a_repeated_row_is_an_error_where_it_says_something_else():
    first = sample(TaskKind.CLASSIFICATION, mask="0")
    assert not repeated(first, sample(TaskKind.CLASSIFICATION, 3, mask=" 0.0 "))
    assert repeated(first, sample(TaskKind.CLASSIFICATION, 3, mask="1")) == [
        "a.csv, line 2: two truths for one row: label 0, but label 1 in a.csv, line 3; remove one of the two"
    ]
    (two_boxes,) = repeated(box(1, 2, 30, 20), box(5, 6, 30, 20, line=4))
    assert "box (1.0, 2.0, 30.0, 20.0), but box (5.0, 6.0, 30.0, 20.0) in a.csv, line 4" in two_boxes
    (lost,) = repeated(sample(TaskKind.CLASSIFICATION), sample(TaskKind.CLASSIFICATION, 5, mask="1"))
    assert "label None, but label 1 in a.csv, line 5" in lost


def test_copies_of_an_image_with_two_labels_are_all_errors():
    rows = [
        sample(TaskKind.CLASSIFICATION, line, image=f"{line}.png", mask=mask) for line, mask in ((2, "0"), (3, "1"))
    ]
    copies = {row: Reading(SIZE, content="same") for row in rows}
    assert faulty(errors(Manifest(tuple(rows)), copies)) == set(rows)
    apart = {row: Reading(SIZE, content=row.image_path) for row in rows}
    assert not errors(Manifest(tuple(rows)), apart)


class Folder:
    """A data folder that a test fills row by row; every image is noise of its own."""

    def __init__(self, root: Path) -> None:
        self.root, self.rng, self.rows = root, np.random.default_rng(0), []
        for name in ("images", "masks", "csv_files"):
            (root / name).mkdir(parents=True)

    def add(self, name: str, task_id: str, kind: str, num_classes: int = 2, **cells: object) -> str:
        image = f"images/{name}.png"
        if not (self.root / image).exists():
            Image.fromarray(self.rng.integers(0, 255, (HEIGHT, WIDTH), np.uint8)).save(self.root / image)
        self.rows.append(
            {"image_path": f"../{image}", "task_id": task_id, "task_name": kind, "num_classes": num_classes, **cells}
        )
        return image

    def add_mask(self, name: str, mask: Image.Image, image: str | None = None, task: str = "breast_lesion", k: int = 2):
        path = self.root / "masks" / f"{name}.png"
        mask.save(path, "PNG")
        self.add(image or name, task, "segmentation", k, mask_path=f"../masks/{name}.png")

    def write(self) -> Path:
        columns = list(dict.fromkeys(column for row in self.rows for column in row))
        with (self.root / "csv_files" / "a.csv").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, columns, restval="")
            writer.writeheader()
            writer.writerows(self.rows)
        return self.root


def shape(top: int = 5, value: int = 1) -> np.ndarray:
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[top : top + 8, 10:25] = value
    return labels


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "data")


def load(root: Path, tmp_path: Path, **data: object):
    return parts_of(DataSource(root, tmp_path / "cache"), tiny_config(data={"dev_fraction": 0.3, **data}))


def kept_lines(parts) -> set[str]:
    return {Path(s.image_path).stem + " " + s.task_id for part in parts for s in part.samples}


@pytest.fixture
def spoilt(folder: Folder) -> Path:
    """Six sound rows of each kind, and every kind of fault."""
    for number in range(6):
        folder.add_mask(f"seg{number}", Image.fromarray(shape(number)))
        folder.add(f"cls{number}", "breast_2cls", "classification", mask=number % 2)
        folder.add(f"det{number}", "thyroid_nodule_det", "detection", 1, x_min=3, y_min=4, x_max=20 + number, y_max=20)
        folder.add(f"pts{number}", "FUGC", "Regression", point_1_xy=json.dumps([number + 2, 9]), point_2_xy="[30, 12]")
    noise = folder.rng.integers(0, 255, (HEIGHT, WIDTH), np.uint8)
    one_hot = np.dstack([1 - shape(), shape(), 0 * shape()])
    alpha = np.dstack([0 * shape()] * 3 + [shape(value=255)])
    for name, mask in {
        "bad_range": Image.fromarray(shape(value=7)),
        "bad_smooth": Image.fromarray(noise),
        "bad_onehot": Image.fromarray(one_hot),
        "bad_alpha": Image.fromarray(alpha),
        "bad_size": Image.new("L", (9, 9)),
    }.items():
        folder.add_mask(name, mask)
    folder.add("bad_missing", "breast_lesion", "segmentation", mask_path="../masks/none.png")
    (folder.root / folder.add("bad_image", "breast_2cls", "classification", mask=1)).write_bytes(b"no image")
    folder.add("bad_label", "breast_2cls", "classification", mask=5)
    folder.add("bad_conflict", "breast_2cls", "classification", mask=0)
    folder.add("bad_conflict", "breast_2cls", "classification", mask=1)
    copy = folder.root / folder.add("bad_copy", "breast_2cls", "classification", mask=0)
    (folder.root / folder.add("bad_twin", "breast_2cls", "classification", mask=1)).write_bytes(copy.read_bytes())
    for name, cells in {
        "bad_upside": (20, 4, 3, 20),
        "bad_outside": (400, 4, 500, 20),
        "bad_share": (0.1, 0.2, 0.6, 0.7),
        "bad_comma": ("3,5", 4, 20, 20),
    }.items():
        corners = dict(zip(("x_min", "y_min", "x_max", "y_max"), cells, strict=True))
        folder.add(name, "thyroid_nodule_det", "detection", 1, **corners)
    for right in (20, 30):
        folder.add("bad_twice", "thyroid_nodule_det", "detection", 1, x_min=3, y_min=4, x_max=right, y_max=20)
    folder.add("bad_far", "FUGC", "Regression", point_1_xy="[400, 2]", point_2_xy="[3, 4]")
    folder.add("bad_point_share", "FUGC", "Regression", point_1_xy="[0.4, 0.2]", point_2_xy="[0.3, 0.4]")
    folder.add("bad_json", "FUGC", "Regression", point_1_xy="4 2", point_2_xy="[3, 4]")
    return folder.write()


def test_inspect_fix_and_train_agree(spoilt, tmp_path):
    inspection = inspect_folder(spoilt)
    lost = {s.image_path for s in faulty(inspection.findings)}
    assert lost == {s.image_path for s in inspection.manifest.samples if "bad_" in s.image_path}

    with pytest.raises(
        UserError, match=rf"\({len(lost)} such rows\); train on what `python -m training inspect --fix`"
    ):
        load(spoilt, tmp_path)
    skipped = load(spoilt, tmp_path, skip_unreadable=True)
    write_clean_folder(inspection, tmp_path / "clean")
    fixed = load(tmp_path / "clean", tmp_path)
    assert kept_lines(skipped) == kept_lines(fixed)
    assert len(kept_lines(fixed)) == 24
    assert not inspect_folder(tmp_path / "clean").has_errors


@pytest.mark.parametrize(
    ("kind", "classes", "column"), [("segmentation", 2, "task_name"), ("classification", 4, "num_classes")]
)
def test_a_task_of_two_kinds_or_sizes_ends_the_run_with_both_lines(folder, tmp_path, kind, classes, column):
    folder.add("a", "my_task", "classification", 2, mask=0)
    folder.add("b", "my_task", kind, classes, mask=1)
    root = folder.write()
    for read in (inspect_folder, lambda path: load(path, tmp_path)):
        with pytest.raises(ManifestError, match=rf"a.csv, line 3: .*{column}.* in a.csv, line 2; give all"):
            read(root)


def test_masks_in_other_encodings_teach_the_same(folder, tmp_path, caplog):
    palette = Image.fromarray(1 - shape(), "P")
    palette.putpalette([255, 255, 255, 0, 0, 0])
    folder.add_mask("plain", Image.fromarray(shape()))
    folder.add_mask("white", Image.fromarray(shape(value=255)))
    folder.add_mask("wide", Image.fromarray(shape() * np.uint16(257)))
    folder.add_mask("palette", palette)
    train, dev = load(folder.write(), tmp_path)
    rows = [(part.store, s) for part in (train, dev) for s in part.samples]
    masks = [store.mask(s) for store, s in rows]
    assert len(masks) == 4
    for mask in masks:
        np.testing.assert_array_equal(mask, masks[0])
    assert masks[0].any()
    assert "0 and 255 were read as classes 0 and 1" in caplog.text
    np.testing.assert_array_equal(rows[0][0].native_mask(rows[0][1]), shape())


def test_a_mask_is_read_by_the_class_count_of_its_task(folder, tmp_path):
    """The same file serves two tasks; what the cache holds of one must not answer for the other."""
    folder.add_mask("a", Image.fromarray(shape(value=255)))
    root = folder.write()
    train, _ = load(root, tmp_path)
    assert train.store.mask(train.samples[0]).max() == 1
    folder.add("a", "own_three", "segmentation", 3, mask_path="../masks/a.png")
    with pytest.raises(UserError, match=r"line 3: unreadable mask: a.png: the mask holds 0, 255, the classes are 0..2"):
        load(folder.write(), tmp_path)


def two_masks(folder: Folder, monkeypatch, first: np.ndarray, second: np.ndarray) -> Path:
    """One image and task with two rows, each with a mask: a lesion each."""
    folder.add_mask("other", Image.fromarray(shape()))
    folder.add_mask("a", Image.fromarray(first), task="own_three", k=3)
    folder.add_mask("a_1", Image.fromarray(second), image="a", task="own_three", k=3)
    root = folder.write()
    found = read_manifest(root)
    both = Manifest(tuple(sorted({*found.samples, *found.repeated}, key=lambda s: s.row.line)))
    for module in (training_rows, training_checks):
        monkeypatch.setattr(module, "read_rows", lambda _: both)
    return root


def test_masks_of_one_image_are_joined_and_told(folder, tmp_path, monkeypatch, caplog):
    root = two_masks(folder, monkeypatch, shape(2), shape(18, value=2))
    train, dev = load(root, tmp_path)
    rows = [(part.store, s) for part in (train, dev) for s in part.samples if s.task_id == "own_three"]
    assert len(rows) == 1
    store, row = rows[0]
    np.testing.assert_array_equal(store.native_mask(row), shape(2) + shape(18, value=2))
    assert set(np.unique(store.mask(row))) == {0, 1, 2}
    assert "2 masks of one image were joined" in caplog.text
    told = [f for f in inspect_folder(root).findings if "2 masks of one image were joined" in f.detail]
    assert [f.sample.row.line for f in told if f.sample] == [3, 4]


def test_masks_of_one_image_that_contradict_are_an_error_of_both_rows(folder, tmp_path, monkeypatch):
    root = two_masks(folder, monkeypatch, shape(2), shape(4, value=2))
    with pytest.raises(UserError, match=r"line 3: unreadable mask: .*different classes.*\(2 such rows\)"):
        load(root, tmp_path)
    assert {s.row.line for s in faulty(inspect_folder(root).findings)} == {3, 4}
