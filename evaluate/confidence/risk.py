"""Selective prediction: the error of the answers that are kept when the least sure ones are put aside.

The risk-coverage curve is that of Geifman and El-Yaniv 2017 (arXiv 1705.08500).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from challenge.tasks import TaskKind
from evaluate.confidence.reading import Judged
from evaluate.metrics.bootstrap import group_weights
from evaluate.scores.aggregate import Estimate, Sampled

Floats = npt.NDArray[np.float64]

COVERAGES = np.round(np.arange(0.1, 1.001, 0.02), 2)
"""Where curves are drawn: the share of answers that are kept."""
KEPT = (1.0, 0.8, 0.5)
"""Where the table gives the error."""
MEASURES: Mapping[TaskKind, Sequence[str]] = {
    TaskKind.SEGMENTATION: ("Soft Dice Confidence",),
    TaskKind.CLASSIFICATION: ("largest probability",),
    TaskKind.DETECTION: ("map's maximum", "map's spread"),
    TaskKind.REGRESSION: ("map's maximum", "map's spread"),
}
"""What says how sure an answer is, by kind. The first is its `confidence`; of the second, less is surer."""


@dataclass(frozen=True)
class Finding:
    """What a measure of confidence is worth for a task, or on average over a kind's tasks (`task_id` None).

    `correlation` is Spearman's rank correlation of confidence and error, with its bootstrap interval: -1 would be
    perfect, 0 is worth nothing. `curve` (len(COVERAGES),) is the error of the surest answers, `best` the same if the
    answers were put aside in the order of their true errors, `kept` the error at `KEPT`.
    """

    kind: TaskKind
    task_id: str | None
    measure: str
    rows: int
    correlation: Estimate
    curve: Floats
    best: Floats
    kept: tuple[float, ...]


def findings(rows: Sequence[Judged], draws: int, seed: int = 0) -> list[Finding]:
    """Return the findings per task, and after the tasks of a kind their mean.

    The bootstrap draws groups (patients, videos), with the same draw for all tasks.
    """
    weights = group_weights([row.group for row in rows], draws, seed)
    found = []
    for kind, measures in MEASURES.items():
        tasks = list(dict.fromkeys(row.task_id for row in rows if row.kind is kind))
        for number, measure in enumerate(measures):
            of_tasks = [_of_task(rows, task_id, kind, number, weights) for task_id in tasks]
            known = [pair for pair in of_tasks if pair]
            found += [finding for finding, _ in known]
            if known:
                found.append(_mean(kind, measure, known))
    return found


def risk(confidence: Floats, error: Floats, coverage: float) -> float:
    """Return the mean error of the surest `coverage` (0..1) of n answers, at least of one.

    Among equally sure answers each counts alike, whatever their order.
    """
    kept = max(1, math.ceil(round(coverage * len(error), 6)))
    last = np.sort(confidence)[::-1][kept - 1]
    surer, tied = error[confidence > last], error[confidence == last]
    return float((surer.sum() + (kept - len(surer)) * tied.mean()) / kept)


def rank_correlation(one: Floats, other: Floats) -> float:
    """Return Spearman's rank correlation, ties with their mean rank; NaN if a side does not vary."""
    ranks = [_ranks(values) for values in (one, other)]
    first, second = (values - values.mean() for values in ranks)
    scale = math.sqrt(float(first @ first) * float(second @ second))
    return float(first @ second) / scale if scale > 0 else math.nan


def _of_task(
    rows: Sequence[Judged], task_id: str, kind: TaskKind, number: int, weights: npt.NDArray[np.uint16]
) -> tuple[Finding, Sampled] | None:
    places = [
        index for index, row in enumerate(rows) if row.task_id == task_id and (not number or row.spread is not None)
    ]
    if not places:
        return None
    own = [rows[index] for index in places]
    error = np.array([row.error for row in own])
    sure = np.array([row.confidence if number == 0 else -(row.spread or 0.0) for row in own])
    several = len({row.group for row in own}) > 1
    drawn = [_drawn(sure, error, counts) if several else math.nan for counts in weights[:, places]]
    sampled = Sampled(rank_correlation(sure, error), np.array(drawn))
    finding = Finding(
        kind,
        task_id,
        MEASURES[kind][number],
        len(own),
        sampled.estimate(),
        np.array([risk(sure, error, coverage) for coverage in COVERAGES]),
        np.array([risk(-error, error, coverage) for coverage in COVERAGES]),
        tuple(risk(sure, error, coverage) for coverage in KEPT),
    )
    return finding, sampled


def _drawn(sure: Floats, error: Floats, counts: npt.NDArray[np.uint16]) -> float:
    if not counts.any():
        return math.nan
    return rank_correlation(np.repeat(sure, counts), np.repeat(error, counts))


def _mean(kind: TaskKind, measure: str, known: Iterable[tuple[Finding, Sampled]]) -> Finding:
    """Return the unweighted mean over tasks; those whose correlation is undefined are not in that of correlations."""
    each, samples = zip(*known, strict=True)
    defined = [sampled for sampled in samples if not math.isnan(sampled.value)]
    if defined:
        draws = np.mean([sampled.draws for sampled in defined], axis=0)
        correlation = Sampled(float(np.mean([sampled.value for sampled in defined])), draws).estimate()
    else:
        correlation = Estimate(None)
    return Finding(
        kind,
        None,
        measure,
        sum(finding.rows for finding in each),
        correlation,
        np.mean([finding.curve for finding in each], axis=0),
        np.mean([finding.best for finding in each], axis=0),
        tuple(float(value) for value in np.mean([finding.kept for finding in each], axis=0)),
    )


def _ranks(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse])
