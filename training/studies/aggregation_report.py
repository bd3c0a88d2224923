"""The table and the picture of `python -m training aggregate`: who gains and who loses by sharing a network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from challenge.tasks import TaskKind
from evaluate.scores.metric_table import metrics_of
from training.figures import literal, new_figure

SPECIFIC, GROUPED, UNIFIED = "task-specific", "grouped", "unified"
_SHARED = (GROUPED, UNIFIED)


@dataclass(frozen=True)
class TaskComparison:
    """A task's headline score in each paradigm, on the same rows."""

    task_id: str
    kind: str
    group: str
    training_rows: int
    scores: Mapping[str, float]


def gain(comparison: TaskComparison, paradigm: str) -> float | None:
    """Return the relative difference to the task's own network, positive if better; None if that scored 0."""
    alone, shared = comparison.scores[SPECIFIC], comparison.scores[paradigm]
    better = metrics_of(TaskKind(comparison.kind))[0].higher_is_better
    return (shared - alone if better else alone - shared) / alone if alone else None


def table(comparisons: Sequence[TaskComparison], budget: int) -> str:
    """Return a Markdown table, smallest training set first, and the mean difference of every group."""
    lines = [
        f"Headline scores on the same rows; {budget:,} images seen in each paradigm.",
        "The last columns are relative to the task-specific network, positive where sharing helps.",
        "",
        "| task | group | training rows | score | task-specific | grouped | unified | grouped % | unified % |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for c in comparisons:
        metric = metrics_of(TaskKind(c.kind))[0]
        scores = " | ".join(metric.text(c.scores[paradigm]) for paradigm in (SPECIFIC, *_SHARED))
        gains = " | ".join(_percent(gain(c, paradigm)) for paradigm in _SHARED)
        lines.append(f"| {c.task_id} | {c.group} | {c.training_rows} | {metric.short} | {scores} | {gains} |")
    lines += ["", "| group | tasks | grouped % | unified % |", "|---|---|---|---|"]
    groups = dict.fromkeys(c.group for c in comparisons)
    for name in [*groups, "all"]:
        members = [c for c in comparisons if name in (c.group, "all")]
        gains = " | ".join(_percent(_mean([gain(c, paradigm) for c in members])) for paradigm in _SHARED)
        lines.append(f"| {name} | {len(members)} | {gains} |")
    return "\n".join(lines) + "\n"


def draw(comparisons: Sequence[TaskComparison], path: Path) -> None:
    """Draw the differences as bars, one row per task, the smallest training set at the top."""
    figure = new_figure(8, 1.2 + 0.4 * len(comparisons))
    axes = figure.subplots()
    for number, paradigm in enumerate(_SHARED):
        values = [100 * (gain(comparison, paradigm) or 0.0) for comparison in comparisons]
        places = [row + 0.4 * number - 0.2 for row in range(len(comparisons))]
        axes.barh(places, values, height=0.38, label=paradigm)
    axes.set_yticks(range(len(comparisons)), [literal(f"{c.task_id} ({c.training_rows})") for c in comparisons])
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("relative difference to the task's own network in % (right: sharing helps)")
    axes.legend()
    figure.savefig(path, dpi=110)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:+.1f}"
