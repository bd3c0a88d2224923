"""The JSON of `inference.py --report`, as far as the report page shows it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from challenge.errors import UserError

SCHEMA = 1


@dataclass(frozen=True)
class RunFacts:
    """`facts` are name and value in reading order; `fallbacks` and `notes` have row, image_path, task_id, text."""

    facts: Sequence[tuple[str, str]]
    fallbacks: Sequence[Mapping[str, str]]
    notes: Sequence[Mapping[str, str]]
    prior_tasks: frozenset[str]
    versions: str


@dataclass(frozen=True)
class Resources:
    """What a run cost, which UUSIC ranks too: wall time in seconds, rows answered, peak resident memory in MiB."""

    total_s: float
    answered: int
    peak_memory_mib: float
    device: str


def read_run_report(path: Path) -> RunFacts:
    """Read a run report as facts to show. Raises UserError if it is none, or of a newer schema."""
    report = _read(path)
    return RunFacts(
        tuple(_facts(report)),
        tuple(_entry(raw, "reason") for raw in report.get("fallbacks", ())),
        tuple(_entry(raw, "note") for raw in report.get("notes", ())),
        frozenset(report.get("prior_tasks", ())),
        ", ".join(f"{name} {version}" for name, version in (report.get("versions") or {}).items()),
    )


def read_resources(path: Path) -> Resources:
    """Read what a run cost from its report. Raises UserError if it does not say."""
    report = _read(path)
    try:
        return Resources(
            float(report["timings"]["total_s"]),
            int(report["answered"]),
            float(report["peak_memory_mib"]),
            str(report["device"]["used"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: times or memory are missing ({error!r}); give the report of a finished run"
        ) from error


def _read(path: Path) -> Any:
    try:
        report: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable JSON file ({error}); give what --report of inference.py wrote") from (
            error
        )
    if not isinstance(report, dict) or report.get("schema") != SCHEMA:
        raise UserError(f"{path}: not a run report of schema {SCHEMA}; give what --report of inference.py wrote")
    return report


def _facts(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    device, weights = report.get("device") or {}, report.get("weights") or {}
    timings = report.get("timings") or {}
    facts = [
        ("Run", f"{report.get('status')}, exit code {report.get('exit_code')}"),
        ("Answered", f"{report.get('answered', 0):,} of {report.get('rows', 0):,} rows"),
        ("Weights", f"{weights.get('name', 'unknown')} ({str(weights.get('sha256', ''))[:12]})"),
        ("Device", f"{device.get('used', 'unknown')}, {report.get('precision', '')}"),
        ("Total time", _seconds(timings.get("total_s"))),
        ("First prediction", _seconds(timings.get("first_prediction_s"))),
        ("Speed", _number(timings.get("rows_per_s"), "rows/s")),
        ("Peak memory", _number(report.get("peak_memory_mib"), "MiB")),
    ]
    return [(name, value) for name, value in facts if value]


def _entry(raw: Mapping[str, Any], key: str) -> dict[str, str]:
    return {name: str(raw.get(name, "")) for name in ("row", "image_path", "task_id")} | {"text": str(raw.get(key, ""))}


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value / 60:.1f} min" if value >= 120 else f"{value:.1f} s"


def _number(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:,.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}"
