"""The run report: counts, fallbacks, notes, versions, times. Only `--report` writes it to a file."""

import hashlib
import json
import logging
import platform
import re
import resource
import sys
import time
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from challenge.errors import UserError
from challenge.host.disk import DiskFullError, is_full
from challenge.host.exits import Exit
from challenge.host.output_files import write_file
from model.frozen.cost import Cost
from model.frozen.engine import Description
from model.frozen.run.journal import Record

logger = logging.getLogger(__name__)

SCHEMA = 2
_PACKAGES = ("numpy", "pillow", "onnxruntime-gpu", "onnxruntime", "openvino", "SimpleITK", "ray")


@dataclass
class TaskConfidence:
    """The confidences of a task's rows, and the spreads (native pixels) of those that have one."""

    values: "array[float]" = field(default_factory=lambda: array("d"))
    spreads: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self, value: float, spread: float | None) -> None:
        """Take in a row."""
        self.values.append(value)
        if spread is not None:
            self.spreads.append(spread)

    def summary(self) -> dict[str, float | None]:
        """Return the number of rows, their median and 5th percentile, and the median spread."""
        low, middle = np.quantile(self.values, [0.05, 0.5]).tolist()
        spread = float(np.median(self.spreads)) if self.spreads else None
        return {"rows": len(self.values), "median": middle, "p5": low, "spread": spread}


@dataclass
class RunReport:
    """The report of a run, filled during the run. `to_dict` has the schema of docs/reference/run-report.md."""

    started: float = field(default_factory=time.monotonic)
    status: str = "failed"
    exit_code: int = 1
    rows: int = 0
    resumed: int = 0
    duplicates: int = 0
    part: str = "0/1"
    counts: Counter[str] = field(default_factory=Counter)
    fallbacks: list[dict[str, str]] = field(default_factory=list)
    notes: list[dict[str, str]] = field(default_factory=list)
    second_looks: int = 0
    confidence: dict[str, "TaskConfidence"] = field(default_factory=dict)
    prior_tasks: Sequence[str] = ()
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    device: dict[str, Any] = field(default_factory=dict)
    precision: str = "float32"
    postprocess: str = "none"
    cost: Cost | None = None
    limits: dict[str, int | None] = field(default_factory=dict)
    answer_files: dict[str, str] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)
    start_up_s: float | None = None
    first_prediction_s: float | None = None

    @property
    def answered(self) -> int:
        """Rows that have an answer in the output folder."""
        return sum(self.counts.values())

    def describe(self, requested: str, engine: Description) -> None:
        """Record what the engine uses; `requested` is the device of the command line."""
        self.device = {"requested": requested, "used": engine.device}
        if engine.workers:
            self.device["workers"] = list(engine.workers)
        else:
            self.device |= {"runtime": engine.runtime, "providers": list(engine.providers)}
        self.precision = engine.precision

    def add(self, record: Record) -> None:
        """Count an answered row and keep its fallback or note."""
        self.counts[record.kind] += 1
        self.second_looks += record.looked
        if record.confidence is not None:
            self.confidence.setdefault(record.task_id, TaskConfidence()).add(record.confidence, record.spread)
        row = {"row": record.row, "image_path": record.image_path, "task_id": record.task_id}
        if record.reason:
            self.fallbacks.append({**row, "reason": record.reason})
        if record.note:
            self.notes.append({**row, "note": record.note})

    def sign(self, output_dir: Path, names: Iterable[str]) -> None:
        """Record the sha256 of the JSON files of answers, which tell whose report this is."""
        paths = {name: output_dir / name for name in names}
        self.answer_files = {
            name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in paths.items() if path.is_file()
        }

    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.started

    def last_word(self) -> str | None:
        """Return the last line for stderr if the run did not fail but its exit code is not 0."""
        if self.status == "stopped":
            return f"stopped by a signal after {self.answered} of {self.rows} rows; run the same command with --resume"
        if self.exit_code == Exit.WITH_FALLBACKS:
            first = self.fallbacks[0]
            return (
                f"{len(self.fallbacks)} rows got a fallback, the first at {first['row']}: {first['reason']}; "
                "see --report"
            )
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data."""
        total = self.seconds()
        return {
            "schema": SCHEMA,
            "status": self.status,
            "exit_code": self.exit_code,
            "rows": self.rows,
            "answered": self.answered,
            "resumed": self.resumed,
            "duplicates": self.duplicates,
            "part": self.part,
            "counts": dict(self.counts),
            "fallbacks": self.fallbacks,
            "notes": self.notes,
            "second_looks": self.second_looks,
            "confidence": {task_id: found.summary() for task_id, found in self.confidence.items()},
            "prior_tasks": list(self.prior_tasks),
            "class_names": {task_id: list(names) for task_id, names in self.class_names.items()},
            "device": self.device,
            "precision": self.precision,
            "postprocess": self.postprocess,
            "cost": self.cost and asdict(self.cost),
            "limits": self.limits,
            "weights": self.weights,
            "answer_files": self.answer_files,
            "versions": {"python": platform.python_version(), **_versions()},
            "timings": {
                "start_up_s": self.start_up_s,
                "first_prediction_s": self.first_prediction_s,
                "total_s": total,
                "rows_per_s": (self.answered - self.resumed) / total if total else None,
            },
            "peak_memory_mib": peak_memory_mib(),
        }

    def write(self, path: Path) -> None:
        """Write the report as JSON; see `write_file`. Raises DiskFullError if that is what is wrong, else UserError."""
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
        # File names may hold bytes that are not UTF-8; JSON escapes them as Python does.
        data = text.encode(errors="backslashreplace") + b"\n"
        try:
            write_file(path, data)
        except OSError as error:
            if not is_full(error):
                raise UserError(
                    f"the report {path} cannot be written ({error.strerror or error}); the answers are not affected, "
                    "give another path"
                ) from error
            raise DiskFullError(
                f"no room is left for the report {path} of {len(data):,} bytes; the answers are not affected, make "
                "room before you run the command again"
            ) from error


@contextmanager
def written_at_end(report: RunReport, path: Path | None) -> Iterator[None]:
    """Write the report to `path`, if given, at the end of the block, whether the block succeeds or raises."""
    try:
        yield
    except UserError:
        report.exit_code = Exit.USER
        raise
    finally:
        if path:
            _write(report, path)


def _write(report: RunReport, path: Path) -> None:
    try:
        report.write(path)
    except (UserError, DiskFullError) as error:
        if report.status != "failed":
            raise
        logger.error("%s", error)  # the last line on stderr is for the error that ended the run


def peak_memory_mib() -> float:
    """Return the largest resident memory of this process so far, in MiB."""
    # On Linux, `ru_maxrss` includes the memory of the parent process; this line does not.
    if peak := re.search(r"^VmHWM:\s*(\d+) kB$", _status(), re.MULTILINE):
        return int(peak[1]) / (1 << 10)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def _status() -> str:
    try:
        return Path("/proc/self/status").read_text()
    except OSError:
        return ""


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
