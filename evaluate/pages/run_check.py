"""Notices a run report that belongs to another output than the one on the page."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

from challenge.manifest import Sample
from evaluate.scores.run_report import RunReport

logger = logging.getLogger(__name__)


def foreign_report(run: RunReport, samples: Sequence[Sample], predictions: Path) -> str | None:
    """Return a sentence, also logged, if the run report cannot be that of `predictions`; else None.

    `samples` are all rows of the manifest. The report must know as many rows, name no other ones, and have the same
    JSON files of answers as far as it lists their sha256. An output that differs in masks alone is not noticed.
    """
    reason = _reason(run, samples, predictions)
    if reason is None:
        return None
    text = f"The run report belongs to another output: {reason}. Do not trust what this page says about the run."
    logger.warning("%s", text)
    return text


def _reason(run: RunReport, samples: Sequence[Sample], predictions: Path) -> str | None:
    if run.rows != len(samples):
        return f"it is about {run.rows:,} rows, but the csv files have {len(samples):,}"
    known = {(sample.image_path, sample.task_id) for sample in samples}
    if strange := next(
        (row for row in (*run.fallbacks, *run.notes) if (row.image_path, row.task_id) not in known), None
    ):
        return f"it names {strange.image_path} of {strange.task_id}, which is in no csv file"
    for name, digest in run.answer_files.items():
        if _sha256(predictions / name) != digest:
            return f"{name} has changed since, or is from another run"
    return None


def _sha256(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
