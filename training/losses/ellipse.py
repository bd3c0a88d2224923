"""The loss of `EllipseHead`. Target (B, 8): the ends of both axes in 0..1 of the image, NaN for a missing point."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from challenge.errors import UserError
from model.networks.heads.dense import cell_centres

_POINTS_WEIGHT = 10.0


def ellipse_loss(output: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of the area, and 10 x L1 of the axes' ends, each axis in the order that fits better.

    The order is a matter of the angle alone; near the vertical, asking for it would pull both ends to the middle. A row
    with a missing point gives no gradient.
    """
    size = math.isqrt(max(output.shape[1] - 8, 0))
    if output.dim() != 2 or not size or output.shape[1] != 8 + size * size:
        raise UserError("loss 'ellipse' needs an ellipse head: name the task in system.options.ellipses")
    known = ~target.isnan().any(dim=1)
    if not known.any():
        return output.sum() * 0
    output, target = output[known], target[known]
    entropy = F.binary_cross_entropy_with_logits(output[:, 8:].view(-1, size, size), filled(target, size))
    ends, axes = output[:, :8].view(-1, 2, 2, 2), target.view(-1, 2, 2, 2)
    errors = torch.stack([(ends - axes).abs(), (ends - axes.flip(2)).abs()]).mean(dim=(3, 4))
    return entropy + _POINTS_WEIGHT * errors.amin(dim=0).mean()


def filled(ends: Tensor, size: int) -> Tensor:
    """(B, 8) ends of two conjugate diameters -> (B, size, size) float32: 1 in the ellipse, falling to 0 over a cell."""
    points = ends.view(-1, 4, 2)
    x, y = points.mean(dim=1).view(-1, 2, 1, 1).unbind(dim=1)
    (a, b), (c, d) = (((points[:, k + 1] - points[:, k]) / 2).view(-1, 2, 1, 1).unbind(dim=1) for k in (0, 2))
    centres = cell_centres(size, ends)
    dx, dy = centres.view(1, 1, size) - x, centres.view(1, size, 1) - y
    determinant = a * d - b * c
    determinant = torch.where(determinant.abs() < 1e-6, torch.full_like(determinant, 1e-6), determinant)
    radius = torch.hypot((d * dx - c * dy) / determinant, (a * dy - b * dx) / determinant)
    cells = determinant.abs().sqrt() * size
    return ((1 - radius) * cells + 0.5).clamp(0, 1)
