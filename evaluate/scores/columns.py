"""The scores of one task from its cases, the official and the strict way, under any row weights.

Official: rows without a prediction are left out. Strict: they count with the worst value (contract, section 1.5).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from challenge.tasks import TaskKind, TaskSpec
from evaluate.metrics import classification as cls
from evaluate.metrics.weighting import ratio, weighted_mean
from evaluate.scores.cases import BoxCase, Case, ForegroundCase, LabelCase, MaskCase, Outcome, PointsCase
from evaluate.scores.metric_table import Column

Floats = npt.NDArray[np.float64]

_NOTE_ORDER = (Outcome.MISSING, Outcome.NO_TRUTH, Outcome.ANSWERED)


class TaskScore(Protocol):
    """The scores of one task in one column."""

    @property
    def rows(self) -> list[int]:
        """The indices of the cases that count, in the task's list."""
        ...

    def metrics(self, weights: npt.ArrayLike | None = None) -> dict[str, Floats]:
        """Return each score (...) under weights (..., len(rows)); NaN where undefined."""
        ...

    def parts(self) -> dict[str, Floats]:
        """Return each score per class or per point, (parts,)."""
        ...


def task_score(spec: TaskSpec, cases: Sequence[Case], column: Column) -> TaskScore | None:
    """Return the scores of a task's cases, or None if no case counts in that column."""
    rows = [index for index, case in enumerate(cases) if _counts(case, column)]
    if spec.kind is TaskKind.REGRESSION and column is Column.STRICT:
        # A row without any true point has nothing to be compared with.
        rows = [index for index in rows if len(_points(cases[index]).absent) < spec.num_classes]
    if not rows:
        return None
    chosen = [cases[index] for index in rows]
    match spec.kind:
        case TaskKind.SEGMENTATION if isinstance(chosen[0], ForegroundCase):
            return _Foregrounds(rows, [case for case in chosen if isinstance(case, ForegroundCase)])
        case TaskKind.SEGMENTATION:
            return _Masks(rows, *_masks(chosen, spec.num_classes, column))
        case TaskKind.CLASSIFICATION:
            return _Labels(rows, *_labels(chosen, spec.num_classes), column)
        case TaskKind.DETECTION:
            return _Boxes(rows, np.array([case.iou or 0.0 for case in chosen if isinstance(case, BoxCase)]))
        case TaskKind.REGRESSION:
            return _Points(rows, _errors(chosen, spec.num_classes, column))


def _counts(case: Case, column: Column) -> bool:
    return case.is_official if column is Column.OFFICIAL else case.outcome is not Outcome.NO_TRUTH


@dataclass(frozen=True)
class _Masks:
    rows: list[int]
    dice: Floats
    hausdorff: Floats

    def metrics(self, weights: npt.ArrayLike | None = None) -> dict[str, Floats]:
        # Every image has a value for every class: the mean of the class means is the mean of the images' means.
        return {
            "DSC": weighted_mean(self.dice[:, 1:].mean(axis=1), weights),
            "HD": weighted_mean(self.hausdorff[:, 1:].mean(axis=1), weights),
        }

    def parts(self) -> dict[str, Floats]:
        return {"DSC": self.dice.mean(axis=0), "HD": self.hausdorff.mean(axis=0)}


def _masks(cases: Iterable[Case], num_classes: int, column: Column) -> tuple[Floats, Floats]:
    dice, distances = [], []
    for case in cases:
        if isinstance(case, MaskCase):
            other = column is Column.OFFICIAL and case.official_dice
            dice.append((case.official_dice if other else case.dice) or (0.0,) * num_classes)
            worst = (case.diagonal,) * num_classes
            distances.append((case.official_hausdorff if other else case.hausdorff) or worst)
    return np.array(dice), np.array(distances)


@dataclass(frozen=True)
class _Foregrounds:
    rows: list[int]
    cases: Sequence[ForegroundCase]

    def metrics(self, weights: npt.ArrayLike | None = None) -> dict[str, Floats]:
        return {
            "DSC": weighted_mean([case.dice or 0.0 for case in self.cases], weights),
            "NSD": weighted_mean([case.nsd or 0.0 for case in self.cases], weights),
        }

    def parts(self) -> dict[str, Floats]:
        return {}


