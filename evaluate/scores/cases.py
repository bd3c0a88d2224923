"""One manifest row's score: what is measured once per image, and written to the result file for each."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from challenge.manifest import Sample
from challenge.tasks import TaskKind


class Outcome(StrEnum):
    """What became of a row. Rows without a truth (a mask that does not load, an empty label) count nowhere."""

    ANSWERED = "answered"
    MISSING = "missing"
    NO_TRUTH = "no truth"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What all kinds share.

    `row` is the csv file and line; `group` the patient or video, else the image itself; `remark` says why a row is
    missing or has no truth, or what was odd about an answer that was scored. `outcome` is that of the strict column;
    `official` says whether the official script scores the row, None where it does so exactly if it was answered.
    """

    row: str
    image_path: str
    task_id: str
    group: str
    outcome: Outcome
    remark: str = ""
    official: bool | None = None

    @property
    def is_official(self) -> bool:
        """Whether the official script scores the row."""
        return self.outcome is Outcome.ANSWERED if self.official is None else self.official

    @classmethod
    def of(cls, sample: Sample, outcome: Outcome, remark: str = "", **measured: Any) -> Self:
        """Return the case of a manifest row; `measured` are the fields of its kind."""
        return cls(
            row=str(sample.row),
            image_path=sample.image_path,
            task_id=sample.task_id,
            group=sample.group or sample.image_path,
            outcome=outcome,
            remark=remark,
            **measured,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskCase(Case):
    """`dice` and `hausdorff` (native pixels) of the classes 0..K-1; empty unless answered.

    `diagonal` is that of the true mask's grid, the worst distance. `official_dice` and `official_hausdorff` are what
    the official script makes of the two files, empty where that is the same.
    """

    dice: tuple[float, ...] = ()
    hausdorff: tuple[float, ...] = ()
    diagonal: float = 0.0
    official_dice: tuple[float, ...] = ()
    official_hausdorff: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ForegroundCase(Case):
    """UUSIC's `dice` and `nsd` (normalised surface Dice) of a binary mask, if answered."""

    dice: float | None = None
    nsd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCase(Case):
    """The `true` class, and `predicted` with its `probabilities` if answered."""

    true: int | None = None
    predicted: int | None = None
    probabilities: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxCase(Case):
    """`iou` in native pixels, if answered."""

    iou: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PointsCase(Case):
    """Radial `errors` in native pixels, a missing true point taken as (0, 0); empty unless answered.

    `absent` are the indices of the missing true points; `diagonal` is that of the image, 0 if answered.
    """

    errors: tuple[float, ...] = ()
    absent: tuple[int, ...] = ()
    diagonal: float = 0.0


_CaseType = type[MaskCase | ForegroundCase | LabelCase | BoxCase | PointsCase]
CASE_TYPES: dict[str, dict[TaskKind, _CaseType]] = {
    "fmc": {
        TaskKind.SEGMENTATION: MaskCase,
        TaskKind.CLASSIFICATION: LabelCase,
        TaskKind.DETECTION: BoxCase,
        TaskKind.REGRESSION: PointsCase,
    },
    "uusic": {TaskKind.SEGMENTATION: ForegroundCase, TaskKind.CLASSIFICATION: LabelCase},
}
"""The cases of each profile (challenge) by kind."""
