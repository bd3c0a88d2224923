"""Predictions in native pixels."""

import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

PRIOR_BOX = (0.25, 0.25, 0.75, 0.75)
"""The prior's box, in 0..1 of the image: what a detection head without training data answers."""
PRIOR_COORDINATE = 0.5
"""Both coordinates of each of the prior's points, in 0..1 of the image."""


@dataclass(frozen=True)
class MaskPrediction:
    """`labels` (H, W) uint8 class indices on the native grid.

    `soft`, if asked for, is (K - 1, H, W) float16: the probabilities of the classes 1, 2, ... of K; the background has
    the rest to 1. `confidence` is the mask's Soft Dice Confidence in 0..1, None for a mask that was read from a file.
    """

    labels: npt.NDArray[np.uint8]
    soft: npt.NDArray[np.float16] | None = field(default=None, compare=False)
    confidence: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class BlankMask:
    """A mask of zeros with `width` x `height` native pixels, for priors and fallbacks. It is written row by row."""

    width: int
    height: int


@dataclass(frozen=True)
class ClassPrediction:
    """`probabilities` (K,) float, their sum 1; `predicted_class` is the arg max."""

    probabilities: tuple[float, ...]
    predicted_class: int


@dataclass(frozen=True)
class Peak:
    """How sharp the map is that a box or a point was read from. A map's cells have probabilities that sum to 1.

    `maximum` is the largest of them, in 0..1. `spread` is the root of the mean squared distance to the mean place, in
    pixels of the native image.
    """

    maximum: float
    spread: float


@dataclass(frozen=True)
class BoxPrediction:
    """(x0, y0, x1, y1): `pixels` on the native grid, `normalized` by native width and height.

    `peak` is that of the map of the box's place, None if the network gives no map.
    """

    pixels: tuple[float, float, float, float]
    normalized: tuple[float, float, float, float]
    peak: Peak | None = field(default=None, compare=False)


@dataclass(frozen=True)
class PointsPrediction:
    """x1, y1, x2, y2, ...: `pixels` on the native grid, `normalized` by native width and height.

    `peaks` has one of each point's map, None if the network gives no maps.
    """

    pixels: tuple[float, ...]
    normalized: tuple[float, ...]
    peaks: tuple[Peak, ...] | None = field(default=None, compare=False)


Prediction = MaskPrediction | BlankMask | ClassPrediction | BoxPrediction | PointsPrediction


@dataclass(frozen=True, slots=True)
class MaskFile:
    """A mask below the output folder, its size in bytes and the CRC-32 of its content."""

    file: str
    size: int
    crc32: int

    def is_whole(self, folder: Path) -> bool:
        """Return whether the file in `folder` is unchanged since it was written."""
        try:
            data = (folder / self.file).read_bytes()
        except OSError:
            return False
        return len(data) == self.size and zlib.crc32(data) == self.crc32