@dataclass(frozen=True)
class _Labels:
    rows: list[int]
    true: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    probabilities: Floats
    column: Column
    refusal: str | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "refusal", cls.auc_refusal(self.true, self.probabilities))

    def metrics(self, weights: npt.ArrayLike | None = None) -> dict[str, Floats]:
        table = cls.confusion(self.true, self.predicted, weights)
        if self.column is Column.STRICT:
            auc = cls.auc_present(self.true, self.probabilities, weights)
        elif self.refusal:
            auc = np.zeros(table.counts.shape[:-2])
        else:
            auc = cls.auc_official(self.true, self.probabilities, weights)
        # A bootstrap draw with only one class is undefined; only the score itself is 0 by convention.
        undefined = 0.0 if weights is None else np.nan
        return {
            "AUC": auc,
            "F1_macro": cls.f1_macro(table),
            "F1_weighted": cls.f1_weighted(table),
            "MCC": cls.matthews(table, undefined),
            "Accuracy": cls.accuracy(table),
        }

    def parts(self) -> dict[str, Floats]:
        table = cls.confusion(self.true, self.predicted)
        values = np.full(self.probabilities.shape[1], 0.0 if self.column is Column.OFFICIAL else np.nan)
        for position, (label, score) in enumerate(zip(table.labels, cls.f1(table), strict=True)):
            # The official script lists only the classes that occur, and takes the c-th of them for class c.
            place = position if self.column is Column.OFFICIAL else label
            if 0 <= place < len(values):
                values[place] = score
        return {"F1": values}


def _labels(cases: Iterable[Case], num_classes: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
    true, predicted, probabilities = [], [], []
    for case in cases:
        if not isinstance(case, LabelCase) or case.true is None:
            continue
        true.append(case.true)
        if case.predicted is None:
            # The worst value: a wrong class, and probability 0 for the true one.
            predicted.append((case.true + 1) % num_classes)
            probabilities.append([0.0 if c == case.true else 1 / (num_classes - 1) for c in range(num_classes)])
        else:
            predicted.append(case.predicted)
            probabilities.append(list(case.probabilities))
    return np.array(true, np.int64), np.array(predicted, np.int64), np.array(probabilities, np.float64)


@dataclass(frozen=True)
class _Boxes:
    rows: list[int]
    iou: Floats

    def metrics(self, weights: npt.ArrayLike | None = None) -> dict[str, Floats]:
        return {"IoU": weighted_mean(self.iou, weights)}

    def parts(self) -> dict[str, Floats]:
        return {}


@dataclass(frozen=True)
class _Points:
    rows: list[int]
    errors: Floats

    def metrics(self, weights: npt.ArrayLike | None = None) -> dict[str, Floats]:
        return {"MRE": weighted_mean(np.nanmean(self.errors, axis=1), weights)}

    def parts(self) -> dict[str, Floats]:
        counted = ~np.isnan(self.errors)
        total = np.where(counted, self.errors, 0.0).sum(axis=0)
        return {"MRE": ratio(total, counted.sum(axis=0), np.nan)}


def _errors(cases: Iterable[Case], num_points: int, column: Column) -> Floats:
    table = []
    for case in map(_points, cases):
        errors = np.array(case.errors or (case.diagonal,) * num_points)
        if column is Column.STRICT:
            errors[list(case.absent)] = np.nan
        table.append(errors)
    return np.array(table)


def _points(case: Case) -> PointsCase:
    return cast(PointsCase, case)  # all cases of a regression task are PointsCases


def task_notes(spec: TaskSpec, cases: Sequence[Case]) -> list[str]:
    """Return one sentence for each way in which the two columns differ or rows were odd, with counts."""
    ordered = sorted(cases, key=lambda case: _NOTE_ORDER.index(case.outcome))
    remarks = Counter((case.remark, _consequence(case)) for case in ordered if case.remark)
    notes = [f"{count} of {len(cases)} rows: {remark}; {then}" for (remark, then), count in remarks.items()]
    if spec.kind is TaskKind.REGRESSION:
        absent = [len(_points(case).absent) for case in cases]
        if any(absent):
            notes.append(f"{sum(absent)} true points are missing: official reads (0, 0), strict leaves them out")
    score = task_score(spec, cases, Column.OFFICIAL)
    if isinstance(score, _Labels):
        notes += _label_notes(score, spec.num_classes)
    return notes


def _consequence(case: Case) -> str:
    if case.outcome is Outcome.ANSWERED and case.is_official:
        differs = isinstance(case, MaskCase) and case.official_dice
        return "official and strict score them differently" if differs else "scored as the official script does"
    if case.outcome is Outcome.NO_TRUTH and not case.is_official:
        return "they count in neither column"
    official = "official scores them" if case.is_official else "official leaves them out"
    strict = {
        Outcome.ANSWERED: "strict scores them",
        Outcome.MISSING: "strict counts the worst value",
        Outcome.NO_TRUTH: "strict leaves them out",
    }[case.outcome]
    return f"{official}, {strict}"


def _label_notes(score: _Labels, num_classes: int) -> list[str]:
    notes = []
    if score.refusal:
        notes.append(f"official AUC is 0: scikit-learn refuses ({score.refusal}); strict is over the classes present")
    occurring = set(score.true) | set(score.predicted)
    if strange := sorted(set(score.predicted) - set(range(num_classes))):
        notes.append(f"predicted classes outside 0..{num_classes - 1}: {', '.join(map(str, strange))}")
    if not set(range(max(occurring) + 1)) <= occurring:
        notes.append(
            "a class is neither true nor predicted anywhere: the official F1 of later classes is in wrong columns"
        )
    return notes
