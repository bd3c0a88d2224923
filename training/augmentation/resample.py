"""One affine resampling of an image or a mask. Written here because torchvision's costs a matrix product per pixel."""

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

Matrix = npt.NDArray[np.float64]


def resample(image: Tensor, matrix: Matrix, offset: Matrix, *, nearest: bool) -> Tensor:
    """Move what is at p to `matrix` @ p + `offset`, p = (x, y) in continuous pixels (the first pixel is 0..1).

    `image` is (..., S, S) uint8: an image (C, S, S), bilinear, or with `nearest` a mask (S, S). The result has its
    shape and type; what comes from outside is 0.
    """
    x, y = _sources(image.shape[-1], np.asarray(np.linalg.inv(matrix), np.float64), offset)
    return _nearest(image, x, y) if nearest else _bilinear(image, x, y)


def _sources(size: int, inverse: Matrix, offset: Matrix) -> tuple[Tensor, Tensor]:
    """Return where each pixel of the result comes from, x and y, each (S, S)."""
    centres = torch.arange(size, dtype=torch.float32) + 0.5
    start = -inverse @ offset
    x, y = (
        (float(row[0]) * centres)[None, :] + (float(row[1]) * centres + float(first))[:, None]
        for row, first in zip(inverse, start, strict=True)
    )
    return x, y


def _nearest(mask: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The mask gets a border of 0 from which everything outside is taken."""
    side = mask.shape[-1] + 2
    column, row = ((place + 1).clamp(0, side - 1).to(torch.int64) for place in (x, y))
    return F.pad(mask, (1, 1, 1, 1)).flatten()[row * side + column]


def _bilinear(image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    grid = torch.stack([x, y], dim=-1) * (2 / image.shape[-1]) - 1
    moved = F.grid_sample(image[None].float(), grid[None], mode="bilinear", align_corners=False)[0]
    return moved.round().to(torch.uint8)
