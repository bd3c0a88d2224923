"""Checks the task names of a recipe against the challenge, the data and the network to begin with."""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping

from challenge.errors import UserError
from challenge.manifest import read_manifest
from challenge.tasks import TaskKind, TaskSpec, nearest, with_extra_tasks
from training.config import LOSS_NAMES, Config
from training.data.rows import DataSource

logger = logging.getLogger(__name__)

_TASKS = "data.tasks"
_KINDS = frozenset(kind.lower() for kind in TaskKind)

Tables = Mapping[str, Collection[str]]


def check_task_names(config: Config, source: DataSource, start: Iterable[TaskSpec] = ()) -> None:
    """Check every task that the recipe names, before an image is read.

    Known tasks are those of the challenge, of the data, of the network to `start` with, and the recipe's `extra_tasks`.
    Settings for known tasks that the data lacks are ignored, with one log line for all. Raises UserError for any other
    name, and for a loss that does not fit its task's kind.
    """
    there = dict(_in_data(source))
    kinds = {task_id: spec.kind for task_id, spec in with_extra_tasks(start).items()} | there
    known = {*kinds, *config.extra_tasks}
    tables = _tables(config)
    for key, names in {**tables, **_options(config)}.items():
        for name in names:
            if name not in known and not (key == _TASKS and name in _KINDS):
                raise UserError(
                    f"config key {key!r}: there is no task {name!r}{nearest(name, known)}; correct it, or name it in "
                    "extra_tasks"
                )
    for name, loss in config.loss.tasks.items():
        if name in kinds and loss not in LOSS_NAMES[kinds[name]]:
            choices = ", ".join(LOSS_NAMES[kinds[name]])
            raise UserError(
                f"config key 'loss.tasks.{name}' must be one of {choices}, not {loss!r}: the task is {kinds[name]}"
            )
    lacking = {
        name: [key for key, names in tables.items() if name in names] for name in sorted(known.difference(there))
    }
    words = [f"{name} ({', '.join(keys)})" for name, keys in lacking.items() if keys]
    if words:
        logger.info(
            "the data has no rows of these tasks; the recipe's settings for them are ignored: %s", "; ".join(words)
        )


def _tables(config: Config) -> Tables:
    """Return the names in every table by task."""
    return {
        _TASKS: config.data.tasks,
        "tasks": config.tasks,
        "loss.tasks": config.loss.tasks,
        "balance.tasks": config.balance.tasks,
        "sampling.weights": config.sampling.weights,
    }


def _options(config: Config) -> Tables:
    """Return the names in the options of systems; a network may have heads for tasks that the data lacks."""
    keys = ("ellipses", "profiles", "box_masks", "progression_masks")
    options = {key: config.system.options.get(key) for key in keys}
    found = {key: {*table, *_words(table.values())} for key, table in options.items() if isinstance(table, Mapping)}
    return {f"system.options.{key}": names for key, names in found.items()}


def _words(values: Iterable[object]) -> Iterator[str]:
    return (value for value in values if isinstance(value, str))


def _in_data(source: DataSource) -> Iterator[tuple[str, TaskKind]]:
    for root in filter(None, (source.data_root, source.val_root)):
        yield from ((sample.task_id, sample.kind) for sample in read_manifest(root).samples)
