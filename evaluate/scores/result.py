"""The result of scoring a submission: built from its cases, written as JSON, read back."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from challenge.errors import UserError
from challenge.tasks import CATALOGUE, TaskKind, TaskSpec
from evaluate.metrics.bootstrap import group_weights
from evaluate.outputs import write_output
from evaluate.scores.aggregate import Estimate, Scores, by_task, sample_kind, sample_task
from evaluate.scores.cases import CASE_TYPES, Case, Outcome
from evaluate.scores.columns import task_notes, task_score
from evaluate.scores.metric_table import Column
from evaluate.scores.run_report import Resources
from evaluate.scores.scoring import Measured

SCHEMA = 1
DRAWS = 1000

Table = Mapping[str, Mapping[Column, Estimate]]
"""Metric name -> column -> estimate."""


@dataclass(frozen=True)
class Counts:
    """The number of rows, of answered rows, of rows without a prediction or without a truth, and of groups."""

    rows: int
    answered: int
    missing: int
    no_truth: int
    groups: int

    @classmethod
    def of(cls, cases: Sequence[Case]) -> "Counts":
        """Count the cases."""
        outcomes = [case.outcome for case in cases]
        return cls(
            rows=len(cases),
            answered=outcomes.count(Outcome.ANSWERED),
            missing=outcomes.count(Outcome.MISSING),
            no_truth=outcomes.count(Outcome.NO_TRUTH),
            groups=len({case.group for case in cases}),
        )


@dataclass(frozen=True)
class TaskResult:
    """One task: its scores, its scores per class or point (`parts`), and notes on what was odd."""

    spec: TaskSpec
    counts: Counts
    metrics: Table
    parts: Mapping[str, Mapping[Column, list[float | None]]]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class KindResult:
    """The unweighted means over the tasks of a kind."""

    kind: TaskKind
    tasks: int
    counts: Counts
    metrics: Table


@dataclass(frozen=True)
class Result:
    """All scores of one submission on one data folder."""

    data_root: str
    predictions: str
    counts: Counts
    kinds: Mapping[TaskKind, KindResult]
    tasks: Mapping[str, TaskResult]
    cases: tuple[Case, ...]
    notes: tuple[str, ...] = ()
    profile: str = "fmc"
    draws: int = DRAWS
    seed: int = 0
    resources: Resources | None = None

    def tasks_of(self, kind: TaskKind) -> list[TaskResult]:
        """Return the tasks of a kind in manifest order."""
        return [task for task in self.tasks.values() if task.spec.kind is kind]


def summarise(
    measured: Measured,
    data_root: str,
    predictions: str,
    draws: int = DRAWS,
    seed: int = 0,
    *,
    profile: str = "fmc",
    resources: Resources | None = None,
) -> Result:
    """Aggregate the cases, with intervals from `draws` bootstrap draws of the groups."""
    cases = measured.cases
    weights = group_weights([case.group for case in cases], draws, seed)
    tasks: dict[str, TaskResult] = {}
    sampled: dict[TaskKind, list[Scores]] = {}
    rows = by_task(measured.tasks, cases)
    for spec in measured.tasks:
        own = [cases[row] for row in rows[spec.task_id]]
        scores = sample_task(spec, own, weights[:, rows[spec.task_id]])
        sampled.setdefault(spec.kind, []).append(scores)
        notes = tuple(task_notes(spec, own))
        tasks[spec.task_id] = TaskResult(spec, Counts.of(own), _table(scores), _parts(spec, own), notes)
    kinds = {}
    for kind in sorted(sampled, key=list(TaskKind).index):
        counts = Counts.of([case for case in cases if tasks[case.task_id].spec.kind is kind])
        kinds[kind] = KindResult(kind, len(sampled[kind]), counts, _table(sample_kind(sampled[kind])))
    return Result(
        data_root, predictions, Counts.of(cases), kinds, tasks, cases, measured.remarks, profile, draws, seed, resources
    )


def _table(scores: Scores) -> Table:
    table: dict[str, dict[Column, Estimate]] = {}
    for (name, column), value in scores.items():
        table.setdefault(name, {})[column] = value.estimate()
    return table


def _parts(spec: TaskSpec, cases: list[Case]) -> dict[str, dict[Column, list[float | None]]]:
    parts: dict[str, dict[Column, list[float | None]]] = {}
    for column in Column:
        score = task_score(spec, cases, column)
        for name, values in (score.parts() if score else {}).items():
            parts.setdefault(name, {})[column] = [None if np.isnan(value) else float(value) for value in values]
    return parts


def write_result(path: Path, result: Result) -> None:
    """Write the result as JSON (schema in `docs/reference/scores.md`), with every case."""
    content = {
        "schema": SCHEMA,
        "profile": result.profile,
        "data_root": result.data_root,
        "predictions": result.predictions,
        "counts": asdict(result.counts),
        "bootstrap": {"draws": result.draws, "seed": result.seed, "level": 0.95},
        "notes": result.notes,
        **({"resources": asdict(result.resources)} if result.resources else {}),
        "kinds": {
            kind: {"tasks": found.tasks, "counts": asdict(found.counts), "metrics": _plain(found.metrics)}
            for kind, found in result.kinds.items()
        },
        "tasks": {
            task_id: {
                "kind": task.spec.kind,
                "num_classes": task.spec.num_classes,
                "counts": asdict(task.counts),
                "metrics": _plain(task.metrics),
                "parts": task.parts,
                "notes": task.notes,
            }
            for task_id, task in result.tasks.items()
        },
        "cases": [_plain_case(case) for case in result.cases],
    }
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_output(path, text.encode(errors="backslashreplace"))  # bytes that are not UTF-8 become JSON escapes


def _plain_case(case: Case) -> dict[str, Any]:
    """The fields of a case; those about the official script only if they differ."""
    return {
        name: value
        for name, value in asdict(case).items()
        if not name.startswith("official") or value not in (None, ())
    }


def _plain(table: Table) -> dict[str, dict[Column, dict[str, float | None]]]:
    return {name: {column: asdict(found) for column, found in columns.items()} for name, columns in table.items()}


def is_whole_challenge(result: Result, kind: TaskKind) -> bool:
    """Whether the tasks of a kind are those of the challenge, over which the published figures are means."""
    asked = {task_id for task_id, spec in CATALOGUE.items() if spec.kind is kind}
    return {task.spec.task_id for task in result.tasks_of(kind)} == asked


def read_result(path: Path) -> Result:
    """Read a result file. Its cases are aggregated again, which gives the same scores.

    Raises UserError if the file is not a result file of this schema.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}; write it with `evaluate score --json`") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable JSON file ({error}); write it with `evaluate score --json`") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise UserError(f"{path}: not a result file of schema {SCHEMA}; write it again with `evaluate score --json`")
    try:
        specs = tuple(
            TaskSpec(task_id, TaskKind(task["kind"]), task["num_classes"]) for task_id, task in content["tasks"].items()
        )
        kinds = {spec.task_id: spec.kind for spec in specs}
        types = CASE_TYPES[content["profile"]]
        cases = tuple(_case(types[kinds[raw["task_id"]]], raw) for raw in content["cases"])
        measured = Measured(specs, cases, tuple(content["notes"]))
        bootstrap = content["bootstrap"]
        used = Resources(**content["resources"]) if "resources" in content else None
        return summarise(
            measured,
            content["data_root"],
            content["predictions"],
            bootstrap["draws"],
            bootstrap["seed"],
            profile=content["profile"],
            resources=used,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: an incomplete result file ({error!r}); write it again") from error


def _case(case_type: type[Case], raw: Mapping[str, Any]) -> Case:
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()}
    fields["outcome"] = Outcome(raw["outcome"])
    return case_type(**fields)
