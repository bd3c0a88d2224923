"""Classification losses. Logits (B, K) float32, target (B,) int64."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(
    logits: Tensor, target: Tensor, label_smoothing: float = 0.0, class_weights: Tensor | None = None
) -> Tensor:
    """Cross-entropy; as in the official recipe without smoothing and weights."""
    weights = None if class_weights is None else class_weights.to(logits)
    return F.cross_entropy(logits, target, weight=weights, label_smoothing=label_smoothing)


def class_weights(counts: Sequence[int], method: str) -> Tensor | None:
    """Return a weight per class, their mean over the rows 1, or None for `none`.

    `balanced` weights a class by one over its rows, `root` by the square root of that. A class without rows gets the
    weight of one with a single row: it never occurs.
    """
    if method == "none":
        return None
    rows = torch.tensor(counts, dtype=torch.float32)
    weights = rows.clamp_min(1) ** {"balanced": -1.0, "root": -0.5}[method]
    return weights * rows.sum() / (weights * rows).sum()
