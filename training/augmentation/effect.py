"""What an effect on grey values is: numbers that are drawn, and a painter that changes a batch by them.

Whoever draws needs no image, and whoever paints needs no generator. So loader processes can draw, and the training
process can paint whole batches on its device. One image is a batch of one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

Draw = Callable[[np.random.Generator, tuple[int, int]], Any]
"""Generator, (channels, side S) of the image -> what the painter needs: plain numbers and arrays."""
Paint = Callable[[Tensor, Sequence[Any]], Tensor]
"""(B, C, S, S) float32 in 0..1 and what was drawn for each image -> the same shape, not yet clipped."""


@dataclass(frozen=True)
class Effect:
    """A change of grey values. `marks` may turn one channel into three."""

    draw: Draw
    paint: Paint

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        """Draw and paint one image: (C, S, S) float32 in 0..1 -> the same, not yet clipped."""
        return self.paint(x[None], [self.draw(rng, (x.shape[0], x.shape[-1]))])[0]


def column(values: Sequence[float], x: Tensor) -> Tensor:
    """Return one number per image, (B, 1, 1, 1), to calculate with `x`."""
    return torch.tensor(values, dtype=x.dtype, device=x.device).view(-1, 1, 1, 1)


def stacked(arrays: Sequence[Any], x: Tensor) -> Tensor:
    """Return arrays of one shape as a tensor (B, ...) where `x` is."""
    return torch.from_numpy(np.stack(arrays)).to(x.device, x.dtype)


def grid(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the depth (S, 1) and the place across (1, S) of the pixels of `x`, both 0..1."""
    size = x.shape[-1]
    steps = (torch.arange(size, dtype=x.dtype, device=x.device) + 0.5) / size
    return steps[:, None], steps[None, :]
