"""`check` finds each defect that costs a submission its score; `pack` puts the files at the zip's root."""

import json
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from unit.evaluate.answers import FILES
from unit.evaluate.folders import HEIGHT, WIDTH, read_csv, write_csv

from challenge.readers import SubmissionError
from challenge.tasks import TaskKind
from evaluate.submission.check import Findings, check
from evaluate.submission.packing import pack, verify

MASK = "masks/carotid_artery/case (0).png"
CLASSES, BOXES, POINTS = (FILES[kind] for kind in (TaskKind.CLASSIFICATION, TaskKind.DETECTION, TaskKind.REGRESSION))

Entries = list[dict[str, Any]]
Breakage = Callable[[Path], object]


def edited(name: str, change: Callable[[Entries], object]) -> Breakage:
    """Return what edits one JSON file of a submission."""

    def apply(folder: Path) -> None:
        entries = json.loads((folder / name).read_text())
        change(entries)
        (folder / name).write_text(json.dumps(entries))

    return apply


def mask(labels: np.ndarray, mode: str = "L", form: str = "PNG", **options: Any) -> Breakage:
    return lambda folder: Image.fromarray(labels).convert(mode).save(folder / MASK, format=form, **options)


def turned(orientation: int) -> bytes:
    table = Image.Exif()
    table[274] = orientation
    return table.tobytes()


def replaced(name: str, old: bytes, new: bytes) -> Breakage:
    """Return what replaces the first bytes `old` of a file."""
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes().replace(old, new, 1))


EMPTY = np.zeros((HEIGHT, WIDTH), np.uint8)


