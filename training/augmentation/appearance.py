"""What differs between machines and archives: grey curves, another source's look, resolution, marks on the picture.

Black stays black, so that the frame round the sector is not painted, except where marks are drawn, which are coloured.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from training.augmentation.effect import Effect, stacked

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Shape = tuple[int, int]
Colour = tuple[int, int, int]
Donor = Callable[[np.random.Generator], Tensor]
"""Returns another training image, (3, S, S) uint8."""

_KNOTS = 6
_BLACK = 0.02
_QUANTILES = np.linspace(0, 1, 17)
_SIDE = (0.3, 0.9)  # parts of the side to which an image is shrunk, along each axis of its own
_MODES = ("bilinear", "bicubic", "nearest")
_COLOURS = ((255, 255, 255), (255, 255, 0), (0, 255, 0), (0, 255, 255), (255, 160, 0))
_LETTERS = "ABCDEFGHIKLMNOPRSTUVX0123456789.:-+ "


def _draw_curve(rng: np.random.Generator, _: Shape) -> Floats:
    steps = np.exp(rng.normal(0, 0.45, _KNOTS))
    heights = np.concatenate([[0], np.cumsum(steps)]) / steps.sum() * rng.uniform(0.75, 1)
    return _table(np.linspace(0, 1, _KNOTS + 1), heights)


def _grey_curve(x: Tensor, drawn: Sequence[Floats]) -> Tensor:
    return torch.stack([_along(image, table) for image, table in zip(x, drawn, strict=True)])


def style(donor: Donor) -> Effect:
    """Return the effect that gives the grey values the histogram of a donor, in part.

    Frames and their black do not count.
    """

    def draw(rng: np.random.Generator, _: Shape) -> tuple[Doubles | None, float]:
        quantiles = _quantiles(donor(rng).float() / 255)
        return quantiles, 1.0 if quantiles is None else rng.uniform(0.3, 1)

    return Effect(draw, _style)


def _style(x: Tensor, drawn: Sequence[tuple[Doubles | None, float]]) -> Tensor:
    return torch.stack([_styled(image, *each) for image, each in zip(x, drawn, strict=True)])


def _styled(x: Tensor, other: Doubles | None, part: float) -> Tensor:
    own = None if other is None else _quantiles(x)
    if own is None or other is None:
        return x
    before = np.concatenate([[0.0], own, [1.0]])
    after = np.concatenate([[0.0], other, [max(float(other[-1]), 1.0)]])
    return x + part * (_along(x, _table(before, after)) - x)


def _draw_resolution(rng: np.random.Generator, shape: Shape) -> tuple[list[int], str]:
    small = [max(8, round(shape[1] * side)) for side in rng.uniform(*_SIDE, 2)]
    return small, _MODES[rng.integers(3)]


def _resolution(x: Tensor, drawn: Sequence[tuple[list[int], str]]) -> Tensor:
    coarse = []
    for image, (small, mode) in zip(x, drawn, strict=True):
        shrunk = F.interpolate(image[None], size=small, mode="bilinear", antialias=True)
        coarse.append(F.interpolate(shrunk, size=(x.shape[-2], x.shape[-1]), mode=mode))
    return torch.cat(coarse)


def _draw_marks(rng: np.random.Generator, shape: Shape) -> npt.NDArray[np.uint8]:
    """Return (4, S, S): the colours of the marks on black, and how much they cover."""
    size = shape[1]
    picture = _Marks(size)
    for _ in range(int(rng.integers(1, 3))):
        _calipers(picture, rng, size)
    for _ in range(int(rng.integers(0, 3))):
        text = "".join(rng.choice(list(_LETTERS), int(rng.integers(2, 12))))
        place = rng.uniform(0, 0.9, 2) * size
        colour = _colour(rng)
        font = _font(int(rng.integers(8, 15)))
        for brush, fill in picture.brushes(colour):
            brush.text((float(place[0]), float(place[1])), text, fill=fill, font=font)
    return picture.array()


def _marks(x: Tensor, drawn: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
    layers = stacked(drawn, x) / 255
    return x * (1 - layers[:, 3:]) + layers[:, :3]


class _Marks:
    """Two pictures that are drawn alike: the colours, and the cover."""

    def __init__(self, size: int) -> None:
        self._colours, self._cover = Image.new("RGB", (size, size)), Image.new("L", (size, size))
        self._brushes = ImageDraw.Draw(self._colours), ImageDraw.Draw(self._cover)

    def brushes(self, colour: Colour) -> list[tuple[ImageDraw.ImageDraw, Colour | int]]:
        """Return the brush of each picture, and what to fill with."""
        return [(self._brushes[0], colour), (self._brushes[1], 255)]

    def array(self) -> npt.NDArray[np.uint8]:
        """Return colours and cover, (4, S, S)."""
        return np.concatenate([np.asarray(self._colours).transpose(2, 0, 1), np.asarray(self._cover)[None]])


def _calipers(picture: _Marks, rng: np.random.Generator, size: int) -> None:
    """Two crosses and the dots between them."""
    colour, arm = _colour(rng), int(rng.integers(2, 6))
    first, second = rng.uniform(0.1, 0.9, (2, 2)) * size
    parts = np.arange(0, 1, 4 / max(4.0, float(np.linalg.norm(second - first))))
    for brush, fill in picture.brushes(colour):
        for x, y in (first, second):
            brush.line((x - arm, y, x + arm, y), fill=fill)
            brush.line((x, y - arm, x, y + arm), fill=fill)
        for part in parts:
            brush.point(tuple(map(float, first + part * (second - first))), fill=fill)


def _colour(rng: np.random.Generator) -> Colour:
    return _COLOURS[rng.integers(len(_COLOURS))]


def _quantiles(x: Tensor) -> Doubles | None:
    """Return the quantiles of the mean of the channels where it is not black; None if hardly anything is.

    They come from a histogram in 1/255: sorting the pixels takes ten times as long.
    """
    counts = torch.bincount(_levels(x.mean(dim=0)[::2, ::2]).flatten(), minlength=256).cpu().numpy()
    counts[: math.ceil(_BLACK * 255)] = 0
    total = counts.sum()
    if total < len(_QUANTILES):
        return None
    ranks = np.searchsorted(np.cumsum(counts), _QUANTILES * (total - 1), side="right")
    return np.asarray(ranks / 255, np.float64)


def _table(before: Doubles, after: Doubles) -> Floats:
    """Return the values of 0..255 in 1/255, by straight lines between the points (before, after)."""
    return np.interp(np.linspace(0, 1, 256), before, after).astype(np.float32)


def _along(x: Tensor, table: Floats) -> Tensor:
    """Look every value of `x` up. On a CPU NumPy does it five times as fast."""
    levels = _levels(x)
    if x.device.type == "cpu":
        return torch.from_numpy(table[levels.numpy()])
    return torch.from_numpy(table).to(x.device)[levels.long()]


def _levels(x: Tensor) -> Tensor:
    """0..1 -> 0..255, uint8."""
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Reading the font takes most of the time of drawing a text."""
    return ImageFont.load_default(size)


grey_curve = Effect(_draw_curve, _grey_curve)
"""Grey values along a random rising curve, as another compression or look-up table would bend them."""
resolution = Effect(_draw_resolution, _resolution)
"""The image shrunk, not alike along both axes, and enlarged again."""
marks = Effect(_draw_marks, _marks)
"""Calipers with a dotted line, and a few characters, as sonographers leave them on a picture. Grey becomes RGB."""
