"""The feature pyramid of the official baseline (FMC_UIA, arXiv 2602.01055)."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

_GROUPS = 32


class PyramidBlock(nn.Sequential):
    """3x3 convolution without bias, group norm, ReLU."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
            nn.GroupNorm(min(_GROUPS, channels_out), channels_out),
            nn.ReLU(inplace=True),
        )


class Level(nn.Sequential):
    """`blocks` pyramid blocks, bilinear x2 between them: (B, C, s, s) -> (B, C', s * 2 ** (blocks - 1), the same)."""

    def __init__(self, channels_in: int, channels_out: int, blocks: int) -> None:
        super().__init__(*(PyramidBlock(channels_in if i == 0 else channels_out, channels_out) for i in range(blocks)))

    def forward(self, features: Tensor) -> Tensor:
        """Blocks, and an upsampling between two of them."""
        first, *rest = self
        features = first(features)
        for block in rest:
            features = block(larger(features))
        return features


def larger(features: Tensor) -> Tensor:
    """(B, C, s, s) -> (B, C, 2s, 2s), bilinear."""
    return F.interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=True)


def repeated(features: Tensor) -> Tensor:
    """(B, C, s, s) -> (B, C, 2s, 2s), every value four times."""
    return F.interpolate(features, scale_factor=2.0, mode="nearest")


class FPN(nn.Module):
    """1x1 laterals, nearest top-down path, 3/2/1/1 blocks per level, merged by addition at stride 4.

    The baseline upsamples each of the coarser levels from stride 8 to 4 and adds the results. Here they are added
    first and upsampled once: the same sum, but for rounding.
    """

    def __init__(
        self,
        encoder_channels: Sequence[int],
        pyramid_channels: int = 256,
        segmentation_channels: int = 128,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.channels = segmentation_channels
        # Coarsest level first, as the top-down path runs.
        self.laterals = nn.ModuleList(nn.Conv2d(c, pyramid_channels, 1) for c in reversed(encoder_channels))
        coarser = range(len(encoder_channels) - 1, 0, -1)
        self.levels = nn.ModuleList(Level(pyramid_channels, segmentation_channels, blocks) for blocks in (*coarser, 1))
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, *features: Tensor) -> Tensor:
        """Encoder maps, finest first -> (B, segmentation_channels, S / 4, S / 4)."""
        top, coarser = self.coarser(*features[1:])
        finest = self.levels[-1](self.laterals[-1](features[0]) + repeated(top))
        merged: Tensor = self.dropout(larger(coarser) + finest)
        return merged

    def coarser(self, *features: Tensor) -> tuple[Tensor, Tensor]:
        """Encoder maps from stride 8 on -> the top-down map and the sum of the levels, both at stride 8."""
        top = self.laterals[0](features[-1])
        merged = self.levels[0](top)
        for lateral, level, feature in zip(
            self.laterals[1:-1], self.levels[1:-1], reversed(features[:-1]), strict=True
        ):
            top = lateral(feature) + repeated(top)
            merged = merged + level(top)
        return top, merged
