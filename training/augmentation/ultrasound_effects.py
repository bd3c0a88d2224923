"""What differs between ultrasound machines, probes and hands: speckle, depth gain, acoustic shadow, haze.

Depth runs down. Black stays black, so that the frame round the sector is not painted.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from training.augmentation.effect import Effect, column, grid, stacked

Floats = npt.NDArray[np.float32]
Shape = tuple[int, int]


def _draw_speckle(rng: np.random.Generator, shape: Shape) -> tuple[Floats, float]:
    cells = int(shape[1] / rng.uniform(1.0, 3.0))
    return rng.standard_normal((cells, cells), np.float32), rng.uniform(0.05, 0.3)


def _speckle(x: Tensor, drawn: Sequence[tuple[Floats, float]]) -> Tensor:
    grain = torch.cat([_resized(stacked([cells], x), x.shape[-1]) for cells, _ in drawn])
    return x * (1 + column([strength for _, strength in drawn], x) * grain)


def _draw_gain(rng: np.random.Generator, _: Shape) -> Floats:
    return rng.uniform(-0.5, 0.5, 4).astype(np.float32)


def _depth_gain(x: Tensor, drawn: Sequence[Floats]) -> Tensor:
    curves = F.interpolate(stacked(drawn, x)[:, None], size=x.shape[-2], mode="linear", align_corners=True)
    return x * curves.exp()[..., None]


def _draw_shadow(rng: np.random.Generator, _: Shape) -> tuple[float, ...]:
    start, centre, tilt = rng.uniform(0.1, 0.7), rng.uniform(0.1, 0.9), rng.uniform(-0.4, 0.4)
    return start, centre, tilt, rng.uniform(0.03, 0.15), rng.uniform(0.3, 0.8)


def _shadow(x: Tensor, drawn: Sequence[tuple[float, ...]]) -> Tensor:
    depth, across = grid(x)
    start, centre, tilt, width, strength = (column(values, x) for values in zip(*drawn, strict=True))
    profile = torch.exp(-0.5 * ((across - centre - tilt * (depth - start)) / width) ** 2)
    return x * (1 - strength * profile * ((depth - start) * 20).sigmoid())


def _draw_haze(rng: np.random.Generator, _: Shape) -> tuple[Floats, float, float]:
    return rng.uniform(0, 1, (4, 4)).astype(np.float32), rng.uniform(0.1, 0.35), rng.uniform(0.2, 0.6)


def _haze(x: Tensor, drawn: Sequence[tuple[Any, float, float]]) -> Tensor:
    blobs, strengths, reaches = zip(*drawn, strict=True)
    fading = torch.exp(-grid(x)[0] / column(reaches, x))
    veil = column(strengths, x) * fading * _resized(stacked(blobs, x), x.shape[-1])
    return x + veil * (1 - x) * (x > 0.02)


def _resized(fields: Tensor, size: int) -> Tensor:
    """(B, n, n) -> (B, 1, size, size)."""
    return F.interpolate(fields[:, None], size=(size, size), mode="bilinear", align_corners=False)


speckle = Effect(_draw_speckle, _speckle)
"""Multiplicative noise, correlated over one to three pixels as the resolution cell of a probe makes it."""
depth_gain = Effect(_draw_gain, _depth_gain)
"""Time gain compensation set otherwise: a smooth factor of 0.6 to 1.6 that changes with depth."""
shadow = Effect(_draw_shadow, _shadow)
"""A dark band with soft edges from some depth downwards, as behind bone, calcification or gas."""
haze = Effect(_draw_haze, _haze)
"""A bright veil that fades with depth, as reverberation and off-axis echoes make it."""
