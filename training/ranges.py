"""What a value of a recipe may be. `value in rule` decides, `str(rule)` says it in an error message."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any


@dataclass(frozen=True)
class Range:
    """Numbers from `least` to `most`; `above` and `below` leave these ends out themselves. NaN lies in no range."""

    least: float
    most: float
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        """Whether a number lies in the range."""
        high_enough = value > self.least if self.above else value >= self.least
        return high_enough and (value < self.most if self.below else value <= self.most)

    def __str__(self) -> str:
        """Such as `above 0 and at most 10`."""
        least, most = "above" if self.above else "at least", "below" if self.below else "at most"
        return f"{least} {self.least:g} and {most} {self.most:g}"


Fraction = Annotated[float, Range(0, 1)]


@dataclass(frozen=True)
class OneOf:
    """One of a few names."""

    names: tuple[str, ...]

    def __contains__(self, value: str) -> bool:
        """Whether a name is known."""
        return value in self.names

    def __str__(self) -> str:
        """Such as `one of all, prompts`."""
        return f"one of {', '.join(self.names)}"


@dataclass(frozen=True)
class Text:
    """Text of 1 to `longest` characters that can be printed in one line."""

    longest: int = 1000

    def __contains__(self, value: str) -> bool:
        """Whether a text is neither blank nor too long, without line breaks and control characters."""
        return bool(value.strip()) and value.isprintable() and len(value) <= self.longest

    def __str__(self) -> str:
        """Such as `text of 1 to 200 printable characters`."""
        return f"text of 1 to {self.longest} printable characters"


@dataclass(frozen=True)
class Length:
    """A list of so many values."""

    count: int

    def __contains__(self, value: Collection[Any]) -> bool:
        """Whether a list has the right length."""
        return len(value) == self.count

    def __str__(self) -> str:
        """Such as `a list of 3 values`."""
        return f"a list of {self.count} values"


@dataclass(frozen=True)
class Sane:
    """Anything whose numbers are finite and not negative: what only its reader can judge further."""

    def __contains__(self, value: Any) -> bool:
        """Whether that holds for all numbers in nested tables and lists."""
        if isinstance(value, Mapping):
            return all(item in self for item in value.values())
        if isinstance(value, list | tuple):
            return all(item in self for item in value)
        return not isinstance(value, int | float) or 0 <= value < math.inf

    def __str__(self) -> str:
        """How the rule reads in a sentence."""
        return "without negative numbers, nan and inf"
