"""Keypoint losses. The target is (B, 2M) x1, y1, x2, y2, ... in 0..1 of the image, NaN for a missing point.

The output is the same, or, for the heatmap losses, (B, M, s, s) logits: what a heatmap head gives in training.
A missing point gives no gradient.
"""

import torch
from torch import Tensor

from model.networks.heads.dense import cell_centres, soft_argmax


def masked_mse(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over the coordinates that exist (the official loss, where none is missing)."""
    return _mean_over_known((output - target.nan_to_num()) ** 2, target)


def masked_l1(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error over the coordinates that exist: outliers pull less than in the squared error."""
    return _mean_over_known((output - target.nan_to_num()).abs(), target)


def heatmap_mse(logits: Tensor, target: Tensor, sigma: float) -> Tensor:
    """Squared error of sigmoid maps to Gaussians of `sigma` (parts of the image's side), summed over a map's cells.

    Such maps are flat, not low, away from the point: read them in a window (`reach` of `HeatmapHead`).
    """
    truth, known = gaussians(target, logits.shape[-1], sigma)
    squares = ((logits.sigmoid() - truth) ** 2).sum(dim=(2, 3))
    return (squares * known).sum() / known.sum().clamp_min(1)


def heatmap_cross_entropy(logits: Tensor, target: Tensor, sigma: float) -> Tensor:
    """Cross-entropy of softmax maps to normalised Gaussians, and 4 x L1 of the soft-argmax (arXiv 1711.08229)."""
    truth, known = gaussians(target, logits.shape[-1], sigma)
    truth = truth / truth.sum(dim=(2, 3), keepdim=True).clamp_min(1e-6)
    each = -(truth.flatten(2) * logits.flatten(2).log_softmax(dim=2)).sum(dim=2)
    entropy = (each * known).sum() / known.sum().clamp_min(1)
    return entropy + 4 * masked_l1(soft_argmax(logits), target)


def gaussians(target: Tensor, size: int, sigma: float) -> tuple[Tensor, Tensor]:
    """Return maps (B, M, size, size), 1 at the point, and which points exist (B, M) float32."""
    points = target.view(len(target), -1, 2)
    known = (~points.isnan().any(dim=2)).float()
    cells = cell_centres(size, target)
    spread = max(sigma, 0.5 / size)
    x, y = ((cells - points.nan_to_num().movedim(2, 0)[..., None]) / spread) ** 2
    return torch.exp(-0.5 * (x[:, :, None, :] + y[:, :, :, None])), known


def _mean_over_known(values: Tensor, target: Tensor) -> Tensor:
    known = ~target.isnan()
    return (values * known).sum() / known.sum().clamp_min(1)