ERRORS: list[tuple[str, Breakage, str]] = [
    ("the mask is missing", lambda folder: (folder / MASK).unlink(), MASK),
    ("not readable as an image", lambda folder: (folder / MASK).write_bytes(b"GIF"), MASK),
    ("size of the original", mask(np.zeros((HEIGHT, WIDTH + 1), np.uint8)), MASK),
    ("size of the original", mask(np.zeros((WIDTH, HEIGHT), np.uint8)), MASK),
    ("values above 1", mask(np.full((HEIGHT, WIDTH), 255, np.uint8)), MASK),
    ("palette", mask(np.zeros((HEIGHT, WIDTH), np.uint8), "P"), MASK),
    ("mode RGB", mask(np.zeros((HEIGHT, WIDTH), np.uint8), "RGB"), MASK),
    ("JPEG", mask(np.zeros((HEIGHT, WIDTH), np.uint8), form="JPEG"), MASK),
    ("mode RGBA", mask(EMPTY, "RGBA"), MASK),
    ("1-bit", mask(EMPTY, "1"), MASK),
    ("16-bit", mask(EMPTY, "I;16"), MASK),
    ("orientation tag 6", mask(EMPTY, exif=turned(6)), MASK),
    ("orientation tag 3", mask(EMPTY, exif=turned(3)), MASK),
    ("orientation tag 2", mask(EMPTY, form="TIFF", tiffinfo={274: 2}), MASK),
    ("30000x30000 pixels", lambda folder: bomb(folder / MASK, 30000), MASK),
    ("9000x9000 pixels", lambda folder: bomb(folder / MASK, 9000), MASK),
    ("not readable as an image", lambda folder: (folder / MASK).write_bytes((folder / MASK).read_bytes()[:-12]), MASK),
    ("byte order mark", replaced(BOXES, b"[", b"\xef\xbb\xbf["), BOXES),
    ("is not JSON", lambda folder: (folder / BOXES).write_bytes("[]".encode("utf-16")), BOXES),
    ("is not JSON", lambda folder: (folder / BOXES).write_bytes(b'["\xff"]'), BOXES),
    ("a key stands twice", replaced(BOXES, b'{"image_path"', b'{"bbox_pixels": [0, 0, 1, 1], "image_path"'), "entry 1"),
    ("more than 64 bits", edited(CLASSES, lambda entries: entries[0].update(predicted_class=10**30)), "entry 1"),
    ("finite", edited(CLASSES, lambda entries: entries[0].update(predicted_probs=[float("inf"), 0])), "entry 1"),
    ("finite", edited(POINTS, lambda entries: entries[0].update(predicted_points_pixels=[1, 2, 3, None])), "entry 1"),
    ("1 probabilities for 2", edited(CLASSES, lambda entries: entries[0].update(predicted_probs=[1])), "entry 1"),
    ("'task_id' is missing", edited(CLASSES, lambda entries: entries[0].pop("task_id")), "entry 1"),
    ("the file is missing", lambda folder: (folder / BOXES).unlink(), BOXES),
    ("is not JSON", lambda folder: (folder / BOXES).write_text("[{"), BOXES),
    ("holds no list", lambda folder: (folder / BOXES).write_text("{}"), BOXES),
    ("has no entry", edited(BOXES, lambda entries: entries.pop(3)), "thyroid_nodule_det.csv, line 5"),
    (
        "a later entry answers the same row",
        edited(BOXES, lambda entries: entries.append(entries[0])),
        f"{BOXES}, entry 1",
    ),
    ("no csv row", edited(BOXES, lambda entries: entries.append(entries[0] | {"task_id": "x"})), f"{BOXES}, entry 13"),
    ("finite", edited(BOXES, lambda entries: entries[1].update(bbox_pixels=[0, 0, 1, float("nan")])), "entry 2"),
    ("upside down", edited(BOXES, lambda entries: entries[1]["bbox_pixels"].reverse()), f"{BOXES}, entry 2"),
    (
        "bbox_normalized is outside 0..1",
        edited(BOXES, lambda e: e[1].update(bbox_normalized=[0, 0, 1.5, 1], bbox_pixels=[0, 0, 96, 48])),
        f"{BOXES}, entry 2",
    ),
    (
        "contradict",  # pixels of the network's grid instead of the image's
        edited(BOXES, lambda entries: entries[1].update(bbox_pixels=[v * 4 for v in entries[1]["bbox_pixels"]])),
        f"{BOXES}, entry 2",
    ),
    (
        "2 numbers for 2 points",
        edited(
            POINTS,
            lambda entries: entries[0].update(predicted_points_pixels=[1, 2], predicted_points_normalized=[0, 0]),
        ),
        f"{POINTS}, entry 1",
    ),
    (
        "contradict",
        edited(POINTS, lambda entries: entries[0].update(predicted_points_normalized=[0, 0, 0, 0])),
        f"{POINTS}, entry 1",
    ),
    ("3 probabilities for 2", edited(CLASSES, lambda entries: entries[0].update(predicted_probs=[0, 0, 1])), "entry 1"),
    ("outside 0..1", edited(CLASSES, lambda entries: entries[0].update(predicted_class=7)), f"{CLASSES}, entry 1"),
    ("a probability", edited(CLASSES, lambda entries: entries[0].update(predicted_probs=[1.5, -0.5])), "entry 1"),
    ("sum to 1", edited(CLASSES, lambda entries: entries[0].update(predicted_probs=[0.6, 0.39998])), "entry 1"),
    ("integer", edited(CLASSES, lambda entries: entries[0].update(predicted_class=None)), f"{CLASSES}, entry 1"),
    ("journal", lambda folder: (folder / ".journal").write_text("{}"), ".journal"),
]


def bomb(path: Path, side: int) -> None:
    """A small file whose header claims a huge picture."""
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    packed = [struct.pack(">I", len(b)) + n + b + struct.pack(">I", zlib.crc32(n + b)) for n, b in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))


