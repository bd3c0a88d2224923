"""The probabilities of a class answer as a list of bars in the page, legible at any size."""

import math
from collections.abc import Sequence
from html import escape


def class_bars(probabilities: Sequence[float], said: int | None, true: int | None, names: Sequence[str]) -> str:
    """Return a `<ul>` with a row per class: its name, its probability in percent and a bar.

    The answer `said` is in colour, the `true` class has a mark; either may be None. Probabilities outside 0..1 and NaN
    are drawn as the nearest end.
    """
    rows = [
        _row(class_name(names, index), probability, is_said=index == said, is_true=index == true)
        for index, probability in enumerate(probabilities)
    ]
    return f'<ul class="bars">{"".join(rows)}</ul>' if rows else ""


def class_name(names: Sequence[str], index: int | None) -> str:
    """Return the name of class `index`; an answer may lie outside the known classes."""
    return names[index] if index is not None and 0 <= index < len(names) else f"class {index}"


def _row(name: str, probability: float, *, is_said: bool, is_true: bool) -> str:
    share = min(max(probability, 0.0), 1.0) if math.isfinite(probability) else 0.0
    classes = " ".join([*(["said"] if is_said else []), *(["true"] if is_true else [])])
    mark = "<em>true</em>" if is_true else ""
    return (
        f'<li class="{classes}"><span class="name">{escape(name)}{mark}</span><span>{share:.1%}</span>'
        f'<i style="--share: {share:.1%}"></i></li>'
    )
