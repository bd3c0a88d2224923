"""Several results side by side: the differences to the first, by paired bootstrap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from challenge.errors import UserError
from challenge.tasks import TaskKind, TaskSpec
from evaluate.metrics.bootstrap import group_weights, interval, p_value
from evaluate.scores.aggregate import Sampled, Scores, by_task, sample_kind, sample_task
from evaluate.scores.cases import Case
from evaluate.scores.metric_table import Column, Metric, metrics_of
from evaluate.scores.result import Result, read_result

_SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Difference:
    """A run's value minus the first run's, its 95 % interval and two-sided p value, from paired draws."""

    value: float
    low: float | None
    high: float | None
    p: float | None
    better: bool

    @property
    def significant(self) -> bool:
        """Whether p is below 0.05 (without correction for the number of comparisons)."""
        return self.p is not None and self.p < _SIGNIFICANT


@dataclass(frozen=True)
class Line:
    """One score of a task, or of a kind (`task_id` None): a value per run, a difference per run but the first."""

    task_id: str | None
    metric: Metric
    values: tuple[float | None, ...]
    differences: tuple[Difference | None, ...]


@dataclass(frozen=True)
class Comparison:
    """All lines by kind, each with the means over tasks first, and the results that were compared."""

    names: tuple[str, ...]
    results: tuple[Result, ...]
    column: Column
    rows: int
    left_out: tuple[int, ...]
    groups: int
    draws: int
    lines: Mapping[TaskKind, Sequence[Line]]

    @property
    def profile(self) -> str:
        """The challenge whose formulas were used."""
        return self.results[0].profile


def compare_results(
    paths: Sequence[Path], column: Column, draws: int, seed: int = 0, names: Sequence[str] = ()
) -> Comparison:
    """Compare result files on the rows that all have.

    `names` are those of the runs; by default the files' names. Raises UserError for fewer than two results, none in
    common, or another number of names.
    """
    if len(paths) < 2:
        raise UserError("only one result file was given; give at least two to compare")
    if names and (len(names) != len(paths) or len(set(names)) < len(names)):
        raise UserError(f"{len(names)} names for {len(paths)} result files; give a different --name for each of them")
    results = [read_result(path) for path in paths]
    profile = results[0].profile
    if any(result.profile != profile for result in results):
        raise UserError("the result files belong to different challenges; compare files of one --profile")
    runs, left_out = _common_cases(results)
    if not runs[0]:
        raise UserError("the result files have no rows in common; compare runs on the same data folder")
    compared = {case.task_id for case in runs[0]}
    specs = [task.spec for task_id, task in results[0].tasks.items() if task_id in compared]
    # One matrix for all runs: each draw takes the same patients in every run, which makes the bootstrap paired.
    groups = [case.group for case in runs[0]]
    weights = group_weights(groups, draws, seed)
    sampled = [_sampled(specs, cases, weights) for cases in runs]
    lines: dict[TaskKind, list[Line]] = {}
    for kind in TaskKind:
        ids = [spec.task_id for spec in specs if spec.kind is kind]
        means = [sample_kind([run[task_id] for task_id in ids]) for run in sampled]
        for metric in metrics_of(kind, profile) if ids else ():
            lines.setdefault(kind, []).append(_line(None, metric, means, column))
        for task_id in ids:
            lines[kind] += [
                _line(task_id, metric, [run[task_id] for run in sampled], column)
                for metric in metrics_of(kind, profile)
            ]
    return Comparison(
        tuple(names) or _names(paths),
        tuple(results),
        column,
        len(runs[0]),
        tuple(left_out),
        len(set(groups)),
        draws,
        lines,
    )


def _sampled(specs: Sequence[TaskSpec], cases: Sequence[Case], weights: npt.NDArray[np.uint16]) -> dict[str, Scores]:
    """The scores of one run's tasks under weights (draws, cases)."""
    rows = by_task(specs, cases)
    own = {task_id: [cases[row] for row in found] for task_id, found in rows.items()}
    return {spec.task_id: sample_task(spec, own[spec.task_id], weights[:, rows[spec.task_id]]) for spec in specs}


def _common_cases(results: Sequence[Result]) -> tuple[list[list[Case]], list[int]]:
    """The cases of the rows that all results have, in the first result's order; and how many each leaves out."""
    keyed = [{(case.row, case.image_path, case.task_id): case for case in result.cases} for result in results]
    common = [key for key in keyed[0] if all(key in run for run in keyed)]
    return [[run[key] for key in common] for run in keyed], [len(run) - len(common) for run in keyed]


def _names(paths: Sequence[Path]) -> tuple[str, ...]:
    stems = [path.stem for path in paths]
    return tuple(stems if len(set(stems)) == len(stems) else map(str, paths))


def _line(task_id: str | None, metric: Metric, runs: Sequence[Scores], column: Column) -> Line:
    found = [run.get((metric.name, column)) for run in runs]
    values = tuple(None if sampled is None or np.isnan(sampled.value) else sampled.value for sampled in found)
    differences = tuple(_difference(metric, found[0], other) for other in found[1:])
    return Line(task_id, metric, values, differences)


def _difference(metric: Metric, first: Sampled | None, other: Sampled | None) -> Difference | None:
    if first is None or other is None or np.isnan(first.value) or np.isnan(other.value):
        return None
    draws: npt.NDArray[np.float64] = other.draws - first.draws
    value = other.value - first.value
    low, high = interval(draws) or (None, None)
    return Difference(value, low, high, p_value(draws), better=(value > 0) == metric.higher_is_better and value != 0)
