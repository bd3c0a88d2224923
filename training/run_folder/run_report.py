"""What a finished run tells: a table per task, and the curves of losses, dev scores and learning rates."""

import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from challenge.tasks import TaskKind, TaskSpec
from evaluate.scores.metric_table import headline, metrics_of
from training.figures import Look, distinct, literal, new_figure
from training.run_folder.run_log import FILE, read_log
from training.text_files import write_text

logger = logging.getLogger(__name__)

TABLE, CURVES = "scores.md", "curves.png"
ALL_ROWS = "all_rows"
"""Key of the log's line with the best network's scores on all dev rows, if only some were scored while training."""


def write_report(run: Path, tasks: Mapping[str, TaskSpec], rows: Mapping[str, int]) -> None:
    """Write `run/scores.md` and `run/curves.png` from the run's log."""
    lines = read_log(run / FILE)
    scored = [line for line in lines if "dev" in line]
    best = next((line for line in reversed(scored) if line.get(ALL_ROWS)), None)
    best = best or max(scored, key=lambda line: line["selection"], default=None)
    table = score_table(best, tasks, rows)
    if best and (unscored := [task_id for task_id in rows if task_id not in best["dev"]]):
        logger.warning("no dev rows: %s; these tasks are in no mean", ", ".join(unscored))
    write_text(run / TABLE, table)
    for line in table.splitlines():
        logger.info("%s", line)
    draw_curves(
        [line for line in lines if not line.get(ALL_ROWS)],
        run / CURVES,
        {task_id: spec.kind for task_id, spec in tasks.items()},
    )


def score_table(
    best: Mapping[str, Any] | None,
    tasks: Mapping[str, TaskSpec],
    rows: Mapping[str, int],
    judged_by: str = "the dev rows",
) -> str:
    """Return a Markdown table per kind: training rows and official scores of each task, and their mean.

    `judged_by` says in words which rows were scored.
    """
    if best is None:
        return "No dev rows, no scores.\n"
    text = [f"Official scores on {judged_by} at step {best['step']} (selection {best['selection']:.4f}).\n"]
    for kind in TaskKind:
        scored = {t: best["dev"][t] for t in best["dev"] if tasks[t].kind is kind}
        if not scored:
            continue
        metrics = metrics_of(kind)
        text.append(f"\n| {kind} | training rows | {' | '.join(metric.name for metric in metrics)} |")
        text.append("|---|---|" + "---|" * len(metrics))
        for task_id, scores in scored.items():
            cells = [metric.text(scores.get(metric.name)) for metric in metrics]
            text.append(f"| {task_id} | {rows.get(task_id, 0)} | {' | '.join(cells)} |")
        means = [sum(s[m.name] for s in scored.values()) / len(scored) for m in metrics]
        cells = [metric.text(mean) for metric, mean in zip(metrics, means, strict=True)]
        text.append(f"| **mean** | {sum(rows.get(t, 0) for t in scored)} | {' | '.join(cells)} |")
    return "\n".join(text) + "\n"


def draw_curves(lines: list[dict[str, Any]], path: Path, kinds: Mapping[str, TaskKind] | None = None) -> None:
    """Draw over the steps: the loss of every task, its headline score on the dev rows, selection and learning rates.

    `kinds` are those of the tasks; without them there are no dev curves. What the log does not hold gets no panel.
    What was scored only once is drawn as bars.
    """
    panels = list(_panels(lines, kinds or {}))
    names = sorted({name for panel in panels if panel.by_task for name in panel.curves})
    looks = dict(zip(names, distinct(len(names)), strict=True))
    rows = 1 if len(panels) <= 3 else 2
    columns = max(1, math.ceil(len(panels) / rows))
    figure = new_figure(5 * columns, max(3.6 * rows, 0.19 * len(names) + 0.6))
    if not panels:
        figure.text(0.5, 0.5, "The log holds no curves yet.", ha="center")
        figure.savefig(path, dpi=110)
        return
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    last = max(step for panel in panels for curve in panel.curves.values() for step, _ in curve)
    for axes, panel in zip(places, panels, strict=False):
        if panel.is_scored_once:
            _draw_bars(axes, panel, looks)
        else:
            _draw_curves(axes, panel, looks, last)
    _draw_legend(figure, places[len(panels) :], looks)
    figure.savefig(path, dpi=110)


Curve = list[tuple[int, float]]
"""Steps with their values."""


