"""What may be done to raw outputs before they are decoded: one piece per class, no holes, the mirror image's opinion.

Which of these a task gets is a fact of the weights, chosen on training data that taught nothing (`training refine`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from challenge.tasks import TaskKind

Floats = npt.NDArray[np.float32]
Cells = npt.NDArray[np.bool_]


class Refine(StrEnum):
    """How far to go; each level includes the ones before it."""

    NONE = "none"
    MASKS = "masks"
    """Masks are tidied: next to no time."""
    MIRROR = "mirror"
    """The mirror image is answered too, where that helps: up to twice the network's time."""


@dataclass(frozen=True)
class Refinement:
    """What helps one task.

    `one_piece` leaves the largest connected piece of every class, the rest becomes background; `fill_holes` gives
    background that a class encloses to that class. `mirror` averages with the answer to the mirror image;
    `point_order` is the order (from 0) in which the mirrored points are the original ones.
    """

    one_piece: bool = False
    fill_holes: bool = False
    mirror: bool = False
    point_order: tuple[int, ...] = ()

    def up_to(self, level: Refine) -> "Refinement":
        """Return the part of it that `level` includes."""
        masks = level is not Refine.NONE
        mirror = self.mirror and level is Refine.MIRROR
        return Refinement(self.one_piece and masks, self.fill_holes and masks, mirror, self.point_order)

    def tidied(self, logits: Floats) -> Floats:
        """(K, s, s) mask logits -> the same with cells moved from class to background or back.

        Their logits are exchanged, so that borders between cells stay smooth. What is not finite stays.
        """
        if not (self.one_piece or self.fill_holes) or not np.isfinite(logits).all():
            return logits
        tidy = logits.copy()
        for number in range(1, len(logits)):
            own = tidy.argmax(axis=0) == number
            if self.one_piece:
                _exchange(tidy, number, own & ~largest_piece(own))
            if self.fill_holes:
                labels = tidy.argmax(axis=0)
                own = labels == number
                _exchange(tidy, number, holes(own) & (labels == 0))
        return tidy

    def with_mirrored(self, outputs: Floats, mirrored: Floats, kind: TaskKind) -> Floats:
        """Return the mean of raw outputs (B, ...) and of those for the mirror images, mirrored back."""
        if kind is TaskKind.REGRESSION:
            points = mirrored.reshape(len(mirrored), -1, 2).copy()
            points[..., 0] = 1 - points[..., 0]
            back = points[:, list(self.point_order or range(points.shape[1]))].reshape(outputs.shape)
        elif kind is TaskKind.CLASSIFICATION:
            back = mirrored
        else:
            back = mirrored[..., ::-1]
            if kind is TaskKind.DETECTION:
                back = np.concatenate([1 - back[:, 2:3], back[:, 1:2], 1 - back[:, 0:1], back[:, 3:]], axis=1)
        return np.asarray((outputs + back) / 2, outputs.dtype)


def largest_piece(own: Cells) -> Cells:
    """(h, w) -> its largest piece, joined along sides; of equally large ones the last."""
    labels = pieces(own)
    counts = np.bincount(labels.ravel(), minlength=2)
    counts[0] = 0
    largest: Cells = own & (labels == len(counts) - 1 - counts[::-1].argmax())
    return largest


def holes(own: Cells) -> Cells:
    """(h, w) -> the cells outside `own` from which no way along sides leads to the edge."""
    labels = pieces(np.pad(~own, 1, constant_values=True))
    enclosed: Cells = ~own & (labels[1:-1, 1:-1] != labels[0, 0])
    return enclosed


def pieces(own: Cells) -> npt.NDArray[np.int64]:
    """(h, w) -> the same number, above 0, for all cells of `own` that hang together along sides; 0 elsewhere.

    Every cell takes the largest number beside it, then the number of the cell that it names, until nothing changes.
    Done here because SimpleITK, the one library in the container that can, takes a second to import.
    """
    labels = np.where(own, np.arange(1, own.size + 1).reshape(own.shape), 0)
    while True:
        wide = np.pad(labels, 1)
        beside: Sequence[npt.NDArray[np.int64]] = (
            labels, wide[:-2, 1:-1], wide[2:, 1:-1], wide[1:-1, :-2], wide[1:-1, 2:],
        )  # fmt: skip
        spread = np.where(own, np.maximum.reduce(beside), 0)
        spread = np.concatenate([[0], spread.ravel()])[spread]
        if np.array_equal(spread, labels):
            return labels
        labels = spread


def _exchange(logits: Floats, number: int, cells: Cells) -> None:
    """Let class `number` and background change places in `cells`; in place."""
    logits[0][cells], logits[number][cells] = logits[number][cells], logits[0][cells]
