"""Post-processing of raw outputs: connected components, filled holes, and averaging with the flipped image.

The weights say which of these helps which task; `training refine` chooses them on held-out rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from challenge.tasks import TaskKind

Floats = npt.NDArray[np.float32]
Cells = npt.NDArray[np.bool_]


class Postprocess(StrEnum):
    """How much post-processing to do; each level includes the ones before it."""

    NONE = "none"
    MASKS = "masks"
    """Masks are cleaned, which takes next to no time."""
    FLIP = "flip"
    """The flipped image is answered too (test-time augmentation): up to twice the network's time."""


@dataclass(frozen=True)
class Postprocessing:
    """The post-processing that helps one task.

    `largest_component` keeps the largest connected component of each class and turns the rest into background.
    `fill_holes` gives background that a class encloses to that class. `flip` averages with the answer to the
    horizontally flipped image; `point_order` gives each point's index (from 0) among the flipped image's points.
    """

    largest_component: bool = False
    fill_holes: bool = False
    flip: bool = False
    point_order: tuple[int, ...] = ()

    def up_to(self, level: Postprocess) -> "Postprocessing":
        """Return the part of it that `level` includes."""
        masks = level is not Postprocess.NONE
        flip = self.flip and level is Postprocess.FLIP
        return Postprocessing(self.largest_component and masks, self.fill_holes and masks, flip, self.point_order)

    def clean_mask(self, logits: Floats) -> Floats:
        """Return (K, h, w) mask logits with cells moved from a class to background or back.

        The two logits of a moved cell are exchanged, so borders between cells stay smooth. Logits that hold NaN or
        infinity are returned unchanged.
        """
        if not (self.largest_component or self.fill_holes) or not np.isfinite(logits).all():
            return logits
        clean = logits.copy()
        for number in range(1, len(logits)):
            own = clean.argmax(axis=0) == number
            if self.largest_component:
                _exchange(clean, number, own & ~largest_component_of(own))
            if self.fill_holes:
                labels = clean.argmax(axis=0)
                own = labels == number
                _exchange(clean, number, holes(own) & (labels == 0))
        return clean

    def average_with_flipped(self, outputs: Floats, flipped: Floats, kind: TaskKind) -> Floats:
        """Return the mean of the raw outputs (B, ...) and those of the flipped images, flipped back."""
        if kind is TaskKind.REGRESSION:
            points = flipped.reshape(len(flipped), -1, 2).copy()
            points[..., 0] = 1 - points[..., 0]
            back = points[:, list(self.point_order or range(points.shape[1]))].reshape(outputs.shape)
        elif kind is TaskKind.CLASSIFICATION:
            back = flipped
        else:
            back = flipped[..., ::-1]
            if kind is TaskKind.DETECTION:
                back = np.concatenate([1 - back[:, 2:3], back[:, 1:2], 1 - back[:, 0:1], back[:, 3:]], axis=1)
        return np.asarray((outputs + back) / 2, outputs.dtype)


def largest_component_of(own: Cells) -> Cells:
    """Return the largest connected component of (h, w) cells; of several equally large ones, the last."""
    labels = connected_components(own)
    counts = np.bincount(labels.ravel(), minlength=2)
    counts[0] = 0
    largest: Cells = own & (labels == len(counts) - 1 - counts[::-1].argmax())
    return largest


def holes(own: Cells) -> Cells:
    """Return the (h, w) cells outside `own` that are not 4-connected to the edge."""
    labels = connected_components(np.pad(~own, 1, constant_values=True))
    enclosed: Cells = ~own & (labels[1:-1, 1:-1] != labels[0, 0])
    return enclosed


def connected_components(own: Cells) -> npt.NDArray[np.int64]:
    """Label the 4-connected components of (h, w) cells: one number above 0 per component, 0 outside.

    Every cell takes the largest number among its neighbours, then the number of the cell that it names, until nothing
    changes. Written here because SimpleITK, the one library in the container that can do it, takes a second to import.
    """
    labels = np.where(own, np.arange(1, own.size + 1).reshape(own.shape), 0)
    while True:
        wide = np.pad(labels, 1)
        neighbours: Sequence[npt.NDArray[np.int64]] = (
            labels, wide[:-2, 1:-1], wide[2:, 1:-1], wide[1:-1, :-2], wide[1:-1, 2:],
        )  # fmt: skip
        spread = np.where(own, np.maximum.reduce(neighbours), 0)
        spread = np.concatenate([[0], spread.ravel()])[spread]
        if np.array_equal(spread, labels):
            return labels
        labels = spread


def _exchange(logits: Floats, number: int, cells: Cells) -> None:
    """Exchange the logits of class `number` and background in `cells`, in place."""
    logits[0][cells], logits[number][cells] = logits[number][cells], logits[0][cells]
