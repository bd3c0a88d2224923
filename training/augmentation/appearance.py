"""What differs between machines and archives: grey curves, another source's look, resolution, marks on the picture.

Each effect takes (C, S, S) float32 in 0..1 and a generator, and returns the same shape; marks are coloured. Black stays
black, so that the frame round the sector is not painted, except where marks are drawn.
"""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

Doubles = npt.NDArray[np.float64]

_KNOTS = 6
_BLACK = 0.02
_QUANTILES = np.linspace(0, 1, 17)
_SIDE = (0.3, 0.9)  # parts of the side to which an image is shrunk, along each axis of its own
_COLOURS = ((255, 255, 255), (255, 255, 0), (0, 255, 0), (0, 255, 255), (255, 160, 0))
_LETTERS = "ABCDEFGHIKLMNOPRSTUVX0123456789.:-+ "


def grey_curve(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Bend the grey values along a random rising curve, as another compression or look-up table would."""
    steps = np.exp(rng.normal(0, 0.45, _KNOTS))
    heights = np.concatenate([[0], np.cumsum(steps)]) / steps.sum() * rng.uniform(0.75, 1)
    return _along(x, np.linspace(0, 1, _KNOTS + 1), heights)


def style_of(x: Tensor, donor: Tensor, rng: np.random.Generator) -> Tensor:
    """Give the grey values the histogram of another image (3, S, S), in part; frames and their black do not count."""
    own, other = (_quantiles(image) for image in (x, donor))
    if own is None or other is None:
        return x
    part = rng.uniform(0.3, 1)
    ends = np.array([0.0, 1.0])
    before = np.concatenate([ends[:1], own, ends[1:]])
    after = np.concatenate([ends[:1], other, [max(float(other[-1]), 1.0)]])
    return x + part * (_along(x, before, after) - x)


def resolution(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Shrink the image, not alike along both axes, and enlarge it again."""
    size = x.shape[-1]
    small = [max(8, round(size * side)) for side in rng.uniform(*_SIDE, 2)]
    shrunk = F.interpolate(x[None], size=small, mode="bilinear", antialias=True)
    mode = ("bilinear", "bicubic", "nearest")[rng.integers(3)]
    return F.interpolate(shrunk, size=(size, size), mode=mode)[0]


def marks(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Draw calipers with a dotted line, and a few characters, as sonographers leave them on a picture."""
    coloured = x.expand(3, -1, -1)
    pixels = (coloured.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(1, 3))):
        _calipers(draw, rng, x.shape[-1])
    for _ in range(int(rng.integers(0, 3))):
        text = "".join(rng.choice(list(_LETTERS), int(rng.integers(2, 12))))
        place = rng.uniform(0, 0.9, 2) * x.shape[-1]
        draw.text((float(place[0]), float(place[1])), text, fill=_colour(rng), font=_font(int(rng.integers(8, 15))))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def _calipers(draw: ImageDraw.ImageDraw, rng: np.random.Generator, size: int) -> None:
    """Two crosses and the dots between them."""
    colour, arm = _colour(rng), int(rng.integers(2, 6))
    first, second = rng.uniform(0.1, 0.9, (2, 2)) * size
    for x, y in (first, second):
        draw.line((x - arm, y, x + arm, y), fill=colour)
        draw.line((x, y - arm, x, y + arm), fill=colour)
    for part in np.arange(0, 1, 4 / max(4.0, float(np.linalg.norm(second - first)))):
        draw.point(tuple(map(float, first + part * (second - first))), fill=colour)


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    return _COLOURS[rng.integers(len(_COLOURS))]


def _quantiles(x: Tensor) -> Doubles | None:
    """Return the quantiles of the mean of the channels where it is not black; None if hardly anything is.

    They come from a histogram in 1/255: sorting the pixels takes ten times as long.
    """
    levels = _levels(x.mean(dim=0)[::2, ::2])
    counts = np.bincount(levels.ravel(), minlength=256)
    counts[: math.ceil(_BLACK * 255)] = 0
    total = counts.sum()
    if total < len(_QUANTILES):
        return None
    ranks = np.searchsorted(np.cumsum(counts), _QUANTILES * (total - 1), side="right")
    return np.asarray(ranks / 255, np.float64)


def _along(x: Tensor, before: Doubles, after: Doubles) -> Tensor:
    """Map values by straight lines between the points (before, after), in 1/255."""
    table = np.interp(np.linspace(0, 1, 256), before, after).astype(np.float32)
    return torch.from_numpy(table[_levels(x)])


def _levels(x: Tensor) -> npt.NDArray[np.uint8]:
    """0..1 -> 0..255. NumPy looks bytes up faster than torch does."""
    levels: npt.NDArray[np.uint8] = (x.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return levels


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Reading the font takes most of the time of drawing a text."""
    return ImageFont.load_default(size)
