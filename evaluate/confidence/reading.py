"""The JSON of `inference.py --confidence`, and the rows of a scored submission that it is about."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from challenge.errors import UserError
from challenge.tasks import TaskKind
from evaluate.scores.cases import BoxCase, Case, LabelCase, MaskCase, Outcome, PointsCase
from evaluate.scores.result import Result

SCHEMA = 1
_HOW = "give the file that inference.py --confidence wrote"


@dataclass(frozen=True)
class Judged:
    """An answered row: how sure the network was and how wrong the answer is (`error_of`).

    `confidence` is in 0..1; `spread` is that of the map in native pixels, None for masks and classes.
    """

    task_id: str
    kind: TaskKind
    group: str
    error: float
    confidence: float
    spread: float | None = None


Confidences = Mapping[tuple[str, str], tuple[float, float | None]]
"""Confidence and spread by row and task; rows without a confidence are not in it."""


def read_confidence(path: Path, predictions: Path) -> Confidences:
    """Read the confidences of the answers in `predictions`.

    Raises UserError if the file is not one of `inference.py --confidence`, or belongs to other answers.
    """
    try:
        content: Any = json.loads(path.read_text("utf-8"))
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']!r}")
        signatures = dict(content["answer_files"])
        found = dict(_entry(row) for row in content["rows"] if row["confidence"] is not None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{path}: not readable as a file of confidences ({why}); {_HOW}") from error
    for name, sha256 in signatures.items():
        file = predictions / name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
            raise UserError(f"{path} belongs to other answers than {predictions} ({name} differs); {_HOW} with them")
    return found


def judged(result: Result, confidences: Confidences) -> list[Judged]:
    """Return the answered rows that have a confidence. Raises UserError if there is none."""
    rows = list(_judged(result.cases, {name: task.spec.kind for name, task in result.tasks.items()}, confidences))
    if not rows:
        raise UserError("no row has an answer, a truth and a confidence; give the file of the run that was scored")
    return rows


def error_of(case: Case) -> float:
    """Return how wrong an answer is, 0 for a perfect one.

    Masks: 1 - the mean Dice of the classes but the background. Classes: 1 if wrong. Boxes: 1 - IoU. Points: the mean
    radial error in native pixels.
    """
    match case:
        case MaskCase():
            return 1 - sum(case.dice[1:]) / max(1, len(case.dice) - 1)
        case LabelCase():
            return float(case.predicted != case.true)
        case BoxCase():
            return 1 - (case.iou or 0.0)
        case PointsCase():
            known = [error for index, error in enumerate(case.errors) if index not in case.absent]
            return sum(known) / len(known) if known else 0.0
        case _:
            raise TypeError(f"{type(case).__name__} has no error")


def _judged(cases: Iterable[Case], kinds: Mapping[str, TaskKind], confidences: Confidences) -> Iterator[Judged]:
    for case in cases:
        found = confidences.get((case.row, case.task_id))
        if found and case.outcome is Outcome.ANSWERED:
            yield Judged(case.task_id, kinds[case.task_id], case.group, error_of(case), *found)


def _entry(row: Mapping[str, Any]) -> tuple[tuple[str, str], tuple[float, float | None]]:
    spread = row["spread"]
    return (str(row["row"]), str(row["task_id"])), (float(row["confidence"]), None if spread is None else float(spread))
