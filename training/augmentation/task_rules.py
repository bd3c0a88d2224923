"""What augmentation may do to each task, and the order in which its points stand.

Flips and large rotations are forbidden if left and right, or the angle, are part of the label.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from challenge.errors import UserError
from challenge.tasks import TaskKind, TaskSpec
from training.ranges import Range
from training.toml_tables import from_table

_PAIR = re.compile(r"(\d+)-(\d+):([xy])")


@dataclass(frozen=True, slots=True)
class PointPair:
    """Two points (counted from 0) of which the first has the smaller coordinate on `axis` (0: x, 1: y)."""

    first: int
    second: int
    axis: int


@dataclass(frozen=True, slots=True)
class TaskRules:
    """The training side of a task.

    `max_rotation` is in degrees. `point_order` is text such as `1-2:x, 3-4:y`: of points 1 and 2 the one with the
    smaller x stands first, of points 3 and 4 the one with the smaller y; empty where points keep their order because
    they are anatomically different.
    """

    hflip: bool = True
    vflip: bool = False
    max_rotation: Annotated[float, Range(0, 180)] = 20.0
    point_order: str = ""

    def and_also(self, other: "TaskRules") -> "TaskRules":
        """Return what both tasks allow, with the point order of this one."""
        return TaskRules(
            hflip=self.hflip and other.hflip,
            vflip=self.vflip and other.vflip,
            max_rotation=min(self.max_rotation, other.max_rotation),
            point_order=self.point_order,
        )

    @property
    def pairs(self) -> tuple[PointPair, ...]:
        """`point_order`, parsed. Raises UserError if it is malformed."""
        return parse_point_order(self.point_order)


def parse_point_order(text: str) -> tuple[PointPair, ...]:
    """Read `1-2:x, 3-4:y`. Raises UserError."""
    pairs = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        match = _PAIR.fullmatch(entry)
        if not match or match[1] == match[2] or "0" in (match[1], match[2]):
            raise UserError(f"point_order {text!r}: {entry!r} is not like 1-2:x (points count from 1; axis x or y)")
        pairs.append(PointPair(int(match[1]) - 1, int(match[2]) - 1, "xy".index(match[3])))
    return tuple(pairs)


# A flip upside down never occurs in practice: the depth axis has its gain, shadows and near field.
_OF_KIND: Mapping[TaskKind, TaskRules] = {
    TaskKind.SEGMENTATION: TaskRules(),
    TaskKind.CLASSIFICATION: TaskRules(),
    # The box of a rotated object can only be estimated from its old box.
    TaskKind.DETECTION: TaskRules(max_rotation=10.0),
    # The points of an unknown task may be told apart by their position; a flip could swap them.
    TaskKind.REGRESSION: TaskRules(hflip=False),
}

_OF_TASK: Mapping[str, TaskRules] = {
    # Positions of the occiput and sacrum are sectors of 45 degrees, named by side.
    "fetal_head_pos_cls": TaskRules(hflip=False, max_rotation=5.0),
    "fetal_sacral_pos_cls": TaskRules(hflip=False, max_rotation=5.0),
    # Standard views in which the side tells the left heart from the right, the symphysis from the head.
    "cardiac_multi": TaskRules(hflip=False),
    "head_symphysis_multi": TaskRules(hflip=False),
    # Point 1 is the end of the symphysis' axis with the smaller x, point 3 the touching point with the larger x. In
    # PSFHS the axis is at most 51 degrees, the line between both touching points at most 74 from the horizontal.
    "IUGC": TaskRules(hflip=False, max_rotation=15.0),
    "FUGC": TaskRules(hflip=False),
    "fetal_femur": TaskRules(hflip=False),
    # OFD 1 is the end with the smaller x, BPD 1 the end with the smaller y.
    "fetal_head_biometry": TaskRules(point_order="1-2:x, 3-4:y"),
}


def rules_of(spec: TaskSpec, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> TaskRules:
    """Return the rules of a task: the table above, else its kind's, with the config's `[tasks.NAME]` laid over.

    Raises UserError for an override that is no rule, or a point order that the task's points do not allow.
    """
    rules = _OF_TASK.get(spec.task_id, _OF_KIND[spec.kind])
    table = {**asdict(rules), **(overrides or {}).get(spec.task_id, {})}
    rules = from_table(TaskRules, table, f"tasks.{spec.task_id}.")
    if any(max(pair.first, pair.second) >= spec.num_classes for pair in rules.pairs):
        raise UserError(f"point_order {rules.point_order!r} names a point that {spec.task_id} does not have")
    return rules
