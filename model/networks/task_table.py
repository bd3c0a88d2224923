"""What each task shows: object, position, nature, input type and clinical group, read from `task_table.toml`."""

import logging
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from challenge.errors import UserError

logger = logging.getLogger(__name__)

_FILE = Path(__file__).with_name("task_table.toml")


@dataclass(frozen=True)
class TaskProfile:
    """What a task shows. `nature` is `tumour` or `organ`, `type` how much of the image is given (`whole`).

    `object` is for people; the prompts use position, nature and type. The defaults are for a user's task without a
    profile: "indis" is the published name of an unspecified position.
    """

    object: str = "unspecified"
    position: str = "indis"
    nature: str = "organ"
    type: str = "whole"
    group: str = "other"


@cache
def task_table() -> Mapping[str, TaskProfile]:
    """Return the profiles of the challenge's 27 subtasks by `task_id`. The file names the sources."""
    table = tomllib.loads(_FILE.read_text("utf-8"))
    return MappingProxyType({task_id: TaskProfile(**entry) for task_id, entry in table.items()})


def profile(task_id: str, own: Mapping[str, Mapping[str, str]] | None = None) -> TaskProfile:
    """Return a task's profile from `own`, which a recipe may define, or else from the table.

    A task in neither gets the default profile and a log line. Raises UserError for an unknown field in `own`.
    """
    if own and task_id in own:
        try:
            return TaskProfile(**own[task_id])
        except TypeError as error:
            raise UserError(f"the profile of task {task_id!r} is wrong ({error}); see TaskProfile's fields") from error
    if task_id not in task_table():
        logger.warning("task %s has no profile: its prompts say position 'indis', nature 'organ'", task_id)
    return task_table().get(task_id, TaskProfile())
