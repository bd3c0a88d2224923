"""The risk-coverage curves as a picture, and the findings as a table."""

import io
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from challenge.tasks import TaskKind
from evaluate.confidence.risk import COVERAGES, KEPT, Finding
from evaluate.scores.aggregate import Estimate

_ERRORS = {
    TaskKind.SEGMENTATION: "1 - Dice",
    TaskKind.CLASSIFICATION: "share of wrong classes",
    TaskKind.DETECTION: "1 - IoU",
    TaskKind.REGRESSION: "radial error, native px",
}
_MEAN, _SECOND, _SOFT = "#0b5fa5", "#b3541e", "#8a929c"


def picture(findings: Sequence[Finding], title: str) -> bytes:
    """Return a PNG with the risk-coverage curves of every kind that has answers."""
    kinds = list(dict.fromkeys(finding.kind for finding in findings))
    columns = min(2, len(kinds))
    lines = -(-len(kinds) // columns)
    figure = Figure(figsize=(5.0 * columns, 3.9 * lines + 0.3), layout="constrained")
    figure.suptitle(title, fontsize=11)
    places = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes, kind in zip(places, kinds, strict=False):
        _draw(axes, kind, [finding for finding in findings if finding.kind is kind])
    for axes in places[len(kinds) :]:
        axes.set_visible(False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    return stream.getvalue()


def table(findings: Sequence[Finding]) -> str:
    """Return the findings as Markdown; the mean over a kind's tasks stands in bold after them."""
    return "\n".join(_lines(findings)) + "\n"


def _draw(axes: Axes, kind: TaskKind, findings: Sequence[Finding]) -> None:
    measures = list(dict.fromkeys(finding.measure for finding in findings))
    for finding in findings:
        if finding.task_id and finding.measure == measures[0]:
            axes.plot(COVERAGES, finding.curve, color=_SOFT, linewidth=0.8, alpha=0.6)
    means = [finding for finding in findings if finding.task_id is None]
    for finding, colour in zip(means, (_MEAN, _SECOND), strict=False):
        axes.plot(COVERAGES, finding.curve, color=colour, linewidth=2.2, label=f"by {finding.measure}, mean over tasks")
    axes.plot(COVERAGES, means[0].best, color=_MEAN, linestyle=":", label="by the true error (the best possible)")
    axes.axhline(means[0].curve[-1], color=_SOFT, linestyle="--", linewidth=1, label="in any order")
    axes.plot([], [], color=_SOFT, linewidth=0.8, label="single tasks")
    axes.set(title=kind.value, xlabel="share of answers kept, the surest first", ylabel=f"mean error: {_ERRORS[kind]}")
    highest = max(float(np.max(finding.curve)) for finding in findings)
    axes.set(xlim=(COVERAGES[0], 1), ylim=(0, highest * 1.45 or 1))  # room for the legend
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.legend(fontsize=7.5, loc="upper left", framealpha=0.9)


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    kept = [f"error of {coverage:.0%}" if coverage < 1 else "error of all" for coverage in KEPT]
    yield f"| kind | task | measure | rows | rank correlation [95 %] | {' | '.join(kept)} |"
    yield "|---|---|---|---|---|" + "---|" * len(KEPT)
    for finding in findings:
        numbers = [_number(finding.kind, value) for value in finding.kept]
        cells = [
            finding.task_id or "mean",
            finding.measure,
            f"{finding.rows:,}",
            _interval(finding.correlation),
            *numbers,
        ]
        if finding.task_id is None:
            cells = [f"**{cell}**" for cell in cells]
        yield f"| {finding.kind.value} | {' | '.join(cells)} |"


def _number(kind: TaskKind, value: float) -> str:
    return f"{value:.1f} px" if kind is TaskKind.REGRESSION else f"{value:.3f}"


def _interval(estimate: Estimate) -> str:
    if estimate.value is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"
