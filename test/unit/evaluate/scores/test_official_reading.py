"""The official column for masks, paths and cells that the organisers' script reads in unexpected ways."""

import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from unit.evaluate.answers import FILES
from unit.evaluate.folders import HEIGHT, WIDTH, read_csv, write_csv
from unit.evaluate.official import official_scores
from unit.evaluate.scores.test_scoring import assert_equals_official, result, value

from challenge.readers import SubmissionError
from challenge.tasks import TaskKind
from evaluate.scores.metric_table import Column
from evaluate.scores.result import Result

TASK = "carotid_artery"
NAME = f"masks/{TASK}/case (0).png"
Labels = np.ndarray
Writer = Callable[[Path, Labels], None]

PALETTE = [0, 0, 0, 9, 0, 0, 2, 2, 2, 255, 255, 255]


def saved(form: str, change: Callable[[Labels], Labels] = lambda labels: labels, **options: object) -> Writer:
    return lambda path, labels: Image.fromarray(change(labels)).save(path, form, **options)


def turned(orientation: int) -> bytes:
    table = Image.Exif()
    table[274] = orientation
    return table.tobytes()


def in_palette(path: Path, labels: Labels, form: str = "PNG") -> None:
    image = Image.fromarray(labels, "P")
    image.putpalette(PALETTE)
    image.save(path, form)


def stacked(*planes: Callable[[Labels], Labels]) -> Callable[[Labels], Labels]:
    return lambda labels: np.stack([plane(labels) for plane in planes], axis=2).astype(np.uint8)


def same(labels: Labels) -> Labels:
    return labels


def scaled(factor: int) -> Callable[[Labels], Labels]:
    return lambda labels: labels * np.uint8(factor)


def opaque(labels: Labels) -> Labels:
    return np.full_like(labels, 255)


WRITERS: dict[str, Writer] = {
    "8 bits": saved("PNG"),
    "1 bit": saved("PNG", lambda labels: labels > 0),
    "1 bit TIFF": saved("TIFF", lambda labels: labels > 0, compression="group4"),
    "1 bit BMP": saved("BMP", lambda labels: labels > 0),
    "0 and 255": saved("PNG", scaled(255)),
    "16 bits, 8 used": saved("PNG", lambda labels: labels.astype(np.uint16)),
    "16 bits, times 257": saved("PNG", lambda labels: labels.astype(np.uint16) * 257),
    "16 bits TIFF": saved("TIFF", lambda labels: labels.astype(np.uint16) * 256),
    "palette": in_palette,
    "palette GIF": lambda path, labels: in_palette(path, labels, "GIF"),
    "palette BMP": lambda path, labels: in_palette(path, labels, "BMP"),
    "grey in colour": saved("PNG", stacked(same, same, same)),
    "red": saved("PNG", stacked(scaled(255), scaled(0), scaled(0))),
    "dark red BMP": saved("BMP", stacked(scaled(3), scaled(0), scaled(0))),
    "colour and alpha": saved("PNG", stacked(same, same, same, opaque)),
    "all in alpha": saved("PNG", stacked(scaled(0), scaled(0), scaled(0), scaled(255))),
    "grey and alpha": saved("PNG", stacked(same, opaque)),
    "TIFF": saved("TIFF", compression="tiff_lzw"),
    "TIFF, white is 0": saved("TIFF", tiffinfo={262: 0}),
    "BMP": saved("BMP"),
    "GIF": saved("GIF"),
    "JPEG": saved("JPEG", scaled(120), quality=90),
    "JPEG turned": saved("JPEG", exif=turned(6), quality=100),
    "PNG turned": saved("PNG", exif=turned(6)),
    "PNG mirrored": saved("PNG", exif=turned(2)),
    "WebP turned": saved("WEBP", stacked(same, same, same), lossless=True, exif=turned(3)),
    "TIFF turned": saved("TIFF", tiffinfo={274: 3}),
    "TIFF on its side": saved("TIFF", tiffinfo={274: 6}),
    "larger": saved("PNG", lambda labels: labels.repeat(2, axis=0).repeat(3, axis=1)),
    "smaller": saved("PNG", lambda labels: labels[::2, ::3]),
    "half a PNG": lambda path, labels: path.write_bytes(_png(labels)[:60]) and None,
    "three classes": saved("PNG", lambda labels: labels * np.uint8(2)),
    "smoothed": saved("PNG", lambda labels: labels * np.uint8(200) + np.roll(labels, 1, 1) * np.uint8(50)),
}


