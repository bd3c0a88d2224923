"""The charts of a task, drawn from its answered cases."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from challenge.tasks import TaskKind, TaskSpec
from evaluate.metrics.classification import auc
from evaluate.pages.case_text import goodness
from evaluate.pages.charts import Floats, cumulative, roc, roc_curve, shares, short_name, success
from evaluate.scores.cases import BoxCase, Case, LabelCase, MaskCase, Outcome, PointsCase


@dataclass(frozen=True)
class Chart:
    """A heading and an SVG."""

    title: str
    svg: str


def charts(spec: TaskSpec, cases: Sequence[Case], names: Sequence[str]) -> list[Chart]:
    """Return the charts of a task, none if no case was answered; `names` are those of its classes or points."""
    answered = [case for case in cases if case.outcome is Outcome.ANSWERED]
    if not answered:
        return []
    match spec.kind:
        case TaskKind.SEGMENTATION:
            return _masks(spec, cast(Sequence[MaskCase], answered), names)
        case TaskKind.CLASSIFICATION:
            return _labels(spec, cast(Sequence[LabelCase], answered), names)
        case TaskKind.DETECTION:
            return _boxes(spec, cast(Sequence[BoxCase], answered))
        case TaskKind.REGRESSION:
            return _points(spec, cast(Sequence[PointsCase], answered), names)


def _masks(spec: TaskSpec, cases: Sequence[MaskCase], names: Sequence[str]) -> list[Chart]:
    dice, distances = (np.array([getattr(case, name)[1:] for case in cases]).T for name in ("dice", "hausdorff"))
    labels = [""] if len(dice) == 1 else list(names[1:])
    return [
        Chart("Dice per image", shares(list(dice), labels, f"{spec.task_id}: Dice per image", "Dice")),
        Chart(
            "Hausdorff distance, cumulative",
            cumulative(list(distances), labels, f"{spec.task_id}: Hausdorff distance, cumulative", "distance in px"),
        ),
    ]


def _labels(spec: TaskSpec, cases: Sequence[LabelCase], names: Sequence[str]) -> list[Chart]:
    true = np.array([case.true for case in cases])
    probabilities = np.array([case.probabilities for case in cases])
    curves: list[tuple[Floats, Floats, str]] = []
    for index in [1] if spec.num_classes == 2 else range(spec.num_classes):
        positive = true == index
        if positive.any() and not positive.all():
            area = float(auc(probabilities[:, index], positive))
            curves.append((*roc_curve(probabilities[:, index], positive), f"{short_name(names[index])}: {area:.3f}"))
    return [Chart("ROC, one class against the rest", roc(curves, f"{spec.task_id}: ROC curves with their areas"))]


def _boxes(spec: TaskSpec, cases: Sequence[BoxCase]) -> list[Chart]:
    values = np.array([case.iou or 0.0 for case in cases])
    return [
        Chart("IoU per image", shares([values], [""], f"{spec.task_id}: IoU per image", "IoU")),
        Chart("IoU reached, cumulative", success(values, f"{spec.task_id}: share of images by IoU threshold")),
    ]


def _points(spec: TaskSpec, cases: Sequence[PointsCase], names: Sequence[str]) -> list[Chart]:
    series, labels = [], []
    for index in range(spec.num_classes):
        errors = np.array([case.errors[index] for case in cases if index not in case.absent])
        if len(errors):
            series.append(errors)
            labels.append(names[index])
    title = f"{spec.task_id}: radial error per point, cumulative"
    means = np.array([-goodness(case) for case in cases])
    return [
        Chart(
            "Mean radial error per image, cumulative",
            cumulative([means], [""], f"{spec.task_id}: mean radial error per image, cumulative", "error in px"),
        ),
        *(
            [Chart("Radial error per point, cumulative", cumulative(series, labels, title, "error in px"))]
            if series
            else []
        ),
    ]
