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
    """A task's headline score in each paradigm, on the same rows, with `fraction` of the training rows."""

    task_id: str
    kind: str
    group: str
    training_rows: int
    scores: Mapping[str, float]
    fraction: float = 1.0


def gain(comparison: TaskComparison, paradigm: str) -> float | None:
    """Return the relative difference to the task's own network, positive if better; None if that scored 0."""
    alone, shared = comparison.scores[SPECIFIC], comparison.scores[paradigm]
    better = metrics_of(TaskKind(comparison.kind))[0].higher_is_better
    return (shared - alone if better else alone - shared) / alone if alone else None


def report(comparisons: Sequence[TaskComparison], budget: int) -> str:
    """Return a Markdown page: a table for every setting, and the mean differences of every group in all of them."""
    lines = [
        f"Headline scores on the same rows; {budget:,} images seen in each paradigm and setting.",
        "The last columns are relative to the task-specific network, positive where sharing helps.",
    ]
    for fraction, members in settings(comparisons).items():
        lines += ["", f"## {fraction:.4g} % of the rows", "", *_tasks(members)]
    lines += ["", "## Groups", "", "| group | tasks | rows | grouped % | unified % |", "|---|---|---|---|---|"]
    for name in [*dict.fromkeys(c.group for c in comparisons), "all"]:
        for percent, members in settings([c for c in comparisons if name in (c.group, "all")]).items():
            gains = " | ".join(_percent(_mean([gain(c, paradigm) for c in members])) for paradigm in _SHARED)
            lines.append(f"| {name} | {len(members)} | {percent:.4g} % | {gains} |")
    return "\n".join(lines) + "\n"


def settings(comparisons: Sequence[TaskComparison]) -> dict[float, list[TaskComparison]]:
    """Return the comparisons of each setting, by the percentage of the training rows."""
    found: dict[float, list[TaskComparison]] = {}
    for comparison in comparisons:
        found.setdefault(100 * comparison.fraction, []).append(comparison)
    return found


def _tasks(comparisons: Sequence[TaskComparison]) -> list[str]:
    lines = [
        "| task | group | training rows | score | task-specific | grouped | unified | grouped % | unified % |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for c in comparisons:
        metric = metrics_of(TaskKind(c.kind))[0]
        scores = " | ".join(metric.text(c.scores[paradigm]) for paradigm in (SPECIFIC, *_SHARED))
        gains = " | ".join(_percent(gain(c, paradigm)) for paradigm in _SHARED)
        lines.append(f"| {c.task_id} | {c.group} | {c.training_rows} | {metric.short} | {scores} | {gains} |")
    return lines


def draw(comparisons: Sequence[TaskComparison], path: Path) -> None:
    """Draw the differences as bars: a panel for every setting, in each the same tasks from top to bottom."""
    panels = settings(comparisons)
    tallest = max(map(len, panels.values()))
    figure = new_figure(2 + 6 * len(panels), 1.4 + 0.4 * tallest)
    for axes, (percent, members) in zip(
        figure.subplots(1, len(panels), sharex=True, squeeze=False)[0], panels.items(), strict=True
    ):
        for number, paradigm in enumerate(_SHARED):
            values = [100 * (gain(comparison, paradigm) or 0.0) for comparison in members]
            places = [row + 0.4 * number - 0.2 for row in range(len(members))]
            axes.barh(places, values, height=0.38, label=paradigm)
        axes.set_yticks(range(len(members)), [literal(f"{c.task_id} ({c.training_rows})") for c in members])
        axes.invert_yaxis()
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_title(f"{percent:.4g} % of the training rows")
    figure.supxlabel("relative difference to the task's own network in % (right: sharing helps)")
    figure.axes[0].legend()
    figure.savefig(path, dpi=110)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:+.1f}"
