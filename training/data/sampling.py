"""Which tasks and which rows make each step: a pure function of the seed and a few counters, so it resumes exactly.

Every rank draws the same; each then takes its share of the rows (`share`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import cast

import numpy as np
import numpy.typing as npt

from challenge.errors import UserError
from challenge.tasks import TaskKind
from training.config import SamplingConfig


@dataclass(frozen=True)
class Draw:
    """Rows of one task. `keys` name each row's random numbers: no two draws of a run have one in common."""

    task_id: str
    rows: tuple[int, ...]
    keys: tuple[tuple[int, int], ...]

    def share(self, rank: int, ranks: int) -> "Draw":
        """Return the rows of one rank: every `ranks`-th, and row 0 again where there are none left for it."""
        chosen = range(rank, len(self.rows), ranks) or [0]
        return replace(self, rows=tuple(self.rows[i] for i in chosen), keys=tuple(self.keys[i] for i in chosen))


class TaskSampler(Iterator[list[Draw]]):
    """Draws tasks by `config.method`; within a task one shuffled pass after the other, so that every row is reached.

    `kinds` of the tasks are needed where the config lets kinds alternate. `passes` name the rows of a pass by task,
    some perhaps several times; without it a pass has every row once. With `config.mixed` the draws of a step are one
    batch: together they have `batch_size` rows (fewer only where a task has fewer rows than it is drawn).
    """

    def __init__(
        self,
        rows_per_task: Mapping[str, int],
        batch_size: int,
        seed: int,
        config: SamplingConfig | None = None,
        kinds: Mapping[str, str] | None = None,
        passes: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        config = config or SamplingConfig()
        self._sizes = dict(sorted(rows_per_task.items()))
        self._passes = passes or {}
        self._batch_size = batch_size
        self._seed = seed
        self._config, self._per_step = config, config.tasks_per_step
        self.probabilities = dict(zip(self._sizes, probabilities(self._sizes, config), strict=True))
        groups = _by_kind(kinds or {}, self._sizes) if config.alternate else [list(self._sizes)]
        names = list(self._sizes)
        self._groups = [[number for number, name in enumerate(names) if name in group] for group in groups]
        fewest = min(sum(self.probabilities[names[number]] > 0 for number in group) for group in self._groups)
        if self._per_step > fewest:
            there = "is 1 task" if fewest == 1 else f"are {fewest} tasks"
            raise UserError(f"sampling.tasks_per_step is {self._per_step}, but there {there} to draw from; lower it")
        self.step = 0
        self.drawn = dict.fromkeys(self._sizes, 0)
        self._places = dict.fromkeys(self._sizes, 0)  # as `drawn`, but a restart takes it back to the start of a pass

    def __next__(self) -> list[Draw]:
        names = list(self._sizes)
        rng = np.random.default_rng((self._seed, self.step))
        group = self._groups[self.step % len(self._groups)]
        chances = np.array([self.probabilities[names[number]] for number in group])
        chances = chances / chances.sum()
        if self._config.restart_every and self.step % self._config.restart_every == 0:
            self._restart()
        self.step += 1
        if self._config.mixed:
            counts = rng.multinomial(self._batch_size, chances)
            return [self._draw(names[n], n, count) for n, count in zip(group, counts.tolist(), strict=True) if count]
        numbers = rng.choice(group, self._per_step, replace=False, p=chances)
        return [self._draw(names[number], int(number), self._batch_size) for number in numbers]

    def state_dict(self) -> dict[str, object]:
        """Return what `load_state_dict` needs to go on from here."""
        return {"step": self.step, "drawn": dict(self.drawn), "places": dict(self._places)}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Go on from a saved state."""
        step, drawn = state["step"], state["drawn"]
        if not isinstance(step, int) or not isinstance(drawn, dict) or set(drawn) != set(self.drawn):
            raise UserError("the run was started with other tasks; give the same data, or another output folder")
        places = state.get("places", drawn)  # older states have none: there were no restarts
        self.step, self.drawn, self._places = step, dict(drawn), dict(cast(Mapping[str, int], places))

    def _restart(self) -> None:
        """Take every task back to the first row of its pass; a pass that is just over counts as not yet left."""
        for task_id, place in self._places.items():
            size = len(self._rows(task_id))
            self._places[task_id] = max(0, place - 1) // size * size

    def _rows(self, task_id: str) -> Sequence[int]:
        """Return the rows of a pass, in the order of the data."""
        return self._passes.get(task_id) or range(self._sizes[task_id])

    def _draw(self, task_id: str, number: int, count: int) -> Draw:
        rows, place, drawn = self._rows(task_id), self._places[task_id], self.drawn[task_id]
        size, count = len(rows), min(count, self._sizes[task_id])
        order = (_permutation(self._seed, number, at // size, size)[at % size] for at in range(place, place + count))
        keys = tuple((number, position) for position in range(drawn, drawn + count))
        self._places[task_id], self.drawn[task_id] = place + count, drawn + count
        return Draw(task_id, tuple(rows[i] for i in order), keys)


@lru_cache(maxsize=128)
def _permutation(seed: int, number: int, epoch: int, size: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng((seed, number, epoch)).permutation(size)


def _by_kind(kinds: Mapping[str, str], tasks: Iterable[str]) -> list[list[str]]:
    """Return the tasks of every kind that occurs, segmentation first."""
    groups = [[task_id for task_id in tasks if kinds[task_id] == kind] for kind in TaskKind]
    return [group for group in groups if group]


def probabilities(sizes: Mapping[str, int], config: SamplingConfig) -> npt.NDArray[np.float64]:
    """Return the chance of each task, from its rows, in the order of `sizes`. Raises UserError if all are 0."""
    exponent = {"uniform": 0.0, "proportional": 1.0, "temperature": 1 / config.temperature}[config.method]
    weights = np.array([size**exponent * config.weights.get(task_id, 1.0) for task_id, size in sizes.items()])
    if not weights.any():
        raise UserError("sampling.weights leave no task to draw; give at least one task a weight above 0")
    return np.asarray(weights / weights.sum())
