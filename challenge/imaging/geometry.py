"""Native image <-> network grid: one record per image, which also maps masks, boxes and points back.

Convention: coordinates are continuous, with the origin at the outer corner of the first pixel; pixel i covers
[i, i + 1) and its centre is i + 0.5. A stretch is then a plain factor, x * 256 / width, which is also how the
organisers normalise boxes and points (docs/reference/contract.md, 1.3).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from PIL import Image

from challenge.imaging.resampling import RESAMPLERS, Resampling

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_STRIP_PIXELS = 4_000_000


class Fit(StrEnum):
    """How an image is fitted to the square grid; recorded in `weights.json`."""

    STRETCH = "stretch"
    LETTERBOX = "letterbox"


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of native pixels: columns `left` to `right` and rows `top` to `bottom`, without the last of each."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Native pixels."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Native pixels."""
        return self.bottom - self.top

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to index an array with."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


@dataclass(frozen=True, slots=True)
class Resize:
    """Where a native image of `width` x `height` pixels lies on a `size` x `size` grid.

    It fills the rectangle of `inner_width` x `inner_height` grid pixels whose corner is (`left`, `top`).
    """

    width: int
    height: int
    size: int
    left: int
    top: int
    inner_width: int
    inner_height: int

    @classmethod
    def of(cls, width: int, height: int, size: int, fit: Fit = Fit.STRETCH) -> "Resize":
        """Return the record of an image of `width` x `height` native pixels."""
        if fit is Fit.STRETCH:
            return cls(width, height, size, 0, 0, size, size)
        factor = size / max(width, height)
        inner_width, inner_height = max(1, round(width * factor)), max(1, round(height * factor))
        return cls(
            width, height, size, (size - inner_width) // 2, (size - inner_height) // 2, inner_width, inner_height
        )

    @property
    def aspect(self) -> float:
        """Width by height of a grid pixel in native pixels; 1 for a letterbox, apart from rounding."""
        return self.width * self.inner_height / (self.height * self.inner_width)

    def image(self, pixels: Pixels, resampling: Resampling) -> Pixels:
        """(H, W, 3) uint8 native -> (size, size, 3) uint8; the margin of a letterbox is black."""
        inner = RESAMPLERS[resampling](pixels, self.inner_width, self.inner_height)
        if (self.inner_width, self.inner_height) == (self.size, self.size):
            return inner
        canvas = np.zeros((self.size, self.size, 3), np.uint8)
        canvas[self._window] = inner
        return canvas

    def mask(self, indices: Pixels) -> Pixels:
        """(H, W) uint8 class indices native -> (size, size) uint8, nearest by pixel centres."""
        rows, columns = _nearest(self.height, self.inner_height), _nearest(self.width, self.inner_width)
        canvas = np.zeros((self.size, self.size), np.uint8)
        canvas[self._window] = indices[rows[:, None], columns]
        return canvas

    def to_grid(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """(..., 2) x, y in native pixels -> the same in grid pixels."""
        return np.asarray(points, np.float64) * self._factor + self._corner

    def to_native(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """(..., 2) x, y in grid pixels -> the same in native pixels."""
        return (np.asarray(points, np.float64) - self._corner) / self._factor

    def labels_to_native(self, labels: Pixels) -> Pixels:
        """(size, size) uint8 class indices -> (height, width) uint8, bit-equal to OpenCV's INTER_NEAREST.

        The official baseline uses this method, which has no half-pixel centres.
        """
        inner = labels[self._window]
        rows, columns = opencv_nearest(self.inner_height, self.height), opencv_nearest(self.inner_width, self.width)
        return np.ascontiguousarray(inner[rows[:, None], columns])

    def logits_to_native(self, logits: Floats) -> Pixels:
        """(K, s, s) float32 logits of any grid over the square -> (height, width) uint8 class indices.

        Bilinear by pixel centres, then arg max, so borders are smoother than those of resized labels. It works in
        strips of rows, so that K float planes of a huge image never exist at once.
        """
        labels = np.empty((self.height, self.width), np.uint8)
        # Two classes need one plane: their difference.
        planes = [logits[1] - logits[0]] if len(logits) == 2 else list(logits)
        for rows, values in self.planes_to_native(planes, Window(0, 0, self.width, self.height)):
            labels[rows] = values[0] > 0 if len(values) == 1 else np.argmax(values, axis=0)
        return labels

    def planes_to_native(self, planes: Sequence[Floats], window: Window) -> Iterator[tuple[slice, list[Floats]]]:
        """Yield strips of `window`: its rows (from 0), and every (s, s) plane there as (rows, window's width).

        Bilinear by pixel centres. The planes may have any grid over the square.
        """
        grid = planes[0].shape[-1] / self.size
        left, top = self.left * grid, self.top * grid
        across, down = self.inner_width * grid, self.inner_height * grid
        images = [Image.fromarray(np.ascontiguousarray(plane, np.float32)) for plane in planes]
        rows = max(1, _STRIP_PIXELS // (window.width * len(planes)))
        for start in range(0, window.height, rows):
            stop = min(start + rows, window.height)
            region = (
                left + window.left * across / self.width,
                top + (window.top + start) * down / self.height,
                left + window.right * across / self.width,
                top + (window.top + stop) * down / self.height,
            )
            size = (window.width, stop - start)
            strip = [np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=region)) for image in images]
            yield slice(start, stop), strip

    @property
    def _window(self) -> tuple[slice, slice]:
        return slice(self.top, self.top + self.inner_height), slice(self.left, self.left + self.inner_width)

    @property
    def _factor(self) -> npt.NDArray[np.float64]:
        return np.array([self.inner_width / self.width, self.inner_height / self.height])

    @property
    def _corner(self) -> npt.NDArray[np.float64]:
        return np.array([self.left, self.top], np.float64)


def _nearest(source: int, target: int) -> npt.NDArray[np.int64]:
    """For every target pixel, the source pixel that contains its centre."""
    return np.minimum(((np.arange(target) + 0.5) * source / target).astype(np.int64), source - 1)


def opencv_nearest(source: int, target: int) -> npt.NDArray[np.int64]:
    """Return for every target pixel i the source pixel floor(i * (1 / (target / source))) that OpenCV takes.

    In double precision the product can be slightly below a whole number. OpenCV then takes the pixel before.
    """
    return np.minimum((np.arange(target) * (1.0 / (target / source))).astype(np.int64), source - 1)
