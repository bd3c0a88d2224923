"""A comparison of results as one self-contained HTML page."""

from challenge.class_names import ClassNames
from challenge.tasks import TaskKind
from evaluate.pages.changed_rows import changed_rows, unreachable
from evaluate.pages.charts import Interval, differences
from evaluate.pages.environment import make_environment
from evaluate.scores.compare import Comparison, Difference
from evaluate.scores.compare_text import difference_text, explained, p_text
from evaluate.scores.metric_table import headline


def to_html(comparison: Comparison, names: ClassNames | None = None) -> str:
    """Return the comparison as one page that needs no other file.

    It shows the rows that changed most if the folders that the result files name are here. `names` are what the classes
    are called.
    """
    drawable = comparison.profile == "fmc"
    missing = unreachable(comparison) if drawable else None
    return (
        make_environment()
        .get_template("compare.html.j2")
        .render(
            comparison=comparison,
            sentences=list(explained(comparison)),
            difference_text=difference_text,
            p_text=p_text,
            charts={kind: _chart(comparison, kind) for kind in comparison.lines},
            changes=list(changed_rows(comparison, names or ClassNames())) if drawable and not missing else [],
            missing=missing,
        )
    )


def _chart(comparison: Comparison, kind: TaskKind) -> str:
    metric = headline(kind, comparison.profile)
    lines = [line for line in comparison.lines[kind] if line.metric == metric]
    side = "right" if metric.higher_is_better else "left"
    unit = f" in {metric.unit}" if metric.unit else ""
    return differences(
        [line.task_id or "mean over tasks" for line in lines],
        {
            name: [_interval(line.differences[index]) for line in lines]
            for index, name in enumerate(comparison.names[1:])
        },
        f"{kind}: differences of {metric.short} to {comparison.names[0]}",
        f"difference of {metric.short}{unit}; {side} of 0 is better",
    )


def _interval(difference: Difference | None) -> Interval | None:
    if difference is None:
        return None
    return difference.value, difference.low, difference.high, difference.significant