def _png(labels: Labels) -> bytes:
    head = struct.pack(">IIBBBBB", labels.shape[1], labels.shape[0], 8, 0, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in labels))
    chunks = [(b"IHDR", head), (b"IDAT", body), (b"IEND", b"")]
    packed = [struct.pack(">I", len(b)) + n + b + struct.pack(">I", zlib.crc32(n + b)) for n, b in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def rewrite(folder: Path, writer: Writer, count: int = 12) -> None:
    """Rewrite the first masks of the task in another form, under the same names."""
    for index in range(count):
        path = folder / f"masks/{TASK}/case ({index}).png"
        with Image.open(path) as image:
            labels = np.array(image)
        path.unlink()
        writer(path, labels)


@pytest.fixture
def few(own_data: Path) -> Path:
    """The data folder with three tasks of it."""
    for name in ("breast_2cls", "breast_3cls", "cardiac_multi"):
        (own_data / "csv_files" / f"{name}.csv").unlink()
    return own_data


@pytest.mark.parametrize("name", WRITERS)
def test_true_masks_of_every_form(name: str, few: Path, spoilt: Path) -> None:
    rewrite(few, WRITERS[name])
    assert_equals_official(result(few, spoilt), few, spoilt)


@pytest.mark.parametrize("name", WRITERS)
def test_predicted_masks_of_every_form(name: str, few: Path, spoilt: Path, tmp_path: Path) -> None:
    answers = Path(shutil.copytree(spoilt, tmp_path / "answers"))
    rewrite(answers, WRITERS[name])
    assert_equals_official(result(few, answers), few, answers)


def notes(found: Result) -> str:
    return " | ".join(found.tasks[TASK].notes)


@pytest.mark.parametrize(
    ("name", "official", "says"),
    [
        ("1 bit", 0.0, "grey values, which are not its classes"),
        ("0 and 255", 0.0, "0 and 255 were read as classes 0 and 1"),
        ("palette", 0.0, "grey values, which are not its classes"),
        ("grey in colour", 1.0, ""),
        ("PNG turned", None, "orientation"),
    ],
)
def test_strict_uses_the_classes_and_notes_where_official_does_not(
    name: str, official: float | None, says: str, few: Path, exact: Path
) -> None:
    rewrite(few, WRITERS[name])
    found = result(few, exact)
    assert value(found, TASK, "DSC", Column.STRICT) == 1.0
    if official is not None:
        assert value(found, TASK, "DSC") == official
    assert says in notes(found)
    assert bool(notes(found)) == bool(says)


def test_a_true_mask_with_uncertain_classes_counts_only_officially(few: Path, exact: Path) -> None:
    rewrite(few, WRITERS["smoothed"], count=2)
    found = result(few, exact)
    assert found.tasks[TASK].counts.no_truth == 2
    assert value(found, TASK, "DSC", Column.STRICT) == 1.0
    assert value(found, TASK, "DSC") == pytest.approx(10 / 12)
    assert "official scores them, strict leaves them out" in notes(found)
    assert_equals_official(found, few, exact)


def cells(few: Path, change: Callable[[dict[str, str]], None]) -> None:
    path = few / "csv_files" / f"{TASK}.csv"
    rows = read_csv(path)
    for row in rows:
        change(row)
    write_csv(path, rows)


@pytest.mark.parametrize(
    ("folder", "is_told"),
    [("Dr. X..", True), ("a/..b", False), ("dots...", True), ("....", True), ("plain", False)],
)
def test_every_dot_dot_slash_of_mask_path_is_removed(
    folder: str, is_told: bool, few: Path, exact: Path, tmp_path: Path
) -> None:
    answers = Path(shutil.copytree(exact, tmp_path / "answers"))
    for root in (few, answers):
        (root / folder).mkdir(parents=True)
        for index in range(12):
            shutil.move(root / f"masks/{TASK}/case ({index}).png", root / folder)
    cells(few, lambda row: row.update(mask_path=row["mask_path"].replace(f"masks/{TASK}", folder)))
    found = result(few, answers)
    assert value(found, TASK, "DSC", Column.STRICT) == 1.0
    assert ("looks for the mask elsewhere" in notes(found)) == is_told
    assert_equals_official(found, few, answers)


def test_a_mask_path_without_dot_dot_slash_is_looked_up_in_csv_files(few: Path, exact: Path) -> None:
    cells(few, lambda row: row.update(mask_path=row["mask_path"].removeprefix("../")))
    found = result(few, exact)
    assert value(found, TASK, "DSC", Column.STRICT) == 1.0
    assert Column.OFFICIAL not in found.tasks[TASK].metrics.get("DSC", {})
    assert "cannot read the true mask at its mask_path" in notes(found)
    assert_equals_official(found, few, exact)


def test_rows_without_a_mask_path_are_left_out(few: Path, exact: Path, tmp_path: Path) -> None:
    answers = Path(shutil.copytree(exact, tmp_path / "answers"))
    for root in (few, answers):
        shutil.copytree(root / f"masks/{TASK}", root / f"Segmentation/Two/{TASK}")
    cells(few, lambda row: row.update(mask_path="" if "(0)" in row["image_path"] else row["mask_path"]))
    found = result(few, answers)
    assert found.tasks[TASK].counts.answered == 12
    assert "has no mask_path" in notes(found)
    assert_equals_official(found, few, answers)


@pytest.mark.parametrize(
    ("task_id", "text"), [(TASK, "Segmentation"), ("thyroid_nodule_det", "detection "), ("FUGC", "regression")]
)
def test_a_task_name_in_another_case_is_skipped(task_id: str, text: str, few: Path, spoilt: Path) -> None:
    path = few / "csv_files" / f"{task_id}.csv"
    write_csv(path, [row | {"task_name": text} for row in read_csv(path)])
    found = result(few, spoilt)
    assert task_id not in official_scores(few, spoilt)
    assert_equals_official(found, few, spoilt)
    assert found.tasks[task_id].counts.answered == 12
    assert any(repr(text) in note and "skips the task" in note for note in found.notes)


@pytest.mark.parametrize("kind", FILES)
def test_a_byte_order_mark_ends_the_official_script_and_is_refused(
    kind: TaskKind, data: Path, submission: Path
) -> None:
    file = submission / FILES[kind]
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    with pytest.raises(json.JSONDecodeError):
        official_scores(data, submission)
    with pytest.raises(SubmissionError, match=rf"{FILES[kind]}.*byte order mark"):
        result(data, submission)


def cut(path: Path, labels: Labels) -> None:
    Image.fromarray(labels * np.uint8(100)).save(path, "JPEG", quality=100)
    path.write_bytes(path.read_bytes()[:-150])


@pytest.mark.parametrize(
    ("writer", "says"),
    [
        (saved("GIF", transparency=0), "the mask may read otherwise in the official script"),
        (cut, "the official script may read it all the same"),
    ],
    ids=["GIF with transparency", "JPEG cut"],
)
def test_readings_that_cannot_be_reproduced_are_reported(
    writer: Writer, says: str, few: Path, exact: Path, tmp_path: Path
) -> None:
    answers = Path(shutil.copytree(exact, tmp_path / "answers"))
    rewrite(answers, writer, count=1)
    assert says in notes(result(few, answers))
    rewrite(few, writer, count=1)
    assert "the true mask may read otherwise in the official script" in notes(result(few, exact))


@pytest.mark.parametrize("factor", [5, 20])
def test_hausdorff_of_a_wrong_mask_of_another_size_is_on_the_true_masks_grid(
    factor: int, few: Path, exact: Path, tmp_path: Path
) -> None:
    """A prediction in another place, so that no distance is 0, at sizes where a pixel of its own grid means another."""
    answers = Path(shutil.copytree(exact, tmp_path / "answers"))
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[30:40, 2:30] = 1
    large = labels.repeat(factor, axis=0).repeat(factor, axis=1)
    rewrite(answers, lambda path, _: Image.fromarray(large).save(path))
    found = result(few, answers)
    official = official_scores(few, answers)[TASK]
    assert 0 < official["HD"] < WIDTH
    assert value(found, TASK, "HD") == pytest.approx(official["HD"], abs=1e-6)
    assert value(found, TASK, "HD", Column.STRICT) == pytest.approx(official["HD"], abs=1e-6)
    assert value(found, TASK, "DSC") == pytest.approx(official["DSC"], abs=1e-6)


def test_a_mask_far_larger_than_its_image_is_not_decoded(few: Path, submission: Path) -> None:
    Image.fromarray(np.zeros((5000, 5000), np.uint8)).save(submission / NAME)
    found = result(few, submission)
    assert found.tasks[TASK].counts.missing == 1
    assert "5000x5000 pixels" in notes(found)
