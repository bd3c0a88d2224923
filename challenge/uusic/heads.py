"""Chooses the head for a data set, an organ and a task. The table and its sources are in `heads.toml`."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from challenge.errors import WeightsError
from challenge.tasks import CATALOGUE, TaskKind, TaskSpec

_FILE = Path(__file__).with_name("heads.toml")
_PRIVATE = "private_"
_SHOWN = 100  # characters; no name is longer


@dataclass(frozen=True)
class Organ:
    """One organ of the table: its prompts, and its candidate heads per kind of task, best first."""

    position: str
    nature: str
    heads: Mapping[str, Sequence[str]]
    also: Sequence[str]


@dataclass(frozen=True)
class HeadTable:
    """The table. `organs` by the list's spelling; `indistinct` for all others; `datasets` gives each set's organ."""

    organs: Mapping[str, Organ]
    indistinct: Organ
    datasets: Mapping[str, str]
    dataset_heads: Mapping[str, Mapping[str, Sequence[str]]]
    heads: Mapping[str, Mapping[str, int]]

    @property
    def own_tasks(self) -> tuple[TaskSpec, ...]:
        """The organs' heads that are not subtasks of FMC_UIA."""
        return tuple(
            TaskSpec(name, TaskKind(kind), num_classes)
            for kind, heads in self.heads.items()
            for name, num_classes in heads.items()
            if name not in self.indistinct.heads[kind]
        )

    def organ_of(self, spec: TaskSpec) -> Organ | None:
        """Return the organ that a head of the table shows, if it is one of an organ's or a data set's heads."""
        of_sets = {self.datasets[name]: heads for name, heads in self.dataset_heads.items()}
        for name, organ in self.organs.items():
            if spec.task_id in (*organ.heads.get(spec.kind, ()), *of_sets.get(name, {}).get(spec.kind, ())):
                return organ
        return None

    def candidates(self, dataset: str, organ: str | None, kind: TaskKind) -> list[TaskSpec]:
        """Return the candidate heads, best first; those of `indistinct` if the organ has no such task."""
        own = self.dataset_heads.get(dataset, {}).get(kind)
        of_organ = self.organs[organ].heads.get(kind) if organ else None
        names = own or of_organ or self.indistinct.heads[kind]
        return [CATALOGUE.get(name) or TaskSpec(name, kind, self.heads[kind][name]) for name in names]


@dataclass(frozen=True)
class Choice:
    """The head for a row; `note` says what was unknown in the row and how it was interpreted."""

    spec: TaskSpec
    note: str | None = None


@cache
def head_table() -> HeadTable:
    """Return the table of `heads.toml`."""
    raw = tomllib.loads(_FILE.read_text("utf-8"))
    organs = {name: _organ(entry) for name, entry in raw.pop("organs").items()}
    return HeadTable(organs=organs, indistinct=_organ(raw.pop("indistinct")), **raw)


def _organ(entry: Mapping[str, Any]) -> Organ:
    heads = {str(kind): entry[kind] for kind in TaskKind if kind in entry}
    return Organ(entry["position"], entry["nature"], heads, entry.get("also", ()))


def choose_head(dataset: str, organ: str, kind: TaskKind, tasks: Mapping[str, TaskSpec]) -> Choice:
    """Return the head that answers. `tasks` are the known ones: those of the weights and the catalogue.

    Raises WeightsError if that head has another number of classes than UUSIC asks for.
    """
    table = head_table()
    dataset = dataset.removeprefix(_PRIVATE)[:_SHOWN]
    found, notes = _known_organ(table, dataset, organ[:_SHOWN])
    if dataset not in table.datasets and found:
        notes.append(f"the data set {dataset!r} is unknown; answered as the organ {found!r}")
    candidates = table.candidates(dataset, found, kind)
    if found and kind not in table.organs[found].heads:
        notes.append(f"no {kind} is known for the organ {found!r}; answered as an indistinct one")
    spec = next((candidate for candidate in candidates if candidate.task_id in tasks), candidates[0])
    in_weights = tasks.get(spec.task_id, spec)
    if in_weights.kind is not kind or (kind is TaskKind.CLASSIFICATION and in_weights.num_classes != spec.num_classes):
        raise WeightsError(
            f"the weights' task {spec.task_id!r} is a {in_weights.kind} of {in_weights.num_classes} classes, but UUSIC "
            f"asks for a {kind} of {spec.num_classes}; give other weights"
        )
    return Choice(in_weights, "; ".join(notes) or None)


def _known_organ(table: HeadTable, dataset: str, organ: str) -> tuple[str | None, list[str]]:
    if organ in table.organs:
        return organ, []
    if dataset in table.datasets:
        found = table.datasets[dataset]
        return found, [f"the organ {organ!r} is unknown; taken as {found!r} after the data set {dataset!r}"]
    names = {alias: name for name, entry in table.organs.items() for alias in (name.lower(), *entry.also)}
    words = " ".join(organ.lower().replace("_", " ").replace("-", " ").split())
    # A known name among the words counts more than similar spelling: "fetal heart" is not "fetal head".
    within = sorted((alias for alias in names if f" {alias} " in f" {words} "), key=len)
    close = within[-1:] or get_close_matches(words, names, n=1, cutoff=0.75)
    if close:
        return names[close[0]], [f"the organ {organ!r} is unknown; taken as {names[close[0]]!r}"]
    return None, [f"the organ {organ!r} is unknown; answered as an indistinct one"]
