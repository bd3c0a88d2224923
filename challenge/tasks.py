"""The 27 subtasks of FMC_UIA 2026, and the type that describes any task (docs/reference/contract.md, 1.4)."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from challenge.errors import UserError


class TaskKind(StrEnum):
    """The kind of a task. The values are those of the manifest's `task_name`, in lower case."""

    SEGMENTATION = "segmentation"
    CLASSIFICATION = "classification"
    DETECTION = "detection"
    REGRESSION = "regression"

    @property
    def is_dense(self) -> bool:
        """Whether the raw output has the image's spatial axes (masks, and boxes found on a map)."""
        return self in (TaskKind.SEGMENTATION, TaskKind.DETECTION)


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task.

    `num_classes` is as in the manifest: the number of classes with background (segmentation), of classes
    (classification) or of points (regression), or 1 (detection).
    """

    task_id: str
    kind: TaskKind
    num_classes: int


def _catalogue() -> Mapping[str, TaskSpec]:
    table = {
        TaskKind.SEGMENTATION: (
            "breast_lesion 2, cardiac_multi 4, carotid_artery 2, cervix 2, cervix_multi 3, fetal_abdomen_multi 5, "
            "fetal_head 2, fetal_heart 2, head_symphysis_multi 3, lung 2, ovary_tumor 2, thyroid_nodule 2"
        ),
        TaskKind.CLASSIFICATION: (
            "breast_2cls 2, breast_3cls 3, fetal_head_pos_cls 8, fetal_plane_cls 6, fetal_sacral_pos_cls 8, "
            "liver_lesion_2cls 2, lung_2cls 2, lung_disease_3cls 3, organ_cls 6"
        ),
        TaskKind.DETECTION: "spinal_cord_injury_loc 1, thyroid_nodule_det 1, uterine_fibroid_det 1",
        TaskKind.REGRESSION: "FUGC 2, IUGC 3, fetal_femur 2",
    }
    specs = {}
    for kind, text in table.items():
        for entry in text.split(", "):
            task_id, num_classes = entry.split()
            specs[task_id] = TaskSpec(task_id, kind, int(num_classes))
    return MappingProxyType(specs)


CATALOGUE: Mapping[str, TaskSpec] = _catalogue()
"""The challenge's 27 subtasks by `task_id`. Weights may add tasks (`with_extra_tasks`)."""


def with_extra_tasks(extra: Iterable[TaskSpec]) -> Mapping[str, TaskSpec]:
    """Return the catalogue with `extra` added; an extra task replaces the catalogue's of the same name."""
    return MappingProxyType({**CATALOGUE, **{spec.task_id: spec for spec in extra}})


def parse_kind(text: str) -> TaskKind | None:
    """Return the kind that a `task_name` cell names, in upper or lower case, else None."""
    try:
        return TaskKind(text.strip().lower())
    except ValueError:
        return None


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `" (did you mean 'x'?)"` for the known name closest to `name`, or an empty string."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def check_task_names(names: Iterable[str], known: Iterable[str]) -> None:
    """Raise UserError for the first of `names` that is not `known`."""
    known = list(known)
    for name in names:
        if name not in known:
            raise UserError(f"unknown task {name!r}{nearest(name, known)}; --list-tasks shows the names")
