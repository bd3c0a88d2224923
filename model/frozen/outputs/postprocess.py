"""Post-processing: connected components, filled holes, a second look, and averages over views of the image.

The weights say which of these helps which task; `training refine` chooses them on held-out rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from challenge.tasks import TaskKind
from model.frozen.outputs.joining import join
from model.frozen.outputs.views import FLIP, VIEWS

Floats = npt.NDArray[np.float32]
Cells = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]


class Postprocess(StrEnum):
    """How much post-processing to do; each level includes the ones before it."""

    NONE = "none"
    MASKS = "masks"
    """Masks are cleaned, which takes next to no time."""
    LOOK = "look"
    """A crop of the image around what was found is answered again: up to twice the network's time."""
    FLIP = "flip"
    """The flipped image is answered too (test-time augmentation): up to twice the time of the level before."""
    VIEWS = "views"
    """Scaled and rotated images are answered too: the time of the level before for each of them."""

    def includes(self, other: "Postprocess") -> bool:
        """Return whether `other` is this level or one before it."""
        levels = list(Postprocess)
        return levels.index(other) <= levels.index(self)


@dataclass(frozen=True)
class SecondLook:
    """Where a second look goes (`model.frozen.outputs.second_look`).

    `zoom` is the crop's size in boxes around what was found, and `least_side` the least size in sides of the image.
    An image gets no second look if more than `largest_area` of it was found to belong to the structure.
    """

    zoom: float = 1.6
    least_side: float = 0.6
    largest_area: float = 1.0

    def __post_init__(self) -> None:
        if not (self.zoom >= 1 and 0 < self.least_side <= 1 and 0 < self.largest_area <= 1):
            raise ValueError(f"{self} needs a zoom of 1 or more, and a least side and a largest area in 0..1")


@dataclass(frozen=True)
class Postprocessing:
    """The post-processing that helps one task.

    `largest_component` keeps the largest connected component of each class and turns the rest into background.
    `fill_holes` gives background that a class encloses to that class. `views` names views of the image (of `VIEWS`)
    whose answers are joined to the image's own; `point_order` gives each point's index (from 0) among the flipped
    image's points. `second_look` is for masks and boxes.
    """

    largest_component: bool = False
    fill_holes: bool = False
    views: tuple[str, ...] = ()
    point_order: tuple[int, ...] = ()
    second_look: SecondLook | None = None

    def __post_init__(self) -> None:
        if unknown := set(self.views) - set(VIEWS):
            raise ValueError(f"{', '.join(sorted(unknown))}: the views are {', '.join(VIEWS)}")

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> "Postprocessing":
        """Return what `dataclasses.asdict` wrote; missing keys have their defaults. Raises TypeError or ValueError.

        Earlier versions wrote `flip`, the only view that they knew.
        """
        known = dict(table)
        views = (FLIP,) if known.pop("flip", False) else tuple(known.get("views", ()))
        look, order = known.get("second_look"), tuple(map(int, known.get("point_order", ())))
        look = None if look is None else SecondLook(**look)
        return cls(**{**known, "views": views, "point_order": order, "second_look": look})

    def up_to(self, level: Postprocess) -> "Postprocessing":
        """Return the part of it that `level` includes."""
        masks = level.includes(Postprocess.MASKS)
        least = {name: Postprocess.FLIP if name == FLIP else Postprocess.VIEWS for name in self.views}
        return replace(
            self,
            largest_component=self.largest_component and masks,
            fill_holes=self.fill_holes and masks,
            second_look=self.second_look if level.includes(Postprocess.LOOK) else None,
            views=tuple(name for name in self.views if level.includes(least[name])),
        )

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

    def clean_labels(self, labels: Labels) -> None:
        """Do to (H, W) class indices, in place, what `clean_mask` does to logits."""
        if not (self.largest_component or self.fill_holes):
            return
        for number in range(1, int(labels.max(initial=0)) + 1):
            if self.largest_component:
                own = labels == number
                labels[own & ~largest_component_of(own)] = 0
            if self.fill_holes:
                labels[holes(labels == number) & (labels == 0)] = number

    def join_views(
        self, outputs: Floats, of_views: Mapping[str, Floats], kind: TaskKind, aspects: Sequence[float]
    ) -> Floats:
        """Return the raw outputs (B, ...) joined with those of the images' views, by name, brought back first.

        `aspects` are those of the images' grid pixels (`Resize`).
        """
        back = (VIEWS[name].back(of_views[name], outputs, kind, aspects, self.point_order) for name in of_views)
        return join(kind, [outputs, *back])


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

    Cells are joined to runs, a run being a row's cells without a gap. Every run takes the largest number among the runs
    that it touches, then the number of the run that it names, until nothing changes. Written here because SimpleITK,
    the one library in the container that can do it, takes a second to import.
    """
    wide = np.pad(own, ((0, 0), (0, 1)))  # a column that ends the last run of each row
    changes = np.flatnonzero(np.diff(wide.ravel(), prepend=False))
    starts, stops = changes[0::2], changes[1::2]
    upper, lower = _touching(starts, stops, wide.shape[1])
    numbers = np.arange(len(starts))
    while True:
        spread = numbers.copy()
        np.maximum.at(spread, upper, numbers[lower])
        np.maximum.at(spread, lower, numbers[upper])
        spread = spread[spread]
        if np.array_equal(spread, numbers):
            break
        numbers = spread
    labels = np.zeros(wide.shape, np.int64)
    labels[wide] = np.repeat(numbers + 1, stops - starts)
    return labels[:, :-1]


def _touching(starts: Ints, stops: Ints, width: int) -> tuple[Ints, Ints]:
    """Return the pairs of runs, by index, of which one lies right above the other in rows of `width` cells."""
    first = np.searchsorted(stops, starts + width, side="right")
    counts = np.searchsorted(starts, stops + width, side="left") - first
    upper = np.repeat(np.arange(len(starts)), counts)
    lower = np.arange(len(upper)) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    return upper, lower


def _exchange(logits: Floats, number: int, cells: Cells) -> None:
    """Exchange the logits of class `number` and background in `cells`, in place."""
    logits[0][cells], logits[number][cells] = logits[number][cells], logits[0][cells]
