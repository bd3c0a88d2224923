"""What the classes of tasks are called: `benign` instead of `class 0`."""

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from challenge.errors import UserError
from challenge.tasks import TaskKind, TaskSpec


@dataclass(frozen=True)
class ClassNames:
    """Names by `task_id`: those of classes 0, 1, ... (segmentation: class 0 is the background) or of points 1, 2, ...

    A task without names, or with another number of them than it has classes, keeps its numbers: `class 1`, `point 2`.
    """

    table: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def of(self, spec: TaskSpec) -> tuple[str, ...]:
        """Return a name for each of the task's classes or points."""
        names = self.table.get(spec.task_id, ())
        return names if len(names) == spec.num_classes else numbered(spec)

    def get(self, spec: TaskSpec, index: int) -> str:
        """Return the name of class or point `index`, counted from 0; it may lie outside the task's range."""
        names = self.of(spec)
        return names[index] if 0 <= index < len(names) else f"class {index}"

    def check(self, specs: Iterable[TaskSpec]) -> None:
        """Raise UserError if a task has another number of names than of classes."""
        for spec in specs:
            names = self.table.get(spec.task_id)
            if names is not None and len(names) != spec.num_classes:
                raise UserError(
                    f"{spec.task_id} has {spec.num_classes} classes, but {len(names)} names ({', '.join(names)}); "
                    "give one name per class, that of class 0 first"
                )


def numbered(spec: TaskSpec) -> tuple[str, ...]:
    """Return `background`, `class 1`, ... for masks, `point 1`, ... for points, and `class 0`, ... for the others."""
    match spec.kind:
        case TaskKind.SEGMENTATION:
            return ("background", *(f"class {index}" for index in range(1, spec.num_classes)))
        case TaskKind.REGRESSION:
            return tuple(f"point {index}" for index in range(1, spec.num_classes + 1))
        case TaskKind.CLASSIFICATION | TaskKind.DETECTION:
            return tuple(f"class {index}" for index in range(spec.num_classes))


def checked_names(values: Any) -> tuple[str, ...]:
    """Return a list of names as a tuple. Raises ValueError unless all are texts, none empty, and no two the same."""
    names = tuple(values) if isinstance(values, list | tuple) else ()
    if not names or not all(isinstance(name, str) and name.strip() for name in names) or len(set(names)) < len(names):
        raise ValueError(f"{values!r} is not a list of different names")
    return names


def read_class_names(path: Path) -> ClassNames:
    """Read the names from a `weights.json`, or from a TOML file with `classes` in one table per task.

    Raises UserError if the file is neither.
    """
    try:
        text = path.read_text("utf-8-sig")
        is_json = text.lstrip().startswith("{")
        tables = json.loads(text)["tasks"] if is_json else tomllib.loads(text)
        key = "class_names" if is_json else "classes"
        return ClassNames({task: checked_names(table[key]) for task, table in tables.items() if table.get(key)})
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path} holds no class names ({error}); give a weights.json, or a TOML file with classes = [...] per task"
        ) from error
