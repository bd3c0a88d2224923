"""The type of a run: everything that its checkpoints hold. The names of their entries are known here alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from torch import Tensor

from challenge.tasks import TaskKind, TaskSpec
from training.config import Config, from_recorded, to_dict
from training.run_folder.run_facts import Counters, RunFacts

FORMAT = 2
"""Counted up whenever the entries change. Checkpoints of the first edition (1) do not name it."""

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Resume:
    """What a run needs to go on exactly where it stopped.

    `optimizer`, `scaler`, `balance` and `sampler` are state dicts. `progress` is 0..1 of the schedule. `best` is the
    highest dev selection so far, `stale` the number of scorings since. `sums` holds the losses since the last line of
    the log, by task.
    """

    optimizer: Mapping[str, Any]
    scaler: Mapping[str, Any]
    balance: Mapping[str, Any]
    sampler: Mapping[str, Any]
    progress: float
    best: float
    stale: int
    sums: Mapping[str, Sequence[Tensor]]


@dataclass(frozen=True)
class RunState:
    """A run at one step. The best network's checkpoint has nothing to `resume` from, the last one's has."""

    config: Config
    tasks: Sequence[TaskSpec]
    network: Tensors
    ema: Tensors | None
    counters: Counters
    facts: RunFacts
    resume: Resume | None = None

    @property
    def weights(self) -> Tensors:
        """The network that is scored and exported: the EMA where there is one."""
        return self.ema or self.network

    def as_table(self) -> dict[str, Any]:
        """Return tensors and plain data, to be read by `from_table`. Tensors are not copied."""
        return {
            "format": FORMAT,
            "config": to_dict(self.config),
            "tasks": tasks_as_table(self.tasks),
            "network": dict(self.network),
            "ema": dict(self.ema) if self.ema else None,
            "counters": asdict(self.counters),
            "facts": self.facts.as_table(),
            "resume": self.resume and {field.name: getattr(self.resume, field.name) for field in fields(Resume)},
        }

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> "RunState":
        """Inverse of `as_table`. Raises KeyError or TypeError if entries are missing, UserError for a wrong recipe."""
        return cls(
            config=from_recorded(table["config"]),
            tasks=tasks_from_table(table["tasks"]),
            network=table["network"],
            ema=table["ema"],
            counters=Counters(**table["counters"]),
            facts=RunFacts.from_table(table["facts"]),
            resume=Resume(**table["resume"]) if table["resume"] else None,
        )


def tasks_as_table(tasks: Iterable[TaskSpec]) -> list[tuple[str, str, int]]:
    """Return the tasks as plain data: name, kind, number of classes or points."""
    return [(spec.task_id, str(spec.kind), spec.num_classes) for spec in tasks]


def tasks_from_table(table: Iterable[Sequence[Any]]) -> tuple[TaskSpec, ...]:
    """Inverse of `tasks_as_table`."""
    return tuple(TaskSpec(task_id, TaskKind(kind), number) for task_id, kind, number in table)
