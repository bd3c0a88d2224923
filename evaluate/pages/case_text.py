"""How good one answer is: as a number to sort by, in words, and as bars of class probabilities; file names."""

import math
from collections.abc import Sequence
from html import escape

from challenge.tasks import TaskKind
from evaluate.scores.cases import BoxCase, Case, LabelCase, MaskCase, PointsCase
from evaluate.scores.metric_table import headline, metrics_of

_DISTANCE = metrics_of(TaskKind.SEGMENTATION)[1]


def goodness(case: Case) -> float:
    """Return a number that is larger for a better answer: Dice, the true class's probability, IoU, minus the error."""
    match case:
        case MaskCase():
            return sum(case.dice[1:]) / max(1, len(case.dice) - 1)
        case LabelCase():
            return case.probabilities[case.true] if case.true is not None and case.probabilities else 0.0
        case BoxCase():
            return case.iou or 0.0
        case PointsCase():
            known = [error for index, error in enumerate(case.errors) if index not in case.absent]
            return -sum(known) / len(known) if known else 0.0
        case _:
            return 0.0


def described(case: Case, names: Sequence[str]) -> tuple[str, str]:
    """Return how good an answer is, in words, and a detail; `names` are those of the task's classes."""
    good = goodness(case)
    match case:
        case MaskCase():
            distance = sum(case.hausdorff[1:]) / max(1, len(case.hausdorff) - 1)
            return score_words(TaskKind.SEGMENTATION, good), f"{_DISTANCE.short} {_DISTANCE.brief(distance)}"
        case LabelCase():
            mark = "right" if case.predicted == case.true else "wrong"
            return f"{mark}, {good:.0%}", said_and_is(case, names)
        case BoxCase():
            return score_words(TaskKind.DETECTION, good), ""
        case _:
            return score_words(TaskKind.REGRESSION, -good), ""


def said_and_is(case: LabelCase, names: Sequence[str]) -> str:
    """Return `benign`, or `said benign, is malignant` if the answer is wrong."""
    said, true = class_name(names, case.predicted), class_name(names, case.true)
    return said if case.predicted == case.true else f"said {said}, is {true}"


def score_words(kind: TaskKind, value: float) -> str:
    """Return `Dice 0.853`, `correct 83%`, `IoU 0.700` or `error 12.4 px`."""
    metric = headline(kind)
    match kind:
        case TaskKind.CLASSIFICATION:
            return f"correct {value:.0%}"
        case TaskKind.REGRESSION:
            return f"error {metric.brief(value)}"
        case _:
            return f"{metric.short} {metric.brief(value)}"


def class_bars(probabilities: Sequence[float], said: int | None, true: int | None, names: Sequence[str]) -> str:
    """Return a `<ul>` with a row per class: its name, its probability in percent and a bar.

    The answer `said` is in colour, the `true` class has a mark; either may be None. Probabilities outside 0..1 and NaN
    are drawn as the nearest end.
    """
    rows = [
        _row(class_name(names, index), probability, is_said=index == said, is_true=index == true)
        for index, probability in enumerate(probabilities)
    ]
    return f'<ul class="bars">{"".join(rows)}</ul>' if rows else ""


def class_name(names: Sequence[str], index: int | None) -> str:
    """Return the name of class `index`; an answer may lie outside the known classes."""
    return names[index] if index is not None and 0 <= index < len(names) else f"class {index}"


def file_name(image_path: str) -> str:
    """Return the last part of a path from a manifest, which may have been written on Windows."""
    return image_path.replace("\\", "/").rsplit("/", 1)[-1]


def _row(name: str, probability: float, *, is_said: bool, is_true: bool) -> str:
    share = min(max(probability, 0.0), 1.0) if math.isfinite(probability) else 0.0
    classes = " ".join([*(["said"] if is_said else []), *(["true"] if is_true else [])])
    mark = "<em>true</em>" if is_true else ""
    return (
        f'<li class="{classes}"><span class="name">{escape(name)}{mark}</span><span>{share:.1%}</span>'
        f'<i style="--share: {share:.1%}"></i></li>'
    )
