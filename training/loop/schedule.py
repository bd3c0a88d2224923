"""The progress of a run: by its steps, or by the clock if there is a time budget."""

import time
from collections.abc import Callable


class Schedule:
    """Progress from 0 to 1 over `steps`, or sooner: over `minutes` from now, whichever goes faster.

    A resumed run starts at the progress that it had; `minutes` then hold the rest.
    """

    def __init__(
        self,
        steps: int,
        minutes: float | None = None,
        start: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._steps, self._minutes, self._start, self._clock = steps, minutes, start, clock
        self._began = clock()

    def progress(self, step: int) -> float:
        """Return the progress before `step` (from 0); 1 or more means that the run is over."""
        by_steps = step / self._steps
        if self._minutes is None:
            return max(by_steps, self._start)
        passed = (self._clock() - self._began) / (60 * self._minutes)
        return max(by_steps, self._start + (1 - self._start) * passed)

    def seconds_left(self) -> float | None:
        """Return the rest of the time budget; None if there is none."""
        return None if self._minutes is None else max(0.0, 60 * self._minutes - (self._clock() - self._began))
