"""The light UPerNet of UltraUPConvNet (arXiv 2509.11108): pyramid pooling, FPN and fusion at stride 4."""

from collections.abc import Sequence
from math import gcd

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from challenge.errors import UserError

_GROUPS = 8  # the pooled maps have one cell, so a group needs several channels


class ConvBlock(nn.Sequential):
    """Convolution without bias, `norm` (`batch` or `group`), ReLU."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int = 1, norm: str = "batch") -> None:
        if norm not in ("batch", "group"):
            raise UserError(f"norm {norm!r} is neither 'batch' nor 'group'")
        is_batch = norm == "batch"
        super().__init__(
            nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(channels_out) if is_batch else nn.GroupNorm(gcd(_GROUPS, channels_out), channels_out),
            nn.ReLU(inplace=True),
        )


def _resize(features: Tensor, like: Tensor, *, align_corners: bool = False) -> Tensor:
    return F.interpolate(features, size=like.shape[-2:], mode="bilinear", align_corners=align_corners)


class PoolingBlock(nn.Module):
    """Mean over an s x s grid of windows, as fixed matrices: `adaptive_avg_pool2d` in a form that ONNX supports.

    ONNX supports adaptive pooling only if the grid divides the map, which 3 and 6 rarely do.
    """

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.bins = bins

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, bins, bins)."""
        if not torch.onnx.is_in_onnx_export():
            return F.adaptive_avg_pool2d(features, self.bins)
        rows, columns = (self._windows(int(size)).to(features) for size in features.shape[-2:])
        pooled: Tensor = rows @ features @ columns.T
        return pooled

    def _windows(self, size: int) -> Tensor:
        weights = torch.zeros(self.bins, size)
        for window in range(self.bins):
            start, stop = window * size // self.bins, -(-(window + 1) * size // self.bins)
            weights[window, start:stop] = 1 / (stop - start)
        return weights


class PyramidPooling(nn.Module):
    """Pyramid pooling: means over 1, 2, 3 and 6 windows per side join the map, and a 1x1 block fuses them."""

    def __init__(
        self, channels: int, out_channels: int, norm: str = "batch", bins: Sequence[int] = (1, 2, 3, 6)
    ) -> None:
        super().__init__()
        # A quarter of the channels each, as in PSPNet; a channel that UniSeg appends does not change the width.
        width = channels // len(bins)
        self.branches = nn.ModuleList(
            nn.Sequential(PoolingBlock(b), ConvBlock(channels, width, norm=norm)) for b in bins
        )
        self.fuse = ConvBlock(channels + width * len(bins), out_channels, norm=norm)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, out_channels, h, w)."""
        pooled = [_resize(branch(features), features, align_corners=True) for branch in self.branches]
        fused: Tensor = self.fuse(torch.cat([features, *pooled], dim=1))
        return fused


class UPerNet(nn.Module):
    """Four maps, finest first -> one map at the finest stride.

    The top-down path passes on the sums before their 3x3 convolutions. The coarsest level is the pooling module's
    unchanged output. The two fusions are 1x1; in the original UPerNet they are 3x3.
    """

    def __init__(self, encoder_channels: Sequence[int], channels: int = 256, norm: str = "batch") -> None:
        super().__init__()
        self.channels = channels
        self.pooling = PyramidPooling(encoder_channels[-1], channels, norm)
        self.laterals = nn.ModuleList(ConvBlock(c, channels, norm=norm) for c in encoder_channels[:-1])
        self.smooth = nn.ModuleList(ConvBlock(channels, channels, 3, norm) for _ in encoder_channels[:-1])
        self.fuse = ConvBlock(channels * len(encoder_channels), channels, norm=norm)
        self.project = ConvBlock(channels, channels, norm=norm)

    def forward(self, *features: Tensor) -> Tensor:
        """(B, C_i, S / stride_i, S / stride_i), finest first -> (B, channels, S / 4, S / 4)."""
        top = self.pooling(features[-1])
        levels = [top]
        for lateral, smooth, feature in zip(
            reversed(self.laterals), reversed(self.smooth), reversed(features[:-1]), strict=True
        ):
            here = lateral(feature)
            top = here + _resize(top, here)
            levels.append(smooth(top))
        finest = levels[-1]
        fused = self.fuse(torch.cat([_resize(level, finest) for level in reversed(levels)], dim=1))
        projected: Tensor = self.project(fused)
        return projected


class RefinedSegmentationHead(nn.Module):
    """1x1 convolution, bilinear x4 to the image grid, 3x3 convolution on the logits."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.classify = nn.Conv2d(channels, num_classes, 1)
        self.refine = nn.Conv2d(num_classes, num_classes, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, S/4, S/4) -> (B, K, S, S) logits."""
        logits = F.interpolate(self.classify(features), scale_factor=4.0, mode="bilinear", align_corners=False)
        refined: Tensor = self.refine(logits)
        return refined
