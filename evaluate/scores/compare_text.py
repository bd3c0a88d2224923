"""A comparison as Markdown, and the sentences and numbers that its HTML page shows too."""

from collections.abc import Iterator, Sequence

from challenge.host.console import printable
from evaluate.scores.compare import Comparison, Difference, Line
from evaluate.scores.metric_table import Metric


def to_markdown(comparison: Comparison) -> str:
    """Return the comparison as Markdown tables. Differences with p < 0.05 are bold."""
    lines = ["# Comparison", "", *(f"{_plain(sentence)}  " for sentence in explained(comparison))]
    head = ["task", "score", comparison.names[0]]
    for name in comparison.names[1:]:
        head += [name, f"difference to {comparison.names[0]}", "p"]
    for kind, rows in comparison.lines.items():
        lines += ["", f"## {kind.capitalize()}", "", _row(head), _row(["---", "---", *["---:"] * (len(head) - 2)])]
        lines += [_row(list(_cells(line))) for line in rows]
    return "\n".join(lines) + "\n"


def explained(comparison: Comparison) -> Iterator[str]:
    """What was compared, in sentences."""
    yield (
        f"{comparison.column.capitalize()} scores of {comparison.rows:,} rows that all runs share. "
        f"Differences are to {comparison.names[0]}."
    )
    for name, count in zip(comparison.names, comparison.left_out, strict=True):
        if count:
            yield f"{count:,} rows of {name} are left out, because other runs lack them."
    yield (
        f"Intervals and p values: paired bootstrap, {comparison.draws:,} draws of {comparison.groups:,} groups, "
        "95 %, two-sided, without correction for the number of comparisons."
    )


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_plain, cells)) + " |"


def _plain(text: str) -> str:
    """A name escaped for Markdown: one line, no markup, no end of a table cell."""
    return printable(text).replace("|", "\\|").replace("<", "\\<")


def _cells(line: Line) -> Iterator[str]:
    yield line.task_id or "mean over tasks"
    yield line.metric.short + (f" ({line.metric.unit})" if line.metric.unit else "")
    yield line.metric.text(line.values[0])
    for value, difference in zip(line.values[1:], line.differences, strict=True):
        yield line.metric.text(value)
        text = difference_text(line.metric, difference)
        yield f"**{text}**" if difference and difference.significant else text
        yield p_text(difference)


def difference_text(metric: Metric, difference: Difference | None) -> str:
    """Return `+0.0123 [+0.0010, +0.0240]`; without the interval, or `n/a`, if it is undefined."""
    if difference is None:
        return "n/a"
    value = metric.text(difference.value, signed=True)
    if difference.low is None or difference.high is None:
        return value
    return f"{value} [{metric.text(difference.low, signed=True)}, {metric.text(difference.high, signed=True)}]"


def p_text(difference: Difference | None) -> str:
    """Return the p value with three digits."""
    return "n/a" if difference is None or difference.p is None else f"{difference.p:.3f}"
