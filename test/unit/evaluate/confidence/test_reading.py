"""A file of confidences belongs to one folder of answers."""

import hashlib
import json

import pytest

from challenge.errors import UserError
from challenge.tasks import TaskKind, TaskSpec
from evaluate.confidence.reading import Judged, judged, read_confidence
from evaluate.scores.cases import BoxCase, Outcome
from evaluate.scores.result import summarise
from evaluate.scores.scoring import Measured

NAME = "detection_predictions.json"
ROWS = [
    {"row": "a.csv, line 2", "image_path": "a", "task_id": "t", "confidence": 0.5, "spread": 3.0},
    {"row": "a.csv, line 3", "image_path": "b", "task_id": "t", "confidence": None, "spread": None},
    {"row": "a.csv, line 4", "image_path": "c", "task_id": "t", "confidence": 0.25, "spread": 4.0},
]


@pytest.fixture
def predictions(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / NAME).write_text("[]")
    return folder


def written(tmp_path, **changes):
    signature = {NAME: hashlib.sha256(b"[]").hexdigest()}
    path = tmp_path / "confidence.json"
    path.write_text(json.dumps({"schema": 1, "weights": {}, "answer_files": signature, "rows": ROWS} | changes))
    return path


def test_rows_without_a_confidence_are_left_out(predictions, tmp_path):
    found = read_confidence(written(tmp_path), predictions)
    assert found == {("a.csv, line 2", "t"): (0.5, 3.0), ("a.csv, line 4", "t"): (0.25, 4.0)}


@pytest.mark.parametrize(
    "changes", [{"schema": 2}, {"rows": None}, {"rows": [{"row": 1}]}, {"answer_files": 7}, {"rows": [1]}]
)
def test_other_files_are_refused(predictions, tmp_path, changes):
    with pytest.raises(UserError, match="not readable as a file of confidences .* inference.py --confidence wrote"):
        read_confidence(written(tmp_path, **changes), predictions)


def test_other_answers_are_refused(predictions, tmp_path):
    (predictions / NAME).write_text("[ ]")
    with pytest.raises(UserError, match=f"belongs to other answers than .* \\({NAME} differs\\)"):
        read_confidence(written(tmp_path), predictions)


def test_rows_that_are_answered_and_have_a_truth_are_judged():
    about = {"image_path": "i", "task_id": "t", "group": "g"}
    cases = (
        BoxCase(**about, row="a.csv, line 2", outcome=Outcome.ANSWERED, iou=0.75),
        BoxCase(**about, row="a.csv, line 3", outcome=Outcome.ANSWERED, iou=0.5),
        BoxCase(**about, row="a.csv, line 4", outcome=Outcome.MISSING),
    )
    result = summarise(Measured((TaskSpec("t", TaskKind.DETECTION, 1),), cases), "data", "out", 2)
    confidences = {("a.csv, line 2", "t"): (0.5, 3.0), ("a.csv, line 4", "t"): (0.25, 4.0)}
    assert judged(result, confidences) == [Judged("t", TaskKind.DETECTION, "g", 0.25, 0.5, 3.0)]
    with pytest.raises(UserError, match="no row has an answer, a truth and a confidence"):
        judged(result, {})
