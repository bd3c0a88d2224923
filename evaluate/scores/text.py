"""Results as plain text for a terminal."""

from collections.abc import Iterator, Mapping, Sequence

from challenge.host.console import printable
from evaluate.scores.aggregate import Estimate
from evaluate.scores.metric_table import Column, Metric, metrics_of
from evaluate.scores.result import KindResult, Result, TaskResult, is_whole_challenge


def score_text(result: Result) -> str:
    """Return the summary per kind, one line per task, and the notes."""
    counts = result.counts
    lines = [
        f"{counts.rows:,} rows: {counts.answered:,} answered, {counts.missing:,} missing, {counts.no_truth:,} no truth",
        f"95 % intervals from {result.draws:,} bootstrap draws of {counts.groups:,} groups",
        "official leaves rows without a prediction out, strict counts them as worst",
        "",
        *_aligned(_summary(result)),
    ]
    for kind in result.kinds:
        lines += ["", *_aligned(_tasks(metrics_of(kind, result.profile), result.tasks_of(kind), str(kind)))]
    if used := result.resources:
        cost = f"{used.total_s:.1f} s in all on {used.device}, {used.peak_memory_mib:,.0f} MiB peak memory"
        lines += ["", f"inference of {used.answered:,} rows: {cost}"]
    notes = [*result.notes, *(f"{task_id}: {note}" for task_id, task in result.tasks.items() for note in task.notes)]
    return "\n".join([*lines, "", *(f"note: {printable(note)}" for note in notes)] if notes else lines)


def interval_text(metric: Metric, estimate: Estimate | None) -> str:
    """Return `value [low, high]`; without the interval, or `n/a`, if it is undefined."""
    if estimate is None or estimate.value is None:
        return "n/a"
    value = metric.text(estimate.value)
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} [{metric.text(estimate.low)}, {metric.text(estimate.high)}]"


def _summary(result: Result) -> Iterator[list[str]]:
    published = result.profile == "fmc" and any(is_whole_challenge(result, kind) for kind in result.kinds)
    yield ["mean over tasks", "tasks", "official", "strict", *(["baseline*"] if published else [])]
    for kind, found in result.kinds.items():
        for metric in metrics_of(kind, result.profile):
            name = f"{metric.title} ({metric.unit})" if metric.unit else metric.title
            known = metric.baseline is not None and is_whole_challenge(result, kind)
            baseline = metric.text(metric.baseline) if known else ""
            yield [name, str(found.tasks), *_both(metric, found), *([baseline] if published else [])]
    if published:
        yield ["* the organisers' baseline on the official validation set: other images, for orientation only"]


def _both(metric: Metric, found: KindResult) -> list[str]:
    columns = found.metrics.get(metric.name, {})
    return [interval_text(metric, columns.get(column)) for column in Column]


def _tasks(metrics: Sequence[Metric], tasks: Sequence[TaskResult], kind: str) -> Iterator[list[str]]:
    yield [
        kind,
        "rows",
        "missing",
        *(f"{metric.short} {column}" for metric in metrics for column in ("off.", "strict")),
    ]
    for task in tasks:
        values = [metric.text(_value(task.metrics, metric, column)) for metric in metrics for column in Column]
        yield [f"  {task.spec.task_id}", str(task.counts.rows), str(task.counts.missing), *values]


def _value(table: Mapping[str, Mapping[Column, Estimate]], metric: Metric, column: Column) -> float | None:
    estimate = table.get(metric.name, {}).get(column)
    return estimate.value if estimate else None


def _aligned(rows: Iterator[list[str]]) -> list[str]:
    table = [[printable(cell) for cell in row] for row in rows]
    full = [row for row in table if len(row) > 1]
    widths = [max(len(row[index]) for row in full) for index in range(len(full[0]))]
    return [_line(row, widths) if len(row) > 1 else row[0] for row in table]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    """The row's name to the left, its numbers to the right."""
    name, *numbers = row
    cells = [cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=False)]
    return "  ".join([name.ljust(widths[0]), *cells]).rstrip()
