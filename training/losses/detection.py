"""Detection losses. Output (B, 5, s, s) as `System` defines it, target (B, 4) boxes x0, y0, x1, y1 in 0..1."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from model.networks.heads.dense import cell_centres, mean_box

_BOX_WEIGHT = 8.0
_GIOU_WEIGHT = 2.0


def positive_cell_loss(output: Tensor, target: Tensor) -> Tensor:
    """The official baseline's loss: objectness and 8 x L1 at the one cell that holds the box's centre.

    No negative cell is supervised, so the best cell at inference is arbitrary; kept for comparison.
    """
    size = output.shape[-1]
    centre = (target[:, :2] + target[:, 2:]) / 2
    column, row = (centre * size).long().clamp(0, size - 1).unbind(dim=1)
    cell = output[torch.arange(len(output), device=output.device), :, row, column]
    objectness = F.binary_cross_entropy_with_logits(cell[:, 4], torch.ones_like(cell[:, 4]))
    return objectness + _BOX_WEIGHT * F.l1_loss(cell[:, :4], target)


def focal_grid_loss(output: Tensor, target: Tensor) -> Tensor:
    """Focal objectness over the whole grid with a Gaussian around the centre (CenterNet, section 3), and 8 x L1.

    The box is supervised wherever the Gaussian is, so that every likely arg-max cell holds a good box.
    """
    heat = _gaussian(target, output.shape[-1])
    return _focal(output[:, 4], heat) + _BOX_WEIGHT * _box_distance(output, target, heat)


def focal_grid_giou_loss(output: Tensor, target: Tensor) -> Tensor:
    """The same with 2 x GIoU (arXiv 1902.09630) beside the L1, so that small boxes count as much as large ones."""
    heat = _gaussian(target, output.shape[-1])
    weight = _near_centre(heat)
    boxes = output[:, :4].movedim(1, -1)
    giou = _giou_loss(boxes, target[:, None, None].expand_as(boxes))
    overlap = (giou * weight).sum() / weight.sum().clamp_min(1e-6)
    return focal_grid_loss(output, target) + _GIOU_WEIGHT * overlap


def one_box_loss(output: Tensor, target: Tensor) -> Tensor:
    """8 x L1 and 2 x GIoU of the image's mean box, and cross-entropy of the softmax that weighs it, to a Gaussian.

    For `BoxHead` with `one_box`: what is supervised is the answer itself.
    """
    heat = _gaussian(target, output.shape[-1])
    heat = heat / heat.sum(dim=(1, 2), keepdim=True)
    entropy = -(heat.flatten(1) * output[:, 4].flatten(1).log_softmax(dim=1)).sum(dim=1).mean()
    box = mean_box(output)
    return entropy + _BOX_WEIGHT * F.l1_loss(box, target) + _GIOU_WEIGHT * _giou_loss(box, target).mean()


def _giou_loss(boxes: Tensor, truth: Tensor) -> Tensor:
    """(..., 4) boxes and truth -> (...). Corners are put in order: GIoU is not defined for a box upside down."""
    first, second = boxes[..., :2], boxes[..., 2:]
    ordered = torch.cat([torch.minimum(first, second), torch.maximum(first, second)], dim=-1)
    loss: Tensor = generalized_box_iou_loss(ordered.reshape(-1, 4), truth.reshape(-1, 4))
    return loss.view(boxes.shape[:-1])


def _focal(logits: Tensor, heat: Tensor) -> Tensor:
    probability = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    positive = (heat >= heat.amax(dim=(1, 2), keepdim=True)).float()
    hit = positive * (1 - probability) ** 2 * probability.log()
    miss = (1 - positive) * (1 - heat) ** 4 * probability**2 * (1 - probability).log()
    return -(hit + miss).sum() / positive.sum().clamp_min(1)


def _box_distance(output: Tensor, target: Tensor, heat: Tensor) -> Tensor:
    distance = (output[:, :4] - target[:, :, None, None]).abs().mean(dim=1)
    weight = _near_centre(heat)
    return (distance * weight).sum() / weight.sum().clamp_min(1e-6)


def _near_centre(heat: Tensor) -> Tensor:
    return heat * (heat > 0.1)


def _gaussian(boxes: Tensor, size: int) -> Tensor:
    """(B, 4) boxes -> (B, size, size), 1 near the centre; its standard deviation is a sixth of the box's sides."""
    cells = cell_centres(size, boxes)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    sigma = ((boxes[:, 2:] - boxes[:, :2]) / 6).clamp_min(1.0 / size)
    x = ((cells[None] - centre[:, :1]) / sigma[:, :1]) ** 2
    y = ((cells[None] - centre[:, 1:]) / sigma[:, 1:]) ** 2
    return torch.exp(-0.5 * (x[:, None, :] + y[:, :, None]))
