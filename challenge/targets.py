"""The truth in a manifest row: label, box, points, mask. Only training and evaluation need it."""

import json
import math
import re
from collections.abc import Sequence

from challenge.errors import ManifestError
from challenge.manifest import Sample, filled

Box = tuple[float, float, float, float]
Point = tuple[float, float]

_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


def _cell(sample: Sample, column: str) -> str | None:
    return filled(sample.cells, column) or None


def label(sample: Sample) -> int | None:
    """Return the class of a classification row, or None if it has none. Raises ManifestError if malformed."""
    text = _cell(sample, "mask")
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value.is_integer() or not 0 <= value < sample.num_classes:
        hint = _comma_hint([text])
        raise ManifestError(f"{sample.row}: the label {text!r} is not a class in 0..{sample.num_classes - 1}{hint}")
    return int(value)


def box(sample: Sample) -> Box | None:
    """Return (x_min, y_min, x_max, y_max) in native pixels, or None. Raises ManifestError if malformed."""
    texts = [_cell(sample, column) for column in ("x_min", "y_min", "x_max", "y_max")]
    if any(text is None for text in texts):
        return None
    try:
        x_min, y_min, x_max, y_max = (float(text or "") for text in texts)
    except ValueError as error:
        hint = _comma_hint(texts)
        raise ManifestError(f"{sample.row}: the box {texts} is not four numbers{hint}") from error
    if not all(map(math.isfinite, (x_min, y_min, x_max, y_max))):
        return None
    return x_min, y_min, x_max, y_max


def points(sample: Sample) -> list[Point | None]:
    """Return the row's `num_classes` points (x, y) in native pixels; None where one is missing.

    Raises ManifestError if a cell is malformed.
    """
    return [_point(sample, f"point_{number}_xy") for number in range(1, sample.num_classes + 1)]


def _point(sample: Sample, column: str) -> Point | None:
    text = _cell(sample, column)
    if text is None:
        return None
    try:
        pair = json.loads(text)
        if not isinstance(pair, list) or any(isinstance(number, bool) for number in pair):
            raise TypeError("no list of numbers")
        x, y = map(float, pair)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        hint = _comma_hint(text.strip("[]").split(", "))
        raise ManifestError(f"{sample.row}: {column} {text!r} is not JSON [x, y]{hint}") from error
    return (x, y) if math.isfinite(x) and math.isfinite(y) else None


def _comma_hint(texts: Sequence[str | None]) -> str:
    """Return a hint if a number has a decimal comma, as in German or French."""
    found = next((text for text in texts if text and _DECIMAL_COMMA.fullmatch(text.strip())), None)
    if found is None:
        return ""
    without = f"{found.replace(',', '')} or " if _THOUSANDS.fullmatch(found.strip()) else ""
    return f": {found!r} has a {'' if without else 'decimal '}comma; write {without}{found.replace(',', '.')}"
