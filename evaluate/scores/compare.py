"""`compare`: several results side by side, differences to the first with paired bootstrap."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
import numpy.typing as npt

from challenge.errors import UserError
from challenge.host.console import printable
from challenge.tasks import TaskKind
from evaluate.metrics.bootstrap import group_weights, interval, p_value
from evaluate.scores.aggregate import Sampled, Scores, by_task, sample_kind, sample_task
from evaluate.scores.cases import Case
from evaluate.scores.metric_table import Column, Metric, metrics_of
from evaluate.scores.result import Result, read_result

TEMPLATES = Path(__file__).parents[1] / "pages" / "templates"
_SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Difference:
    """A run's value minus the first run's, its 95 % interval and two-sided p value, from paired draws."""

    value: float
    low: float | None
    high: float | None
    p: float | None
    better: bool

    @property
    def significant(self) -> bool:
        """Whether p is below 0.05 (without correction for the number of comparisons)."""
        return self.p is not None and self.p < _SIGNIFICANT


@dataclass(frozen=True)
class Line:
    """One score of a task, or of a kind (`task_id` None): a value per run, a difference per run but the first."""

    task_id: str | None
    metric: Metric
    values: tuple[float | None, ...]
    differences: tuple[Difference | None, ...]


@dataclass(frozen=True)
class Comparison:
    """All lines by kind, the means over tasks first in each."""

    names: tuple[str, ...]
    column: Column
    rows: int
    left_out: tuple[int, ...]
    groups: int
    draws: int
    lines: Mapping[TaskKind, Sequence[Line]]


def compare_results(paths: Sequence[Path], column: Column, draws: int, seed: int = 0) -> Comparison:
    """Compare result files on the rows that all have. Raises UserError for fewer than two, or none in common."""
    if len(paths) < 2:
        raise UserError("there is one result file only; give at least two to compare")
    results = [read_result(path) for path in paths]
    profile = results[0].profile
    if any(result.profile != profile for result in results):
        raise UserError("the result files are of different challenges; compare those of one --profile")
    runs, left_out = _common_cases(results)
    if not runs[0]:
        raise UserError("the result files have no rows in common; compare runs on the same data folder")
    specs = [spec for spec in (task.spec for task in results[0].tasks.values())
             if any(case.task_id == spec.task_id for case in runs[0])]  # fmt: skip
    # One matrix for all runs: each draw takes the same patients in every run, which is what pairs them.
    groups = [case.group for case in runs[0]]
    weights = group_weights(groups, draws, seed)
    sampled: list[dict[str, Scores]] = []
    for cases in runs:
        rows = by_task(specs, cases)
        sampled.append({
            spec.task_id: sample_task(spec, [cases[row] for row in rows[spec.task_id]], weights[:, rows[spec.task_id]])
            for spec in specs
        })  # fmt: skip
    lines: dict[TaskKind, list[Line]] = {}
    for kind in TaskKind:
        ids = [spec.task_id for spec in specs if spec.kind is kind]
        means = [sample_kind([run[task_id] for task_id in ids]) for run in sampled]
        for metric in metrics_of(kind, profile) if ids else ():
            lines.setdefault(kind, []).append(_line(None, metric, means, column))
        for task_id in ids:
            lines[kind] += [_line(task_id, metric, [run[task_id] for run in sampled], column)
                            for metric in metrics_of(kind, profile)]  # fmt: skip
    return Comparison(_names(paths), column, len(runs[0]), tuple(left_out), len(set(groups)), draws, lines)


def _common_cases(results: Sequence[Result]) -> tuple[list[list[Case]], list[int]]:
    """The cases of each result in the order of the first, of those rows alone that all results have."""
    keyed = [{(case.row, case.image_path, case.task_id): case for case in result.cases} for result in results]
    common = [key for key in keyed[0] if all(key in run for run in keyed)]
    return [[run[key] for key in common] for run in keyed], [len(run) - len(common) for run in keyed]


def _names(paths: Sequence[Path]) -> tuple[str, ...]:
    stems = [path.stem for path in paths]
    return tuple(stems if len(set(stems)) == len(stems) else map(str, paths))


def _line(task_id: str | None, metric: Metric, runs: Sequence[Scores], column: Column) -> Line:
    found = [run.get((metric.name, column)) for run in runs]
    values = tuple(None if sampled is None or np.isnan(sampled.value) else sampled.value for sampled in found)
    differences = tuple(_difference(metric, found[0], other) for other in found[1:])
    return Line(task_id, metric, values, differences)


def _difference(metric: Metric, first: Sampled | None, other: Sampled | None) -> Difference | None:
    if first is None or other is None or np.isnan(first.value) or np.isnan(other.value):
        return None
    draws: npt.NDArray[np.float64] = other.draws - first.draws
    value = other.value - first.value
    low, high = interval(draws) or (None, None)
    return Difference(value, low, high, p_value(draws), better=(value > 0) == metric.higher_is_better and value != 0)


def to_markdown(comparison: Comparison) -> str:
    """Return the comparison as Markdown tables; differences with p < 0.05 are bold."""
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
    yield (f"{comparison.column.capitalize()} scores of {comparison.rows:,} rows that all runs have, "
           f"differences to {comparison.names[0]}.")  # fmt: skip
    for name, count in zip(comparison.names, comparison.left_out, strict=True):
        if count:
            yield f"{count:,} rows of {name} are not in every run, and left out."
    yield (f"Intervals and p values: paired bootstrap, {comparison.draws:,} draws of {comparison.groups:,} groups, "
           "95 %, two-sided, without correction for the number of comparisons.")  # fmt: skip


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_plain, cells)) + " |"


def _plain(text: str) -> str:
    """A name as Markdown shows it as it is: in one line, without markup or ends of cells."""
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
    """Return `+0.0123 [+0.0010, +0.0240]`, or what of it is defined."""
    if difference is None:
        return "n/a"
    value = metric.text(difference.value, signed=True)
    if difference.low is None or difference.high is None:
        return value
    return f"{value} [{metric.text(difference.low, signed=True)}, {metric.text(difference.high, signed=True)}]"


def p_text(difference: Difference | None) -> str:
    """Return the p value with three digits."""
    return "n/a" if difference is None or difference.p is None else f"{difference.p:.3f}"


def to_html(comparison: Comparison) -> str:
    """Return the comparison as one self-contained page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    return environment.get_template("compare.html.j2").render(
        comparison=comparison,
        sentences=list(explained(comparison)),
        difference_text=difference_text,
        p_text=p_text,
    )
