"""Deep supervision: the loss at several scales of one answer (nnU-Net; UniSeg, arXiv 2304.03493)."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from training.losses import Loss


def scale_weights(scales: int) -> list[float]:
    """Return the weight of each scale, finest first: 1, 1/2, 1/4, ..., the coarsest 0, divided by their sum.

    Of five scales these are 8/15, 4/15, 2/15, 1/15 and 0. A single scale has the weight 1.
    """
    weights = [0.5**number for number in range(scales)]
    if scales > 1:
        weights[-1] = 0.0
    return [weight / sum(weights) for weight in weights]


def supervised_loss(loss: Loss, outputs: Sequence[Tensor], target: Tensor) -> Tensor:
    """Return the weighted sum of `loss` over the outputs, finest first.

    The finest one has the target as it is. For the others, (B, K, s, s) logits of masks, the target (B, S, S) int64 is
    brought to s x s by nearest neighbour.
    """
    total = loss(outputs[0], target)
    weights = scale_weights(len(outputs))
    if len(outputs) == 1:
        return total
    total = weights[0] * total
    for output, weight in zip(outputs[1:], weights[1:], strict=True):
        if weight:
            total = total + weight * loss(output, _at(target, output))
    return total


def _at(target: Tensor, output: Tensor) -> Tensor:
    planes = target[:, None].float()
    return F.interpolate(planes, size=output.shape[-2:], mode="nearest-exact")[:, 0].to(target.dtype)
