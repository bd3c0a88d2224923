"""Cases -> scores per task and per kind, each with its bootstrap draws."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from challenge.tasks import TaskSpec
from evaluate.metrics.bootstrap import interval
from evaluate.scores.cases import Case
from evaluate.scores.columns import task_score
from evaluate.scores.metric_table import Column

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score and its 95 % bootstrap interval; None where undefined."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Sampled:
    """A score and what it was in each bootstrap draw (draws,); NaN where undefined."""

    value: float
    draws: Floats

    def estimate(self) -> Estimate:
        """Return the value with its interval."""
        if np.isnan(self.value):
            return Estimate(None)
        low, high = interval(self.draws) or (None, None)
        return Estimate(self.value, low, high)


Scores = Mapping[tuple[str, Column], Sampled]
"""Scores by metric name and column."""


def by_task(specs: Iterable[TaskSpec], cases: Sequence[Case]) -> dict[str, list[int]]:
    """Return the indices of the cases of each task."""
    rows: dict[str, list[int]] = {spec.task_id: [] for spec in specs}
    for index, case in enumerate(cases):
        rows[case.task_id].append(index)
    return rows


def sample_task(spec: TaskSpec, cases: Sequence[Case], weights: npt.NDArray[np.uint16]) -> Scores:
    """Return the scores of one task's n cases and their draws under weights (draws, n)."""
    several_groups = len({case.group for case in cases}) > 1
    scores: dict[tuple[str, Column], Sampled] = {}
    for column in Column:
        score = task_score(spec, cases, column)
        if score is None:
            continue
        counted = weights[:, score.rows].astype(np.float64)
        # Drawing from a single group says nothing about the spread.
        drawn = score.metrics(counted) if several_groups else {}
        for name, value in score.metrics().items():
            draws = drawn.get(name, np.full(len(weights), np.nan))
            draws[counted.sum(axis=1) == 0] = np.nan
            scores[name, column] = Sampled(float(value), draws)
    return scores


def sample_kind(tasks: Iterable[Scores]) -> Scores:
    """Return the unweighted means over the tasks of a kind; a task without a value leaves the mean."""
    tasks = list(tasks)
    scores: dict[tuple[str, Column], Sampled] = {}
    for key in dict.fromkeys(key for task in tasks for key in task):
        found = [task[key] for task in tasks if key in task and not np.isnan(task[key].value)]
        if found:
            values = [sampled.value for sampled in found]
            scores[key] = Sampled(float(np.mean(values)), np.mean([sampled.draws for sampled in found], axis=0))
    return scores