WARNINGS: list[tuple[str, Breakage]] = [
    (
        "no area",
        edited(
            BOXES,
            lambda entries: entries[0].update(
                bbox_pixels=[5, 6, 5, 40], bbox_normalized=[5 / 64, 6 / 48, 5 / 64, 40 / 48]
            ),
        ),
    ),
    (
        "outside the image",
        edited(
            POINTS,
            lambda entries: entries[0].update(
                predicted_points_pixels=[-6.4, 4.8, 0, 0], predicted_points_normalized=[-0.1, 0.1, 0, 0]
            ),
        ),
    ),
    ("off by more than 1e-6", edited(CLASSES, lambda entries: entries[0].update(predicted_probs=[0.6, 0.399995]))),
    ("not the most probable", edited(CLASSES, lambda entries: entries[0].update(predicted_class=1))),
    ("does not belong to any csv row", lambda folder: (folder / "notes.txt").write_text("")),
]


def only(problems: dict[str, list[str]]) -> tuple[str, str]:
    """The one problem that was found, and its place."""
    assert len(problems) == 1, problems
    [(problem, places)] = problems.items()
    assert len(places) == 1
    return problem, places[0]


def test_truth_is_valid(data: Path, exact: Path) -> None:
    findings = check(data, exact)
    assert findings == Findings(files=findings.files, rows=72)
    assert len(findings.files) == 24 + 3


@pytest.mark.parametrize(("says", "broken", "place"), ERRORS)
def test_errors(data: Path, submission: Path, says: str, broken: Breakage, place: str) -> None:
    broken(submission)
    findings = check(data, submission)
    # A file that cannot be read at all leaves its rows unanswered too; nothing else may be found.
    problem, found = only({key: value for key, value in findings.errors.items() if says in key})
    assert place in found
    assert not findings.warnings
    assert set(findings.errors) <= {problem, *(key for key in findings.errors if "has no entry" in key)}


@pytest.mark.parametrize(("says", "broken"), WARNINGS)
def test_warnings_leave_it_valid(data: Path, submission: Path, says: str, broken: Breakage) -> None:
    broken(submission)
    findings = check(data, submission)
    assert not findings.errors
    assert says in only(findings.warnings)[0]


def test_no_truth_is_needed(own_data: Path, submission: Path) -> None:
    shutil.rmtree(own_data / "masks")
    for path in (own_data / "csv_files").iterdir():
        keep = ("image_path", "task_id", "task_name", "num_classes", "mask_path")
        write_csv(path, [{name: row[name] for name in keep if name in row} for row in read_csv(path)])
    assert not check(own_data, submission).errors


Cells = list[dict[str, str]]


def renamed(old: str, new: str) -> Callable[[Cells], Cells]:
    return lambda rows: [{new if name == old else name: cell for name, cell in row.items()} for row in rows]


def filled(column: str, text: str) -> Callable[[Cells], Cells]:
    return lambda rows: [row | {column: text} for row in rows]


@pytest.mark.parametrize(
    ("task_id", "change", "says", "place"),
    [
        ("FUGC", filled("task_name", "regression"), "skips the task", "FUGC.csv, line 2"),
        ("carotid_artery", filled("task_name", "SEGMENTATION"), "skips the task", "carotid_artery.csv, line 2"),
        ("carotid_artery", filled("task_name", ""), "skips the task", "carotid_artery.csv, line 2"),
        ("FUGC", renamed("num_classes", "classes"), "without the column num_classes", "FUGC.csv"),
        ("FUGC", renamed("task_id", "Task_ID"), "without the column task_id", "FUGC.csv"),
        ("FUGC", filled("num_classes", ""), "has no num_classes", "FUGC.csv, line 2"),
    ],
)
def test_csv_files_that_the_official_script_cannot_use(
    task_id: str, change: Callable[[Cells], Cells], says: str, place: str, own_data: Path, submission: Path
) -> None:
    path = own_data / "csv_files" / f"{task_id}.csv"
    write_csv(path, change(read_csv(path)))
    errors = check(own_data, submission).errors
    [places] = [places for problem, places in errors.items() if says in problem]
    assert places[0].startswith(place)


