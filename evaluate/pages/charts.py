"""Charts as inline SVG in the page's colours and font, so that they follow its light and dark themes."""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from xml.dom import minidom

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float | None, float | None, bool]
"""A difference, both ends of its interval (None if undefined), and whether it is significant."""

# Matplotlib needs real colours. These placeholders become CSS variables in the SVG.
_INK, _SOFT, _LINE, _PAPER = "#010101", "#020202", "#030303", "#050505"
_SERIES = tuple(f"#0401{index:02x}" for index in range(8))
_VARIABLES = {_INK: "var(--ink)", _SOFT: "var(--soft)", _LINE: "var(--line)", _PAPER: "var(--card)"}
_VARIABLES |= {colour: f"var(--series-{index})" for index, colour in enumerate(_SERIES)}
_WIDTH = 3.7
"""Inches. A page scales a chart to the width that there is: text in a wider one would be too small on a phone."""
_LONGEST = 24
"""Characters of a name in a chart."""
_SHORT = 19
"""Characters of a label in a legend, two of which fit beside each other."""
# Matplotlib writes no <metadata> if each of its entries is None.
_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name with dollar signs is not a formula
    "font.size": 8.5,
    "text.color": _INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _SOFT,
    "axes.titlesize": 9,
    "axes.titleweight": "semibold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _SOFT,
    "ytick.labelcolor": _SOFT,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.8,
}


def shares(values: Sequence[Floats], labels: Sequence[str], title: str, unit: str) -> str:
    """Return histograms of values in 0..1, one above the other on the same scale, with the mean of each marked."""

    def draw(figure: Figure) -> None:
        rows = figure.subplots(len(values), sharex=True, squeeze=False)[:, 0]
        for index, (axes, series, label) in enumerate(zip(rows, values, labels, strict=True)):
            colour, mean = _colour(index), float(np.mean(series))
            axes.hist(series, np.linspace(0, 1, 21), color=colour, alpha=0.55, rwidth=0.92)
            axes.axvline(mean, color=colour, linestyle=(0, (3, 2)), linewidth=1.2)
            axes.set_title(f"{label}, mean {mean:.3f}".lstrip(", "), fontsize=8, color=_SOFT, weight="normal", pad=3)
            axes.yaxis.set_major_locator(MaxNLocator(2 if len(values) > 1 else 5, integer=True))
            axes.grid(axis="x", visible=False)
        rows[-1].set(xlim=(0, 1), xlabel=unit)
        figure.supylabel("images", fontsize=8.5, color=_SOFT)

    return _svg(draw, title)


def cumulative(values: Sequence[Floats], labels: Sequence[str], title: str, unit: str) -> str:
    """Return the share of images within a distance, one curve per series.

    The axis ends at the 95th percentile of all values, so that a few outliers do not flatten the curves.
    """

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        limit = max(float(np.quantile(np.concatenate(list(values)), 0.95)), 1.0)
        for index, (series, label) in enumerate(zip(values, labels, strict=True)):
            ordered = np.sort(series)
            axes.step(
                np.concatenate([[0.0], ordered, [max(limit, ordered[-1])]]),  # all curves run to the end of the axis
                np.minimum(np.arange(len(series) + 2), len(series)) / len(series),
                where="post",
                color=_colour(index),
                label=f"{short_name(label)}, median {np.median(series):.1f} px".lstrip(", "),
            )
        axes.set(xlim=(0, limit), ylim=(0, 1.02), xlabel=f"{unit}, up to the 95th percentile", ylabel="share of images")
        _legend_below(figure)

    return _svg(draw, title)


