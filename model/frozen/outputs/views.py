"""Views: an image flipped, scaled or rotated a little, which the network answers too (test-time augmentation).

A view maps images, and brings the raw outputs for them back to where the image was.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from challenge.imaging.geometry import Floats, Pixels
from challenge.tasks import TaskKind

Matrix = npt.NDArray[np.float64]
"""(2, 2): an offset (x, y) from the grid's centre in the image -> the same in the view."""

FLIP = "flip"


class View(Protocol):
    """A view of images on the network's grid."""

    def suits(self, kind: TaskKind) -> bool:
        """Return whether answers of this kind can be brought back."""
        ...

    def images(self, images: Pixels, aspects: Sequence[float]) -> Pixels:
        """(B, S, S, 3) uint8 -> the same of the view. `aspects` are those of the images' grid pixels (`Resize`)."""
        ...

    def back(
        self, outputs: Floats, plain: Floats, kind: TaskKind, aspects: Sequence[float], point_order: Sequence[int]
    ) -> Floats:
        """Return the raw outputs (B, ...) for the view as raw outputs for the image.

        `plain` are those for the image itself; they fill the cells that the view does not show. `point_order` gives
        each point's index (from 0) among the flipped image's points; empty if points keep their order.
        """
        ...


@dataclass(frozen=True)
class Flip:
    """Left and right exchanged."""

    def suits(self, kind: TaskKind) -> bool:
        """See `View`."""
        return True

    def images(self, images: Pixels, aspects: Sequence[float]) -> Pixels:
        """See `View`."""
        return np.ascontiguousarray(images[:, :, ::-1])

    def back(
        self, outputs: Floats, plain: Floats, kind: TaskKind, aspects: Sequence[float], point_order: Sequence[int]
    ) -> Floats:
        """See `View`."""
        if kind is TaskKind.CLASSIFICATION:
            return outputs
        if kind is TaskKind.REGRESSION:
            points = outputs.reshape(len(outputs), -1, 2).copy()
            points[..., 0] = 1 - points[..., 0]
            return points[:, list(point_order or range(points.shape[1]))].reshape(outputs.shape)
        back = outputs[..., ::-1]
        if kind is TaskKind.DETECTION:
            return np.concatenate([1 - back[:, 2:3], back[:, 1:2], 1 - back[:, 0:1], back[:, 3:]], axis=1)
        return back


@dataclass(frozen=True)
class Affine:
    """The image scaled and rotated about its centre, in native proportions.

    What leaves the grid is lost, what comes in is black. `degrees` turn x towards y: clockwise on a screen.
    """

    scale: float = 1.0
    degrees: float = 0.0

    def suits(self, kind: TaskKind) -> bool:
        """See `View`. The box of a rotated object can only be estimated from its old box."""
        return kind is not TaskKind.DETECTION or not self.degrees

    def images(self, images: Pixels, aspects: Sequence[float]) -> Pixels:
        """See `View`."""
        pairs = zip(images, aspects, strict=True)
        return np.stack([_warped(image, _inverse(self._matrix(aspect))) for image, aspect in pairs]).astype(np.uint8)

    def back(
        self, outputs: Floats, plain: Floats, kind: TaskKind, aspects: Sequence[float], point_order: Sequence[int]
    ) -> Floats:
        """See `View`."""
        if kind is TaskKind.CLASSIFICATION:
            return outputs
        triples = zip(outputs, plain, map(self._matrix, aspects), strict=True)
        if kind is TaskKind.REGRESSION:
            return np.stack([_points_back(points, matrix) for points, _, matrix in triples])
        maps = [_maps_back(one, matrix) for one, _, matrix in triples]
        if kind is TaskKind.DETECTION:
            for one in maps:
                one[:4] = (one[:4] - 0.5) / self.scale + 0.5
        shown = [_is_shown(outputs.shape[-1], self._matrix(aspect)) for aspect in aspects]
        return np.where(np.stack(shown)[:, None], np.stack(maps), plain)

    def _matrix(self, aspect: float) -> Matrix:
        cosine, sine = math.cos(math.radians(self.degrees)), math.sin(math.radians(self.degrees))
        return self.scale * np.array([[cosine, -sine / aspect], [sine * aspect, cosine]])


VIEWS: Mapping[str, View] = {
    FLIP: Flip(),
    "scale 0.85": Affine(scale=0.85),
    "scale 1.2": Affine(scale=1.2),
    "rotate -10": Affine(degrees=-10),
    "rotate 10": Affine(degrees=10),
}
"""The views by the names that `weights.json` records, in the order in which their answers are added."""


def _warped(pixels: npt.NDArray[np.generic], matrix: Matrix) -> npt.NDArray[np.generic]:
    """Return (S, S) or (S, S, 3) whose cell at offset p shows what was at offset `matrix` p: bilinear, 0 outside."""
    size = len(pixels)
    shift = size / 2 * (1 - matrix.sum(axis=1))
    (a, b), (d, e) = matrix.tolist()
    data = (a, b, float(shift[0]), d, e, float(shift[1]))
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.transform((size, size), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR))


def _maps_back(maps: Floats, matrix: Matrix) -> Floats:
    return np.stack([_warped(np.asarray(plane, np.float32), matrix) for plane in maps]).astype(maps.dtype)


def _points_back(points: Floats, matrix: Matrix) -> Floats:
    offsets = points.reshape(-1, 2).astype(np.float64) - 0.5
    return np.asarray(offsets @ _inverse(matrix).T + 0.5, points.dtype).reshape(points.shape)


def _inverse(matrix: Matrix) -> Matrix:
    return np.asarray(np.linalg.inv(matrix), np.float64)


def _is_shown(size: int, matrix: Matrix) -> npt.NDArray[np.bool_]:
    """Return for (size, size) cells of the image whether the view shows their centres."""
    centres = (np.arange(size) + 0.5) / size - 0.5
    offsets = np.stack(np.meshgrid(centres, centres, indexing="xy"), axis=-1)
    return np.asarray(np.abs(offsets @ matrix.T).max(axis=-1) <= 0.5)
