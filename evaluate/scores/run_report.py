"""The JSON of `inference.py --report` (schema in `docs/reference/run-report.md`), read for the pages and the scores."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from challenge.class_names import ClassNames, checked_names
from challenge.errors import UserError

SCHEMAS = (1, 2)
"""Schema 1 calls the runtime `engine`; the pages and the scores do not read that key."""


@dataclass(frozen=True)
class RowRemark:
    """What a run says about a row: why it got a fallback, or what was odd about it."""

    row: str
    image_path: str
    task_id: str
    text: str


@dataclass(frozen=True)
class RunReport:
    """A run as its report describes it. Texts are empty, and numbers None, where the run ended too early to know.

    Times are in seconds, memory is the peak resident memory in MiB; `device` is the one that was used.
    """

    status: str
    exit_code: int | None
    rows: int
    answered: int
    weights: str
    sha256: str
    device: str
    precision: str
    total_s: float | None
    first_prediction_s: float | None
    rows_per_s: float | None
    peak_memory_mib: float | None
    fallbacks: tuple[RowRemark, ...]
    notes: tuple[RowRemark, ...]
    prior_tasks: frozenset[str]
    class_names: ClassNames
    versions: Mapping[str, str]
    answer_files: Mapping[str, str]
    """The sha256 of each JSON file of answers; empty in older reports."""


@dataclass(frozen=True)
class Resources:
    """What a run cost, which UUSIC ranks too: wall time in seconds, rows answered, peak resident memory in MiB."""

    total_s: float
    answered: int
    peak_memory_mib: float
    device: str


def read_run_report(path: Path) -> RunReport:
    """Read a run report. Raises UserError if the file is not one, or has another schema."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: not readable as a run report ({error}); give the file that inference.py --report wrote"
        ) from error
    if not isinstance(content, dict) or content.get("schema") not in SCHEMAS:
        known = " or ".join(map(str, SCHEMAS))
        raise UserError(f"{path}: not a run report of schema {known}; give the file that inference.py --report wrote")
    try:
        return _parsed(content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: a damaged run report ({error!r}); give the file that inference.py --report wrote"
        ) from error


def read_resources(path: Path) -> Resources:
    """Read from a run report what the run cost. Raises UserError if the report does not say."""
    run = read_run_report(path)
    if run.total_s is None or run.peak_memory_mib is None or not run.device:
        raise UserError(f"{path}: times or memory are missing; give the report of a finished run")
    return Resources(run.total_s, run.answered, run.peak_memory_mib, run.device)


def _parsed(content: Mapping[str, Any]) -> RunReport:
    device, weights, timings = (content.get(key) or {} for key in ("device", "weights", "timings"))
    return RunReport(
        status=str(content.get("status", "unknown")),
        exit_code=content.get("exit_code"),
        rows=int(content.get("rows", 0)),
        answered=int(content.get("answered", 0)),
        weights=str(weights.get("name", "")),
        sha256=str(weights.get("sha256", "")),
        device=str(device.get("used", "")),
        precision=str(content.get("precision", "")),
        total_s=_number(timings.get("total_s")),
        first_prediction_s=_number(timings.get("first_prediction_s")),
        rows_per_s=_number(timings.get("rows_per_s")),
        peak_memory_mib=_number(content.get("peak_memory_mib")),
        fallbacks=tuple(_remark(raw, "reason") for raw in content.get("fallbacks", ())),
        notes=tuple(_remark(raw, "note") for raw in content.get("notes", ())),
        prior_tasks=frozenset(content.get("prior_tasks", ())),
        class_names=ClassNames({key: checked_names(names) for key, names in content.get("class_names", {}).items()}),
        versions=dict(content.get("versions") or {}),
        answer_files=dict(content.get("answer_files") or {}),
    )


def _remark(raw: Mapping[str, Any], key: str) -> RowRemark:
    return RowRemark(str(raw["row"]), str(raw["image_path"]), str(raw["task_id"]), str(raw[key]))


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)