def success(values: Floats, title: str) -> str:
    """Return the share of images whose IoU reaches a threshold."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        thresholds = np.linspace(0, 1, 101)
        axes.plot(thresholds, [(values >= threshold).mean() for threshold in thresholds], color=_colour(0))
        for threshold in (0.5, 0.75):
            share = float((values >= threshold).mean())
            axes.plot([threshold], [share], marker="o", markersize=4, color=_colour(0))
            axes.annotate(
                f"{share:.0%} reach {threshold}", (threshold, share), (5, 4), textcoords="offset points", fontsize=8
            )
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="IoU threshold", ylabel="share of images")

    return _svg(draw, title)


def differences(rows: Sequence[str], runs: Mapping[str, Sequence[Interval | None]], title: str, unit: str) -> str:
    """Return differences with their intervals, a row each and one colour per run; significant ones are filled."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.axvline(0, color=_SOFT, linewidth=1)
        for index, (name, intervals) in enumerate(runs.items()):
            shift, colour = 0.5 * ((index + 1) / (len(runs) + 1) - 0.5), _colour(index)
            for place, interval in enumerate(intervals):
                if interval is None:
                    continue
                value, low, high, significant = interval
                if low is not None and high is not None:
                    axes.plot([low, high], [place + shift] * 2, color=colour, solid_capstyle="butt")
                face = colour if significant else _PAPER
                axes.plot([value], [place + shift], "o", markersize=5, color=colour, markerfacecolor=face)
            axes.plot([], [], "o-", markersize=5, color=colour, label=short_name(name))
        axes.set_yticks(range(len(rows)), [short_name(row) for row in rows], color=_INK)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel=unit)
        axes.margins(x=0.08)
        axes.grid(axis="y", visible=False)
        if len(runs) > 1:
            _legend_below(figure)

    return _svg(draw, title, height=0.75 + 0.26 * len(rows) + (0.2 if len(runs) > 1 else 0))


def roc(curves: Sequence[tuple[Floats, Floats, str]], title: str) -> str:
    """Return ROC curves: (false positive rates, true positive rates, label) each."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=_LINE, linestyle=(0, (3, 2)), linewidth=1.2)
        for index, (false, true, label) in enumerate(curves):
            axes.plot(false, true, color=_colour(index), label=label)
        axes.set(xlim=(-0.01, 1), ylim=(0, 1.02), xlabel="false positive rate", ylabel="true positive rate")
        if curves:
            _legend_below(figure)

    return _svg(draw, title)


def roc_curve(scores: Floats, positive: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return the corners of a ROC curve, from (0, 0) to (1, 1); there must be positive and negative rows."""
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.flatnonzero(np.append(np.diff(scores[order]), -np.inf))
    hits, misses = np.cumsum(positive[order])[last_of_tie], np.cumsum(~positive[order])[last_of_tie]
    return np.append(0.0, misses / misses[-1]), np.append(0.0, hits / hits[-1])


def short_name(name: str) -> str:
    """Return a name that leaves room for a chart: one line, its end cut off if it is long."""
    line = " ".join(name.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}\u2026"


def _legend_below(figure: Figure) -> None:
    """Put the legend under the axes, where it hides no curve; long labels stand below each other and are not cut."""
    labels = [label for axes in figure.axes for label in axes.get_legend_handles_labels()[1]]
    columns = 2 if max(map(len, labels), default=0) <= _SHORT else 1
    figure.set_figheight(figure.get_figheight() + 0.15 * (math.ceil(len(labels) / columns) - 1))
    figure.legend(loc="outside lower center", ncols=columns, handlelength=1.4, columnspacing=1.2)


def _colour(index: int) -> str:
    return _SERIES[index % len(_SERIES)]


def _svg(draw: Callable[[Figure], None], title: str, height: float = 2.45) -> str:
    style: Any = {**_STYLE, "svg.hashsalt": title}
    with mpl.rc_context(style):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        draw(figure)
        for axes in figure.axes:
            axes.tick_params(length=0)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata=_METADATA)
    return _inlined(stream.getvalue(), title)


def _inlined(svg: str, title: str) -> str:
    """Remove what only a separate file needs; leave colours, font and size to the page."""
    (root,) = minidom.parseString(svg).getElementsByTagName("svg")  # noqa: S318 (matplotlib wrote it)
    for name in ("width", "height"):
        root.removeAttribute(name)
    for definitions in root.getElementsByTagName("defs"):
        for style in definitions.getElementsByTagName("style"):  # it would style the whole page
            definitions.removeChild(style)
    for group in root.getElementsByTagName("g"):  # its name is the same in every chart, and nothing refers to it
        if group.hasAttribute("id"):
            group.removeAttribute("id")
    for text in root.getElementsByTagName("text"):
        text.setAttribute("style", _without_font(text.getAttribute("style")))
    for name, value in (("class", "plot"), ("role", "img"), ("aria-label", title)):
        root.setAttribute(name, value)
    return _in_page_colours(root.toxml())


def _without_font(style: str) -> str:
    """Remove the font family from the value of a `style` attribute."""
    return "; ".join(part for part in style.split("; ") if not part.startswith("font-family:"))


def _in_page_colours(svg: str) -> str:
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    return " ".join(line.strip() for line in svg.split("\n"))
