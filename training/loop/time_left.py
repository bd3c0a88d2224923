"""How long a run still takes: steps of small and of whole images, scorings of the dev rows, the scoring at the end."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from training.config import Config

_RECENT = 200  # steps whose mean counts: a machine may become busier or idler
_ROW = 1 / 3
"""Of a training image's time: a dev row has no backward pass. Used until a scoring was measured."""


@dataclass(frozen=True)
class Plan:
    """The work of a run. The first `small_steps` of its `steps` see images of 1 / `ratio` of the whole one's pixels.

    Every `every` steps (0: never) `quick_rows` dev rows are scored, and `final_rows` at the end.
    """

    steps: int
    images_per_step: int
    small_steps: int = 0
    ratio: float = 1.0
    every: int = 0
    quick_rows: int = 0
    final_rows: int = 0

    @classmethod
    def of(cls, config: Config, steps: int, quick_rows: int, all_rows: int) -> "Plan":
        """Return the plan of a recipe, with so many dev rows while training and in all."""
        optim, every = config.optim, config.dev.every
        small = int(optim.small_until * steps) if optim.small_size else 0
        ratio = (config.data.image_size / optim.small_size) ** 2 if small else 1.0
        is_scored_again = not every or quick_rows < all_rows
        images = optim.batch_size * config.sampling.tasks_per_step
        return cls(steps, images, small, ratio, every, quick_rows, all_rows if is_scored_again else 0)

    def rows_left(self, step: int) -> int:
        """Return how many dev rows will be scored after `step` steps."""
        scorings = -(-self.steps // self.every) - step // self.every if self.every else 0
        return scorings * self.quick_rows + self.final_rows


class TimeLeft:
    """Measures steps and scorings as they happen. `clock` is in seconds."""

    def __init__(self, plan: Plan, clock: Callable[[], float] = time.monotonic) -> None:
        self._plan, self._clock = plan, clock
        self._small, self._whole = deque[float](maxlen=_RECENT), deque[float](maxlen=_RECENT)
        self._row: float | None = None
        self._last: float | None = None

    def begin(self) -> None:
        """Begin to measure: what came before is not part of the next step."""
        self._last = self._clock()

    def stepped(self, step: int) -> None:
        """Measure a step: the `step`-th, counted from 1."""
        (self._small if step <= self._plan.small_steps else self._whole).append(self._lap())

    def scored(self) -> None:
        """Measure a scoring of the dev rows."""
        self._row = self._lap() / max(1, self._plan.quick_rows)

    def seconds(self, step: int) -> float | None:
        """Return the seconds left after `step` steps; None before any was measured."""
        plan, small, whole = self._plan, _mean(self._small), _mean(self._whole)
        if whole is None:
            whole = small * plan.ratio if small is not None else None
        if whole is None:
            return None
        small = whole / plan.ratio if small is None else small
        row = whole / plan.images_per_step * _ROW if self._row is None else self._row
        small_left = max(0, plan.small_steps - step)
        whole_left = plan.steps - max(step, plan.small_steps)
        return small_left * small + whole_left * whole + plan.rows_left(step) * row

    def _lap(self) -> float:
        now = self._clock()
        seconds = now - (now if self._last is None else self._last)
        self._last = now
        return seconds


def _mean(times: deque[float]) -> float | None:
    """Return the mean, without the first of a phase, which warms up, if there are others."""
    kept = list(times)[1:] or list(times)
    return sum(kept) / len(kept) if kept else None
