"""Figures without a window, texts that are drawn as they stand, and looks that can be told apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_MARKERS, _LINES = "osD^vP", ("-", (0, (5, 1.5)), (0, (1.5, 1.5)))
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Look:
    """How one of several things is drawn: `colour` in 0..1, `marker` for points, `line` for curves."""

    colour: Colour
    marker: str
    line: Any


def new_figure(width: float, height: float) -> Any:
    """Return an empty matplotlib figure of `width` x `height` inches that can be saved as a picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def literal(text: str) -> str:
    """Return `text` so that matplotlib draws its dollar signs and reads no formula between them."""
    return text.replace("$", r"\$")


def distinct(count: int) -> list[Look]:
    """Return `count` different looks: each has a colour of its own, and neighbours differ in marker and line too."""
    from matplotlib import colormaps

    colours = colormaps["turbo"]
    # The ends of the map are nearly black, the middle is a yellow that is too pale on white.
    places = [0.06 + 0.88 * index / max(1, count - 1) for index in range(count)]
    return [
        Look(_darker(colours(place)[:3]), _MARKERS[index % len(_MARKERS)], _LINES[index % len(_LINES)])
        for index, place in enumerate(places)
    ]


def rgb(colour: tuple[int, int, int]) -> Colour:
    """Return a colour of 0..255 in 0..1."""
    red, green, blue = (value / 255 for value in colour)
    return red, green, blue


def patch(label: str, colour: tuple[int, int, int]) -> Any:
    """Return an entry of a legend: a field of `colour` (0..255) with its label."""
    from matplotlib.patches import Patch

    return Patch(color=rgb(colour), label=literal(label))


def _darker(colour: Sequence[float]) -> Colour:
    """Return a colour that stands out from white paper."""
    red, green, blue = colour
    brightness = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    factor = min(1.0, 0.55 / brightness)
    return red * factor, green * factor, blue * factor
