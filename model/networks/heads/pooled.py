"""The official baseline's heads, one per task kind (arXiv 2602.01055). Raw outputs: see `System`."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from challenge.tasks import TaskKind, TaskSpec

OBJECT_PRIOR = -2.19  # logit of 0.1: keeps focal losses stable at the start (CenterNet, section 4)


class SegmentationHead(nn.Module):
    """1x1 convolution, then bilinear x4 to the image grid."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.classify = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, S/4, S/4) -> (B, K, S, S) logits."""
        return F.interpolate(self.classify(features), scale_factor=4.0, mode="bilinear", align_corners=True)


class ClassificationHead(nn.Module):
    """Global average pooling, dropout, linear."""

    def __init__(self, channels: int, num_classes: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(channels, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, s, s) -> (B, K) logits."""
        logits: Tensor = self.classify(self.dropout(features.mean(dim=(2, 3))))
        return logits


class RegressionHead(nn.Module):
    """Global average pooling and a linear layer; the output's range is not restricted."""

    def __init__(self, channels: int, num_points: int) -> None:
        super().__init__()
        self.regress = nn.Linear(channels, 2 * num_points)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, s, s) -> (B, 2M): x1, y1, x2, y2, ... in 0..1 of the image."""
        points: Tensor = self.regress(features.mean(dim=(2, 3)))
        return points

    def start_at(self, mean_points: Sequence[float]) -> None:
        """Start training at the training set's mean points (2M numbers in 0..1) instead of the image's corner."""
        with torch.no_grad():
            self.regress.bias.copy_(torch.tensor(mean_points))
            self.regress.weight.mul_(0.1)


class DetectionHead(nn.Module):
    """Two 3x3 blocks and a 1x1 convolution: a box in 0..1 of the image and an objectness logit at every cell."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )
        self.predict = nn.Conv2d(channels, 5, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, s, s) -> (B, 5, s, s): x0, y0, x1, y1 in 0..1, objectness logit."""
        raw = self.predict(self.block(features))
        return torch.cat([raw[:, :4].sigmoid(), raw[:, 4:]], dim=1)

    def start_rare(self) -> None:
        """Start with improbable objects everywhere, for losses that supervise the whole grid."""
        with torch.no_grad():
            bias = self.predict.bias
            if bias is not None:
                bias[4] = OBJECT_PRIOR


def make_head(spec: TaskSpec, deep_channels: int, dense_channels: int, dropout: float = 0.0) -> nn.Module:
    """Return the head for a task's kind: dense kinds use `dense_channels` at stride 4, others `deep_channels`."""
    match spec.kind:
        case TaskKind.SEGMENTATION:
            return SegmentationHead(dense_channels, spec.num_classes)
        case TaskKind.CLASSIFICATION:
            return ClassificationHead(deep_channels, spec.num_classes, dropout)
        case TaskKind.DETECTION:
            return DetectionHead(dense_channels)
        case TaskKind.REGRESSION:
            return RegressionHead(deep_channels, spec.num_classes)
