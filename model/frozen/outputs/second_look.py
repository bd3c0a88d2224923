"""A second look: a crop of the image around what was found, answered again and joined to the first answer.

The network's grid is coarser than most images, so small structures gain from a crop that fills the grid. Outside of the
crop the first answer stays: a structure that the first look found elsewhere is not lost.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from challenge.imaging.geometry import Fit, Floats, Pixels, Resize, Window
from challenge.imaging.resampling import Resampling
from challenge.tasks import TaskKind
from model.frozen.outputs.postprocess import Postprocessing, SecondLook

Corners = npt.NDArray[np.float64]
"""(2, 2): x and y of a box's first and last corner."""

# Sides of the image. A larger crop would show the network what it has seen, at nearly the same size.
_NEARLY_WHOLE = 0.9


@dataclass(frozen=True)
class Crop:
    """The pixels of an image in `window` (native pixels): (S, S, 3) on the network's grid, and how they fit there."""

    window: Window
    resize: Resize
    pixels: Pixels

    @classmethod
    def of(cls, image: Pixels, window: Window, size: int, fit: Fit, resampling: Resampling) -> "Crop":
        """Cut it out of a native image (H, W, 3)."""
        resize = Resize.of(window.width, window.height, size, fit)
        return cls(window, resize, resize.image(image[window.slices], resampling))


@dataclass(frozen=True)
class Look:
    """The raw output (no batch axis) for the crop in `window`, which `resize` brings onto the network's grid."""

    window: Window
    resize: Resize
    raw: Floats

    def planes(self) -> Iterator[tuple[slice, list[Floats]]]:
        """Yield strips of the window: its rows (from 0), and what decides between classes there (`planes_of`)."""
        return self.resize.planes_to_native(planes_of(self.raw), Window(0, 0, self.window.width, self.window.height))


def window_of(raw: Floats, kind: TaskKind, resize: Resize, postprocessing: Postprocessing) -> Window | None:
    """Return where to look again, given the raw output of the first look (no batch axis).

    The window has the image's proportions and lies inside the image. None if the task has no second look, if nothing
    was found, if more was found than `largest_area`, if the window would be nearly the whole image, if the network's
    grid shows only a part of the image, or if the output holds NaN or infinity.
    """
    look = postprocessing.second_look
    if look is None or resize.crop or not np.isfinite(raw).all():
        return None
    if kind is TaskKind.DETECTION:
        return _window_of_box(np.sort(resize.to_native(best_box(raw) * resize.size), axis=0), resize, look)
    if kind is TaskKind.SEGMENTATION:
        return _window_of_mask(postprocessing.clean_mask(raw).argmax(axis=0) > 0, resize, look)
    return None


def join_masks(labels: Pixels, raw: Floats, resize: Resize, look: Look) -> None:
    """Replace the (H, W) native class indices inside the window, in place, by those of both looks together.

    `raw` are the logits of the first look. The class is the one with the largest mean of both looks' probabilities.
    """
    inside = labels[look.window.slices]
    first = resize.planes_to_native(planes_of(raw), look.window)
    for (rows, one), (_, two) in zip(first, look.planes(), strict=True):
        inside[rows] = one[0] + two[0] > 0 if len(one) == 1 else np.argmax(softmax(one) + softmax(two), axis=0)


def join_boxes(corners: Corners, look: Look) -> Corners:
    """Return the mean, in native pixels, of the first look's corners (native pixels) and the second look's."""
    again = look.resize.to_native(best_box(look.raw) * look.resize.size)
    corner = np.array([look.window.left, look.window.top])
    return np.asarray((corners + again + corner) / 2)


def best_box(raw: Floats) -> Corners:
    """Return the corners, in 0..1 of the grid, in the cell of (5, s, s) with the highest objectness."""
    best = int(raw[4].argmax())
    return raw[:4].reshape(4, -1)[:, best].astype(np.float64).reshape(2, 2)


def _window_of_mask(found: npt.NDArray[np.bool_], resize: Resize, look: SecondLook) -> Window | None:
    rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    if not len(rows):
        return None
    cell = resize.size / found.shape[0]
    if found.sum() * cell**2 > look.largest_area * resize.inner_width * resize.inner_height:
        return None
    return _window(resize.to_native([(columns[0] * cell, rows[0] * cell),
                                     ((columns[-1] + 1) * cell, (rows[-1] + 1) * cell)]), resize, look)  # fmt: skip


def _window_of_box(corners: Corners, resize: Resize, look: SecondLook) -> Window | None:
    if np.prod(corners[1] - corners[0]) > look.largest_area * resize.width * resize.height:
        return None
    return _window(corners, resize, look)


def _window(corners: Corners, resize: Resize, look: SecondLook) -> Window | None:
    """Return the window around a box, both in native pixels."""
    image = np.array([resize.width, resize.height])
    corners = np.clip(corners, 0, image)
    side = max(look.least_side, look.zoom * float(((corners[1] - corners[0]) / image).max()))
    if side > _NEARLY_WHOLE:
        return None
    size = np.maximum(1, np.rint(side * image)).astype(int)
    corner = np.clip(np.rint(corners.mean(axis=0) - size / 2), 0, image - size).astype(int)
    (left, top), (right, bottom) = corner.tolist(), (corner + size).tolist()
    return Window(left, top, right, bottom)


def planes_of(logits: Floats) -> list[Floats]:
    """Return what decides between classes. Of two it is the difference: p + q > 1 where their logits' sum is > 0."""
    return [logits[1] - logits[0]] if len(logits) == 2 else list(logits)


def softmax(logits: list[Floats]) -> Floats:
    """(K planes) -> probabilities (K, ...)."""
    planes = np.stack(logits)
    odds = np.exp(planes - planes.max(axis=0))
    return np.asarray(odds / odds.sum(axis=0))
