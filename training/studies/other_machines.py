"""How the same patient might look on another machine: scan converter, look-up table, colour map, frame grabber, filter.

These changes judge how well a network holds in other hospitals. They are fixed, and none of them is among the
augmentations: a network that was trained with one of them would be judged by what it has learned. Each takes
(S, S, 3) uint8 with depth running down, and a generator; positions stay, so the truth stays.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from training.data.pixels import Pixels

Floats = npt.NDArray[np.floating]

_TINTS = ((0.75, 1.0, 1.5), (1.5, 1.05, 0.75), (0.8, 0.95, 1.25), (1.3, 0.8, 1.2))
"""Exponents of red, green and blue: sepia, blue, amber, green."""


def scan_converter(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Few scan lines, interpolated across, and a beam that widens with depth. Along the beam nothing changes."""
    size = len(pixels)
    lines = int(rng.integers(size // 4, size * 3 // 8))
    places, positions = (np.arange(lines) + 0.5) * size / lines, np.arange(size) + 0.5
    sampled = _smoothed(_floats(pixels), size // lines)[:, np.minimum(places.astype(int), size - 1)]
    columns = np.clip(np.interp(positions, places, np.arange(lines)), 0, lines - 1)
    left = columns.astype(int)
    part = (columns - left).astype(np.float32)[:, None]
    drawn = sampled[:, left] * (1 - part) + sampled[:, np.minimum(left + 1, lines - 1)] * part
    depth = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    return _pixels(drawn * (1 - depth) + _smoothed(drawn, size // 42) * depth)


def look_up_table(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A small dynamic range: echoes below a reject level are black, strong ones white, with few grey levels between."""
    reject, saturated = rng.uniform(0.08, 0.2), rng.uniform(0.6, 0.8)
    x = np.clip((_floats(pixels) - reject) / (saturated - reject), 0, 1)
    levels = int(rng.integers(12, 25)) - 1
    return _pixels(np.round(x * x * (3 - 2 * x) * levels) / levels)


def colour_map(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A tinted picture, as many machines offer it."""
    exponents = np.array(_TINTS[rng.integers(len(_TINTS))], np.float32)
    return _pixels(_floats(pixels) ** exponents)


def frame_grabber(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """An analogue video signal: little bandwidth along a row, a halo at edges, shifted half-frames, grey black."""
    x = _smoothed(_floats(pixels), 5)
    x = x + rng.uniform(0.6, 1.2) * (x - np.roll(_smoothed(x, 9), 1, axis=1))
    step = int(rng.choice([-1, 1]))
    x[::2], x[1::2] = np.roll(x[::2], step, axis=1), np.roll(x[1::2], -step, axis=1)
    return _pixels(16 / 255 + np.clip(x, 0, 1) * 219 / 255)


def speckle_filter(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Speckle removed by a median and edges sharpened again, as 'speckle reduction' of new machines does."""
    image = Image.fromarray(pixels).filter(ImageFilter.MedianFilter(5))
    return np.asarray(image.filter(ImageFilter.UnsharpMask(radius=3, percent=int(rng.integers(80, 181)), threshold=2)))


def _floats(pixels: Pixels) -> Floats:
    return pixels.astype(np.float32) / 255


def _pixels(x: Floats) -> Pixels:
    return (np.clip(x, 0, 1) * 255).round().astype(np.uint8)


def _smoothed(x: Floats, width: int) -> Floats:
    """Return the running mean along rows over `width` pixels; the border's pixel goes on beyond it."""
    width = max(1, width)
    padded = np.pad(x, ((0, 0), (width // 2, (width - 1) // 2), (0, 0)), mode="edge")
    sums = np.cumsum(np.pad(padded, ((0, 0), (1, 0), (0, 0))), axis=1, dtype=np.float64)
    mean: Floats = ((sums[:, width:] - sums[:, :-width]) / width).astype(np.float32)
    return mean
