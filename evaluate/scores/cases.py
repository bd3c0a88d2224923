"""What is measured for one manifest row, and written to the result file for each."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from challenge.manifest import Sample
from challenge.tasks import TaskKind


class Outcome(StrEnum):
    """Whether a row could be scored. Rows without a truth (an unreadable mask, an empty label) are not counted."""

    ANSWERED = "answered"
    MISSING = "missing"
    NO_TRUTH = "no truth"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """The fields that all kinds share.

    `row` is the csv file and line. `group` is the patient or video, or the image itself if neither is known. `remark`
    says why the row is missing or has no truth, or what was odd about a scored prediction. `outcome` belongs to the
    strict column. `official` says whether the official script scores the row; None means: exactly if it was answered.
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

    `diagonal` is that of the true mask's grid, the worst distance. `official_dice` and `official_hausdorff` are the
    official script's values for the two files, empty if they are the same.
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

    `absent` are the indices of the missing true points. `diagonal` is that of the image, 0 if answered.
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
