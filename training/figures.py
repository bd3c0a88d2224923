"""Figures without a window, and texts that are drawn as they stand."""

from typing import Any


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