@dataclass(frozen=True)
class _Panel:
    """One panel: curves by name. If they are `by_task`, the legend of all panels names them."""

    title: str
    curves: Mapping[str, Curve]
    by_task: bool = True
    is_log: bool = False

    @property
    def is_scored_once(self) -> bool:
        """Whether all values are of the same step, so that there is no curve."""
        return len({step for curve in self.curves.values() for step, _ in curve}) == 1


def _panels(lines: Sequence[Mapping[str, Any]], kinds: Mapping[str, TaskKind]) -> Iterator[_Panel]:
    """Yield the panels that the log has curves for."""
    if losses := _curves((line["step"], line.get("loss", {})) for line in lines):
        yield _Panel("Loss per task", losses, is_log=True)
    for kind in TaskKind:
        metric = headline(kind)
        scores = _curves(
            (line["step"], {task: scores.get(metric.name) for task, scores in line.get("dev", {}).items()})
            for line in lines
        )
        if of_kind := {task: curve for task, curve in scores.items() if kinds.get(task) is kind}:
            unit = f" ({metric.unit}, lower is better)" if metric.unit else ""
            yield _Panel(f"{metric.title} on dev rows{unit}", of_kind)
    if selection := _curves((line["step"], {"selection": line.get("selection")}) for line in lines):
        yield _Panel("Selection on dev rows (higher is better)", selection, by_task=False)
    if rates := _curves((line["step"], line.get("lr", {})) for line in lines):
        positive = any(rate > 0 for curve in rates.values() for _, rate in curve)
        yield _Panel("Learning rate", rates, by_task=False, is_log=positive)


def _curves(points: Iterable[tuple[int, Mapping[str, float | None]]]) -> dict[str, Curve]:
    """Return a curve for each name that has a value at some step."""
    curves: dict[str, Curve] = defaultdict(list)
    for step, values in points:
        for name, value in values.items():
            if value is not None:
                curves[name].append((step, value))
    return dict(curves)


def _draw_curves(axes: Any, panel: _Panel, looks: Mapping[str, Look], last: int) -> None:
    """Draw the panel's curves; the axis runs to the `last` step of the log, the same in all panels."""
    for name, curve in sorted(panel.curves.items()):
        steps, values = zip(*curve, strict=True)
        style = {"color": looks[name].colour, "linestyle": looks[name].line} if panel.by_task else {}
        # A curve of few points, such as a dev score of a short run, needs marks to be seen.
        marker = "o" if len(curve) < 12 else ""
        axes.plot(steps, values, marker=marker, markersize=3, linewidth=1.2, label=name, **style)
    axes.set(xlabel="step", yscale="log" if panel.is_log else "linear")
    axes.set_title(panel.title, fontsize=11)
    axes.set_xlim(0, 1.02 * max(last, 1))
    axes.grid(alpha=0.3)
    if not panel.by_task and len(panel.curves) > 1:
        axes.legend(fontsize=8)


def _draw_bars(axes: Any, panel: _Panel, looks: Mapping[str, Look]) -> None:
    """Draw a bar with its value for each name: one point of a curve says less."""
    names = sorted(panel.curves)
    (step, _), *_others = panel.curves[names[0]]
    values = [panel.curves[name][0][1] for name in names]
    colours = [looks[name].colour for name in names] if panel.by_task else None
    bars = axes.barh(range(len(names)), values, height=0.7, color=colours)
    axes.bar_label(bars, [f"{value:.3g}" for value in values], padding=3, fontsize=8)
    axes.set_yticks(range(len(names)), [literal(name) for name in names], fontsize=8)
    axes.set(xlabel=f"at step {step}, the only one with a score", ylim=(max(len(names), 5) - 0.5, -0.5))
    axes.set_title(panel.title, fontsize=11)
    axes.margins(x=0.15)
    axes.grid(axis="x", alpha=0.3)


def _draw_legend(figure: Any, free: Sequence[Any], looks: Mapping[str, Look]) -> None:
    """Draw the legend of the tasks in a `free` place, or else beside all panels; empty the other free places."""
    for axes in free[1:]:
        axes.remove()
    for axes in free[:1]:
        axes.axis("off")
    handles = {label: handle for axes in figure.axes for handle, label in _handles(axes) if label in looks}
    if not handles:
        return
    entries = list(handles.values()), [literal(name) for name in handles]
    if len(free):
        free[0].legend(*entries, loc="center", fontsize=8, handlelength=3, ncols=1 + (len(handles) > 16))
    else:
        figure.legend(*entries, loc="outside right center", fontsize=8, handlelength=3)


def _handles(axes: Any) -> Iterator[tuple[Any, str]]:
    """Yield the axes' curves with their names, which a legend would take for hidden if they begin with `_`."""
    return ((line, line.get_label()) for line in axes.get_lines())
