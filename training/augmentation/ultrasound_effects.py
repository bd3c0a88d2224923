"""What differs between ultrasound machines, probes and hands: speckle, depth gain, acoustic shadow, haze.

Each effect takes (C, S, S) float32 in 0..1 with depth running down, and a generator, and returns the same shape,
not yet clipped. Black stays black, so that the frame round the sector is not painted.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Effect = Callable[[Tensor, np.random.Generator], Tensor]


def speckle(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Multiplicative noise, correlated over one to three pixels as the resolution cell of a probe makes it."""
    size = x.shape[-1]
    cells = int(size / rng.uniform(1.0, 3.0))
    grain = _resized(torch.from_numpy(rng.standard_normal((cells, cells), np.float32)), size)
    return x * (1 + rng.uniform(0.05, 0.3) * grain)


def depth_gain(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Time gain compensation set otherwise: a smooth factor of 0.6 to 1.6 that changes with depth."""
    knobs = torch.from_numpy(rng.uniform(-0.5, 0.5, 4).astype(np.float32))
    curve = F.interpolate(knobs.view(1, 1, -1), size=x.shape[-2], mode="linear", align_corners=True)
    return x * curve.exp().view(1, -1, 1)


def shadow(x: Tensor, rng: np.random.Generator) -> Tensor:
    """A dark band with soft edges from some depth downwards, as behind bone, calcification or gas."""
    depth, across = _grid(x.shape[-1])
    start, centre, tilt = rng.uniform(0.1, 0.7), rng.uniform(0.1, 0.9), rng.uniform(-0.4, 0.4)
    width, strength = rng.uniform(0.03, 0.15), rng.uniform(0.3, 0.8)
    profile = torch.exp(-0.5 * ((across - centre - tilt * (depth - start)) / width) ** 2)
    return x * (1 - strength * profile * ((depth - start) * 20).sigmoid())


def haze(x: Tensor, rng: np.random.Generator) -> Tensor:
    """A bright veil that fades with depth, as reverberation and off-axis echoes make it."""
    depth, _ = _grid(x.shape[-1])
    blobs = _resized(torch.from_numpy(rng.uniform(0, 1, (4, 4)).astype(np.float32)), x.shape[-1])
    veil = rng.uniform(0.1, 0.35) * blobs * torch.exp(-depth / rng.uniform(0.2, 0.6))
    return x + veil * (1 - x) * (x > 0.02)


def _grid(size: int) -> tuple[Tensor, Tensor]:
    """Depth (S, 1) and place across (1, S), both 0..1."""
    steps = (torch.arange(size) + 0.5) / size
    return steps[:, None], steps[None, :]


def _resized(field: Tensor, size: int) -> Tensor:
    return F.interpolate(field[None, None], size=(size, size), mode="bilinear", align_corners=False)[0, 0]
