"""A 2D U-Net like nnU-Net's (UniSeg, arXiv 2304.03493, in 2D): an encoder, and a decoder for any pyramid."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from model.networks.blocks.fuse import conv_norm, he_start


def _stage(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(conv_norm(channels_in, channels_out, stride), conv_norm(channels_out, channels_out))


class UNetEncoder(nn.Module):
    """Two blocks per stage; every stage except the first halves the map."""

    def __init__(self, features: Sequence[int]) -> None:
        super().__init__()
        self.channels = tuple(features)
        self.stages = nn.ModuleList(
            _stage(before, here, stride=1 if i == 0 else 2) for i, (before, here) in enumerate(pairwise((3, *features)))
        )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, S, S) -> maps at strides 1, 2, 4, ..., finest first."""
        maps = []
        features = images
        for stage in self.stages:
            features = stage(features)
            maps.append(features)
        return tuple(maps)


class UNetDecoder(nn.Module):
    """Per level: a transposed convolution without bias to the skip's width, concatenation, two blocks.

    It returns its finest map, or with `all_levels` every map, finest first.
    """

    def __init__(self, channels_in: int, skip_channels: Sequence[int], all_levels: bool = False) -> None:
        super().__init__()
        self.all_levels = all_levels
        below = (channels_in, *skip_channels)
        self.ups = nn.ModuleList(nn.ConvTranspose2d(c, skip, 2, 2, bias=False) for c, skip in pairwise(below))
        self.ups.apply(he_start)
        self.blocks = nn.ModuleList(_stage(2 * skip, skip) for skip in skip_channels)

    def forward(self, features: Tensor, *skips: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Deepest features and skips, coarsest first -> the finest map (B, C, s, s), or all of them."""
        maps: tuple[Tensor, ...] = ()
        for up, block, skip in zip(self.ups, self.blocks, skips, strict=True):
            features = block(torch.cat([up(features), skip], dim=1))
            maps = (features, *maps)
        return maps if self.all_levels else features
