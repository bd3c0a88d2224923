"""`challenge.readers` reads what the writers write; anything else is refused, or read like the official script."""

import json
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import pytest
from PIL import Image

from challenge.errors import ImageError
from challenge.manifest import Row, Sample
from challenge.paths import JSON_FILES
from challenge.predictions import BoxPrediction, ClassPrediction, MaskPrediction, PointsPrediction
from challenge.readers import SubmissionError, open_submission, read_answers, read_stored_mask, unknown_entries
from challenge.tasks import TaskKind
from challenge.writers import entry, write_json, write_mask


def sample(kind: TaskKind, image_path: str = "../a/b, c (1)\u00a0.JPG") -> Sample:
    mask = PurePosixPath("Segmentation/x.png") if kind is TaskKind.SEGMENTATION else None
    return Sample(image_path, f"task of {kind}", kind, 3, Row("a.csv", 2), mask)


ANSWERS = {
    TaskKind.CLASSIFICATION: ClassPrediction((0.1, 0.2, 0.7), 2),
    TaskKind.DETECTION: BoxPrediction((1.5, 2.0, 30.25, 40.0), (0.015, 0.02, 0.3025, 0.4)),
    TaskKind.REGRESSION: PointsPrediction((1.0, 2.5, 3.0, 4.0), (0.1, 0.25, 0.3, 0.4)),
}


def test_written_answers_are_read_back(tmp_path: Path) -> None:
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    write_mask(tmp_path, sample(TaskKind.SEGMENTATION), MaskPrediction(labels))
    write_json(tmp_path, lambda kind: [entry(sample(kind), ANSWERS[kind])] if kind in ANSWERS else [])
    submission = open_submission(tmp_path)
    for kind, answer in ANSWERS.items():
        assert submission.find(sample(kind)) == answer
        assert submission.find(sample(kind, "../other.png")) is None
    found = submission.find(sample(TaskKind.SEGMENTATION))
    assert isinstance(found, MaskPrediction)
    assert np.array_equal(found.labels, labels)


def test_absent_files_are_not_an_error(tmp_path: Path) -> None:
    submission = open_submission(tmp_path)
    assert submission.answers == {}
    assert all(submission.find(sample(kind)) is None for kind in TaskKind)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match="no folder"):
        open_submission(tmp_path / "nowhere")


def test_the_last_answer_counts_and_unknown_entries_are_noted(tmp_path: Path) -> None:
    one = {"image_path": "../a.png", "task_id": "t", "bbox_pixels": [0, 0, 1, 1], "bbox_normalized": [0, 0, 1, 1]}
    two = one | {"bbox_pixels": [0, 0, 2, 2]}
    other = one | {"task_id": "u"}
    (tmp_path / JSON_FILES[TaskKind.DETECTION]).write_text(json.dumps([one, two, other]))
    answers = read_answers(tmp_path, TaskKind.DETECTION)
    assert answers is not None
    known = Sample("../a.png", "t", TaskKind.DETECTION, 1, Row("a.csv", 2))
    entry = answers.of(known)
    assert entry is not None
    assert entry.place.endswith("entry 2")
    assert [entry.place for entry in unknown_entries(answers, [known])] == ["detection_predictions.json, entry 3"]


@pytest.mark.parametrize("content", ["", "{", '{"a": 1}', "[" * 100_000, b"\xff\xfe"])
def test_file_that_is_no_list_is_refused_by_name(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / JSON_FILES[TaskKind.DETECTION]
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SubmissionError, match=r"detection_predictions\.json"):
        open_submission(tmp_path)


@pytest.mark.parametrize(
    ("kind", "entry"),
    [
        (TaskKind.CLASSIFICATION, 5),
        (TaskKind.CLASSIFICATION, {"predicted_class": 1}),
        (TaskKind.CLASSIFICATION, {"predicted_class": True, "predicted_probs": [0, 1]}),
        (TaskKind.CLASSIFICATION, {"predicted_class": 1, "predicted_probs": [10**400, 1]}),
        (TaskKind.CLASSIFICATION, {"predicted_class": 1, "predicted_probs": "0.5 0.5"}),
        (TaskKind.DETECTION, {"bbox_pixels": [0, 0, 1, float("inf")], "bbox_normalized": [0, 0, 1, 1]}),
        (TaskKind.DETECTION, {"bbox_pixels": [0, 0, 1, 1]}),
        (TaskKind.REGRESSION, {"predicted_points_pixels": [1, 2, 3], "predicted_points_normalized": [1, 2, 3]}),
    ],
)
def test_malformed_entries_are_collected_and_others_kept(tmp_path: Path, kind: TaskKind, entry: object) -> None:
    head = {"image_path": "../a.png", "task_id": "t"}
    good = {
        TaskKind.CLASSIFICATION: {"predicted_class": 1, "predicted_probs": [0, 1]},
        TaskKind.DETECTION: {"bbox_pixels": [0, 0, 1, 1], "bbox_normalized": [0, 0, 1, 1]},
        TaskKind.REGRESSION: {"predicted_points_pixels": [1, 2], "predicted_points_normalized": [1, 2]},
    }[kind]
    bad = head | entry if isinstance(entry, dict) else entry
    (tmp_path / JSON_FILES[kind]).write_text(json.dumps([head | good, bad]))
    answers = read_answers(tmp_path, kind)
    assert answers is not None
    assert len(answers.entries) == 1
    assert len(answers.malformed) == 1
    assert answers.malformed[0].startswith(f"{JSON_FILES[kind]}, entry 2")


def stored(path: Path, mode: str) -> Path:
    """A mask with the values 0, 1, 2 and 255 in the given image mode."""
    labels = np.array([[0, 1, 2, 255]] * 4, np.uint8)
    image = Image.fromarray(labels)
    if mode == "P":
        image = Image.fromarray(labels, "P")
        image.putpalette([value for index in range(256) for value in (index, 255 - index, index // 2)])
    elif mode == "I;16":
        image = Image.fromarray(labels.astype(np.uint16) * 257)
    elif mode != "L":
        image = image.convert(mode)
    image.save(path)
    return path


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGB", "RGBA", "LA", "I;16"])
def test_masks_are_read_like_opencvs_grey(tmp_path: Path, mode: str) -> None:
    path = stored(tmp_path / "mask.png", mode)
    found = read_stored_mask(path)
    expected = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert expected is not None
    assert np.abs(found.labels.astype(int) - expected.astype(int)).max() <= (1 if mode == "P" else 0)
    assert (found.fault is None) == (mode == "L")


def test_a_jpeg_mask_is_an_error(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "mask.jpg")
    assert "JPEG" in (read_stored_mask(tmp_path / "mask.jpg").fault or "")


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x89PNG\r\n\x1a\n\x00"])
def test_unreadable_mask(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mask.png").write_bytes(content)
    with pytest.raises(ImageError, match="not readable"):
        read_stored_mask(tmp_path / "mask.png")
