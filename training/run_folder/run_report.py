"""What a finished run tells: a table per task, and the curves of losses, scores and learning rates."""

import logging
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from challenge.tasks import TaskKind, TaskSpec
from evaluate.scores.metric_table import metrics_of
from training.figures import literal, new_figure
from training.run_folder.run_log import FILE, read_log
from training.text_files import write_text

logger = logging.getLogger(__name__)

TABLE, CURVES = "scores.md", "curves.png"


def write_report(run: Path, tasks: Mapping[str, TaskSpec], rows: Mapping[str, int]) -> None:
    """Write `run/scores.md` and `run/curves.png` from the run's log."""
    lines = read_log(run / FILE)
    scored = [line for line in lines if "dev" in line]
    best = max(scored, key=lambda line: line["selection"], default=None)
    table = score_table(best, tasks, rows)
    write_text(run / TABLE, table)
    logger.info("dev scores:\n%s", table)
    draw_curves(lines, run / CURVES)


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


def draw_curves(lines: list[dict[str, Any]], path: Path) -> None:
    """Draw the loss of every task, the dev selection and the learning rates over the steps."""
    losses: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for line in lines:
        for task_id, value in line.get("loss", {}).items():
            losses[task_id].append((line["step"], value))
    figure = new_figure(15, 4.5)
    left, middle, right = figure.subplots(1, 3, width_ratios=(2, 1, 1))
    for number, (task_id, points) in enumerate(sorted(losses.items())):
        style = "-" if number < 10 else "--"
        left.plot(
            [step for step, _ in points],
            [value for _, value in points],
            style,
            color=f"C{number % 10}",
            linewidth=1,
            label=literal(task_id),
        )
    left.set(title="Loss per task", xlabel="step", yscale="log")
    if losses:
        left.legend(fontsize=6, ncols=2)
    scored = [(line["step"], line["selection"]) for line in lines if "selection" in line]
    middle.plot([step for step, _ in scored], [value for _, value in scored], "o-", markersize=3)
    middle.set(title="Dev selection (higher is better)", xlabel="step")
    for name in ("encoder", "heads"):
        rates = [(line["step"], line["lr"][name]) for line in lines if "lr" in line]
        right.plot([step for step, _ in rates], [rate for _, rate in rates], label=name)
    right.set(title="Learning rate", xlabel="step", yscale="log" if any(rate for _, rate in rates) else "linear")
    right.legend()
    figure.savefig(path, dpi=110)
