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
    """How an image is fitted to the square grid; recorded in `weights.json`.

    `crop` shows the centre square alone, as UltraUPConvNet and PerceptGuide do (short side resized, centre cropped).
    """

    STRETCH = "stretch"
    LETTERBOX = "letterbox"
    CROP = "crop"


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

    It fills the rectangle of `inner_width` x `inner_height` grid pixels whose corner is (`left`, `top`). If there is a
    `crop`, only that part of the image is on the grid; outside of it masks are background.
    """

    width: int
    height: int
    size: int
    left: int
    top: int
    inner_width: int
    inner_height: int
    crop: Window | None = None

    @classmethod
    def of(cls, width: int, height: int, size: int, fit: Fit = Fit.STRETCH) -> "Resize":
        """Return the record of an image of `width` x `height` native pixels."""
        if fit is Fit.STRETCH:
            return cls(width, height, size, 0, 0, size, size)
        if fit is Fit.CROP:
            side = min(width, height)
            left, top = (width - side) // 2, (height - side) // 2
            return cls(width, height, size, 0, 0, size, size, Window(left, top, left + side, top + side))
        factor = size / max(width, height)
        inner_width, inner_height = max(1, round(width * factor)), max(1, round(height * factor))
        return cls(
            width, height, size, (size - inner_width) // 2, (size - inner_height) // 2, inner_width, inner_height
        )

    @property
    def shown(self) -> Window:
        """The native pixels that are on the grid: all of them, unless there is a crop."""
        return self.crop or Window(0, 0, self.width, self.height)

    @property
    def note(self) -> str | None:
        """What a reader of the answer must know: that the network did not see the whole image."""
        if not self.crop or (self.crop.width, self.crop.height) == (self.width, self.height):
            return None
        return (
            f"the network sees only the centre {self.crop.width}x{self.crop.height} of the image's "
            f"{self.width}x{self.height} pixels; outside of it a mask is background"
        )

    @property
    def aspect(self) -> float:
        """Width by height of a grid pixel in native pixels; 1 for a crop and, apart from rounding, a letterbox."""
        return self.shown.width * self.inner_height / (self.shown.height * self.inner_width)

    def image(self, pixels: Pixels, resampling: Resampling) -> Pixels:
        """(H, W, 3) uint8 native -> (size, size, 3) uint8; the margin of a letterbox is black."""
        shown = np.ascontiguousarray(pixels[self.crop.slices]) if self.crop else pixels
        inner = RESAMPLERS[resampling](shown, self.inner_width, self.inner_height)
        if (self.inner_width, self.inner_height) == (self.size, self.size):
            return inner
        canvas = np.zeros((self.size, self.size, 3), np.uint8)
        canvas[self._window] = inner
        return canvas

    def mask(self, indices: Pixels) -> Pixels:
        """(H, W) uint8 class indices native -> (size, size) uint8, nearest by pixel centres."""
        shown = self.shown
        rows, columns = _nearest(shown.height, self.inner_height), _nearest(shown.width, self.inner_width)
        canvas = np.zeros((self.size, self.size), np.uint8)
        canvas[self._window] = indices[shown.slices][rows[:, None], columns]
        return canvas

    def to_grid(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """(..., 2) x, y in native pixels -> the same in grid pixels."""
        return (np.asarray(points, np.float64) - self._origin) * self._factor + self._corner

    def to_native(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """(..., 2) x, y in grid pixels -> the same in native pixels."""
        return (np.asarray(points, np.float64) - self._corner) / self._factor + self._origin

    def labels_to_native(self, labels: Pixels) -> Pixels:
        """(size, size) uint8 class indices -> (height, width) uint8, bit-equal to OpenCV's INTER_NEAREST.

        The official baseline uses this method, which has no half-pixel centres.
        """
        inner = labels[self._window]
        shown = self.shown
        rows, columns = opencv_nearest(self.inner_height, shown.height), opencv_nearest(self.inner_width, shown.width)
        native = np.zeros((self.height, self.width), np.uint8)
        native[shown.slices] = inner[rows[:, None], columns]
        return native

    def logits_to_native(self, logits: Floats) -> Pixels:
        """(K, s, s) float32 logits of any grid over the square -> (height, width) uint8 class indices.

        Bilinear by pixel centres, then arg max, so borders are smoother than those of resized labels. It works in
        strips of rows, so that K float planes of a huge image never exist at once.
        """
        labels = np.zeros((self.height, self.width), np.uint8)
        inside = labels[self.shown.slices]
        # Two classes need one plane: their difference.
        planes = [logits[1] - logits[0]] if len(logits) == 2 else list(logits)
        for rows, values in self.planes_to_native(planes, self.shown):
            inside[rows] = values[0] > 0 if len(values) == 1 else np.argmax(values, axis=0)
        return labels

    def planes_to_native(self, planes: Sequence[Floats], window: Window) -> Iterator[tuple[slice, list[Floats]]]:
        """Yield strips of `window`: its rows (from 0), and every (s, s) plane there as (rows, window's width).

        Bilinear by pixel centres. The planes may have any grid over the square. The window lies within `shown`.
        """
        shown = self.shown
        grid = planes[0].shape[-1] / self.size
        left, top = self.left * grid, self.top * grid
        across, down = self.inner_width * grid, self.inner_height * grid
        images = [Image.fromarray(np.ascontiguousarray(plane, np.float32)) for plane in planes]
        rows = max(1, _STRIP_PIXELS // (window.width * len(planes)))
        for start in range(0, window.height, rows):
            stop = min(start + rows, window.height)
            region = (
                left + (window.left - shown.left) * across / shown.width,
                top + (window.top - shown.top + start) * down / shown.height,
                left + (window.right - shown.left) * across / shown.width,
                top + (window.top - shown.top + stop) * down / shown.height,
            )
            size = (window.width, stop - start)
            strip = [np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=region)) for image in images]
            yield slice(start, stop), strip

    @property
    def _window(self) -> tuple[slice, slice]:
        return slice(self.top, self.top + self.inner_height), slice(self.left, self.left + self.inner_width)

    @property
    def _factor(self) -> npt.NDArray[np.float64]:
        return np.array([self.inner_width / self.shown.width, self.inner_height / self.shown.height])

    @property
    def _origin(self) -> npt.NDArray[np.float64]:
        return np.array([self.shown.left, self.shown.top], np.float64)

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