def test_csv_files_with_another_ending_or_delimiter(own_data: Path, submission: Path) -> None:
    folder = own_data / "csv_files"
    (folder / "FUGC.csv").rename(folder / "FUGC.CSV")
    path = folder / "carotid_artery.csv"
    path.write_text(path.read_text().replace(",", ";"))
    errors = check(own_data, submission).errors
    assert any("does not end in .csv" in problem and places == ["FUGC.CSV"] for problem, places in errors.items())
    assert any("separated by commas" in problem for problem in errors)


@pytest.mark.parametrize(("folder", "is_told"), [("Dr. X..", True), ("a..b", False)])
def test_a_mask_that_the_official_script_looks_up_elsewhere(
    folder: str, is_told: bool, own_data: Path, submission: Path
) -> None:
    path = own_data / "csv_files" / "carotid_artery.csv"
    write_csv(path, [row | {"mask_path": row["mask_path"].replace("masks", folder)} for row in read_csv(path)])
    shutil.copytree(submission / "masks", submission / folder)
    problems = [problem for problem in check(own_data, submission).errors if "elsewhere" in problem]
    assert len(problems) == is_told


def test_two_rows_that_write_one_mask_are_reported(own_data: Path, submission: Path) -> None:
    path = own_data / "csv_files" / "carotid_artery.csv"
    rows = read_csv(path)
    rows[1]["mask_path"] = rows[0]["mask_path"]
    write_csv(path, rows)
    warnings = check(own_data, submission).warnings
    assert any("overwrites the mask" in problem for problem in warnings)


def test_unreadable_image_is_a_warning(own_data: Path, submission: Path) -> None:
    (own_data / "images/carotid_artery/case (0).png").unlink()
    (own_data / "images/FUGC/case (0).png").unlink()
    findings = check(own_data, submission)
    assert not findings.errors
    [places] = findings.warnings.values()
    assert len(places) == 2


def test_pack_puts_the_files_at_the_root(data: Path, submission: Path, tmp_path: Path) -> None:
    (submission / "notes.txt").write_text("not for the organisers")
    files = check(data, submission).files
    target = tmp_path / "new" / "predictions.zip"
    pack(submission, files, target)
    with zipfile.ZipFile(target) as archive:
        assert sorted(archive.namelist()) == files
        assert BOXES in archive.namelist()
        assert archive.read(MASK) == (submission / MASK).read_bytes()
    assert [path.name for path in target.parent.iterdir()] == ["predictions.zip"]


def test_packing_twice_gives_the_same_bytes(data: Path, submission: Path, tmp_path: Path) -> None:
    files = check(data, submission).files
    pack(submission, files, tmp_path / "a.zip")
    shutil.copytree(submission, tmp_path / "copy")
    pack(tmp_path / "copy", files[::-1], tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_pack_refuses_a_target_within_the_folder(data: Path, submission: Path) -> None:
    with pytest.raises(SubmissionError, match="lies in the folder"):
        pack(submission, check(data, submission).files, submission / "predictions.zip")
    assert not (submission / "predictions.zip").exists()


def test_verify_refuses_a_nested_folder(exact: Path, tmp_path: Path) -> None:
    shutil.copytree(exact, tmp_path / "outer" / "predictions")
    nested = Path(shutil.make_archive(str(tmp_path / "nested"), "zip", tmp_path / "outer"))
    with zipfile.ZipFile(nested) as archive:
        files = [info.filename for info in archive.infolist()]
    with pytest.raises(SubmissionError, match="not at the zip's root"):
        verify(nested, files)


def test_verify_refuses_other_content(exact: Path, tmp_path: Path) -> None:
    pack(exact, list(FILES.values()), tmp_path / "a.zip")
    with pytest.raises(SubmissionError, match="differs"):
        verify(tmp_path / "a.zip", [*FILES.values(), MASK])
