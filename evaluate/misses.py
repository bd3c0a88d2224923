"""Do masks fail as a whole, or at their borders? Both lower the mean Dice, and call for different work."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from challenge.tasks import TaskKind
from evaluate.scores.cases import MaskCase
from evaluate.scores.result import Result

MISSED = 0.5
"""A mask with a lower mean Dice of its classes counts as missed."""


@dataclass(frozen=True)
class Misses:
    """The masks of a task: how many there are, their Dice, and what the missed ones do to the mean.

    `dice` and `median` are over all of them, `rest` is the mean over those that are not missed (NaN if all are).
    `share` is the part of the whole error (1 - Dice, summed) that the missed ones make.
    """

    task_id: str
    rows: int
    missed: int
    dice: float
    median: float
    rest: float
    share: float

    @classmethod
    def of(cls, task_id: str, dice: Sequence[float]) -> "Misses":
        """Return the misses among masks with these values of Dice, of which there is at least one."""
        values = np.asarray(dice)
        missed = values < MISSED
        error = float((1 - values).sum())
        return cls(
            task_id,
            rows=len(values),
            missed=int(missed.sum()),
            dice=float(values.mean()),
            median=float(np.median(values)),
            rest=float(values[~missed].mean()) if (~missed).any() else float("nan"),
            share=float((1 - values[missed]).sum()) / error if error else 0.0,
        )


def misses(result: Result) -> Iterator[Misses]:
    """Yield the misses of every segmentation task with answered rows: the strict Dice, without the background."""
    for task in result.tasks_of(TaskKind.SEGMENTATION):
        dice = [
            float(np.mean(case.dice[1:]))
            for case in result.cases
            if isinstance(case, MaskCase) and case.task_id == task.spec.task_id and case.dice
        ]
        if dice:
            yield Misses.of(task.spec.task_id, dice)


def table(found: Iterator[Misses]) -> Iterator[str]:
    """Yield the lines of a table (Markdown)."""
    yield f"| task | rows | Dice | median | missed (Dice under {MISSED}) | their part of the error | Dice of the rest |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for one in found:
        numbers = f"{one.rows} | {one.dice:.3f} | {one.median:.3f} | {one.missed}"
        rest = "-" if math.isnan(one.rest) else f"{one.rest:.3f}"
        yield f"| {one.task_id} | {numbers} | {one.share:.0%} | {rest} |"
