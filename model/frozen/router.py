"""Decides which graphs run for which images. Tasks of one image share the graphs that their paths have in common."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from model.frozen.metadata import WeightsMetadata
from model.frozen.runtimes.base import Array, Runtime

IMAGES, TASK, OUTPUT, MAP = "images", "task", "output", "map"

Step = tuple[str, int | None]
"""A graph, and the task index for its `task` input, if it has one."""


@dataclass
class _Node:
    """A prefix of paths: the images (`rows`) that pass through it, and the tensors known there, by name."""

    rows: list[int]
    values: dict[str, Array]


@dataclass(frozen=True)
class Router:
    """Runs a batch of images along the paths of their tasks."""

    metadata: WeightsMetadata
    runtime: Runtime

    def steps(self, task_id: str) -> tuple[Step, ...]:
        """Return the task's path, with its index at the graphs that take one."""
        task = self.metadata.tasks[task_id]
        return tuple((name, task.index if TASK in self.metadata.graphs[name].inputs else None) for name in task.path)

    def run(self, images: Array, tasks: Sequence[Sequence[str]]) -> Iterator[tuple[str, list[int], Array]]:
        """Yield (task_id, image numbers, raw outputs) for every task of a batch.

        `images` is (N, S, S, 3) uint8. `tasks` names the tasks of each image; the network must answer all of them. A
        graph runs only for the images that need it, and once for each.
        """
        for task_id, numbers, outputs, _ in self.with_maps(images, tasks):
            yield task_id, numbers, outputs

    def with_maps(
        self, images: Array, tasks: Sequence[Sequence[str]]
    ) -> Iterator[tuple[str, list[int], Array, Array | None]]:
        """Yield what `run` yields, and the maps (B, M, s, s) that boxes or points were read from, if they are known."""
        rows: dict[str, list[int]] = {}
        for number, names in enumerate(tasks):
            for task_id in names:
                rows.setdefault(task_id, []).append(number)
        nodes: dict[tuple[Step, ...], _Node] = {(): _Node(list(range(len(images))), {IMAGES: images})}
        passing = self._passing(rows)
        for task_id, numbers in rows.items():
            steps = self.steps(task_id)
            for length in range(1, len(steps) + 1):
                prefix = steps[:length]
                if prefix not in nodes:
                    nodes[prefix] = self._advance(nodes[prefix[:-1]], prefix[-1], passing[prefix])
            node = nodes[steps]
            maps = _take(node, MAP, numbers) if MAP in node.values else None
            yield task_id, numbers, _take(node, OUTPUT, numbers), maps

    def _passing(self, rows: Mapping[str, list[int]]) -> dict[tuple[Step, ...], list[int]]:
        passing: dict[tuple[Step, ...], set[int]] = {}
        for task_id, numbers in rows.items():
            steps = self.steps(task_id)
            for length in range(1, len(steps) + 1):
                passing.setdefault(steps[:length], set()).update(numbers)
        return {prefix: sorted(numbers) for prefix, numbers in passing.items()}

    def _advance(self, parent: _Node, step: Step, rows: list[int]) -> _Node:
        name, index = step
        inputs = {key: _take(parent, key, rows) for key in self.metadata.graphs[name].inputs if key != TASK}
        if index is not None:
            inputs[TASK] = np.full(len(rows), index, np.int64)
        values = {key: value for key, value in parent.values.items() if key not in (OUTPUT, MAP)}
        if rows != parent.rows:
            values = {key: _take(parent, key, rows) for key in values if key != IMAGES}
        return _Node(rows, {**values, **self.runtime.run(name, inputs)})


def _take(node: _Node, key: str, rows: list[int]) -> Array:
    if rows == node.rows:
        return node.values[key]
    where = {row: position for position, row in enumerate(node.rows)}
    return node.values[key][[where[row] for row in rows]]
