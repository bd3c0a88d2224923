"""Segmentation losses. Logits (B, K, s, s) float32, target (B, S, S) int64 class indices, s <= S."""

import torch
import torch.nn.functional as F
from torch import Tensor

_BAND = 7  # pixels across: three on either side of a border


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Soft Dice over all classes, background included, sums over the batch (the official baseline's loss).

    Classes absent from the batch count as 0 in the mean, as in the official recipe.
    """
    overlap, total, truth = _sums(_on_grid_of(target, logits), target, (0, 2, 3))
    loss = 1 - 2 * overlap / total.clamp_min(1e-7)
    return (loss * (truth > 0)).mean()


def image_dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Soft Dice by image, as it is scored: the mean over images and the classes 1..K-1.

    Small objects weigh as much as large ones. Smoothing by one pixel makes the Dice of a class that an image does not
    show 1 if it is not predicted, and falls to 0 with its false positives.
    """
    overlap, total, _ = _sums(_on_grid_of(target, logits), target, (2, 3))
    dice = (2 * overlap + 1) / (total + 1)
    return 1 - dice[:, 1:].mean()


def cross_entropy_squared_dice(logits: Tensor, target: Tensor) -> Tensor:
    """0.4 cross-entropy + 0.6 Dice whose denominator has squares (UltraUPConvNet, arXiv 2509.11108; PerceptGuide).

    The Dice is that of all classes, background included, with sums over the batch and a smoothing of 1e-5.
    """
    logits = _on_grid_of(target, logits)
    probabilities, truth = _probabilities(logits, target)
    axes = (0, 2, 3)
    overlap, squares = (probabilities * truth).sum(axes), (probabilities**2).sum(axes) + truth.sum(axes)
    dice = (2 * overlap + 1e-5) / (squares + 1e-5)
    return 0.4 * F.cross_entropy(logits, target) + 0.6 * (1 - dice).mean()


def cross_entropy_and_dice(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy + Dice of the classes 1..K-1 with sums over the batch (nnU-Net, and UniSeg, arXiv 2304.03493)."""
    logits = _on_grid_of(target, logits)
    overlap, total, _ = _sums(logits, target, (0, 2, 3))
    dice = (2 * overlap + 1e-5) / (total + 1e-5)
    return F.cross_entropy(logits, target) + 1 - dice[1:].mean()


def cross_entropy_image_dice(logits: Tensor, target: Tensor) -> Tensor:
    """0.4 cross-entropy + 0.6 Dice by image."""
    return 0.4 * F.cross_entropy(_on_grid_of(target, logits), target) + 0.6 * image_dice_loss(logits, target)


def boundary_loss(logits: Tensor, target: Tensor, weight: float) -> Tensor:
    """Cross-entropy and Dice by image as above, pixels near a true border counting 1 + `weight` (U-Net, section 3)."""
    each = F.cross_entropy(_on_grid_of(target, logits), target, reduction="none")
    weights = 1 + weight * near_border(target)
    return 0.4 * (each * weights).sum() / weights.sum() + 0.6 * image_dice_loss(logits, target)


def near_border(target: Tensor) -> Tensor:
    """(B, S, S) class indices -> (B, S, S) float32, 1 where another class lies within three pixels, else 0."""
    indices = target[:, None].float()
    highest = F.max_pool2d(indices, _BAND, 1, _BAND // 2)
    lowest = -F.max_pool2d(-indices, _BAND, 1, _BAND // 2)
    return (highest != lowest)[:, 0].float()


def _on_grid_of(target: Tensor, logits: Tensor) -> Tensor:
    if logits.shape[-2:] == target.shape[-2:]:
        return logits
    return F.interpolate(logits, size=target.shape[-2:], mode="bilinear", align_corners=False)


def _sums(logits: Tensor, target: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Overlap, sum of both areas, and true area, over `axes`."""
    probabilities, truth = _probabilities(logits, target)
    area = truth.sum(axes)
    return (probabilities * truth).sum(axes), probabilities.sum(axes) + area, area


def _probabilities(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the predicted and the true probabilities, both (B, K, s, s)."""
    classes = torch.arange(logits.shape[1], device=logits.device).view(1, -1, 1, 1)
    probabilities = logits.softmax(dim=1)
    return probabilities, (target[:, None] == classes).to(probabilities.dtype)
