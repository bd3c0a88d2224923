"""A light DPT (arXiv 2103.13413): maps of a plain ViT at four depths -> one map at stride 4. The widths are ours."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class ResidualUnit(nn.Module):
    """x + conv(relu(conv(relu(x)))), 3x3, without norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> the same."""
        result: Tensor = features + self.block(features)
        return result


class DPT(nn.Module):
    """Reassembles four maps at stride 16 to strides 4, 8, 16 and 32, and fuses them from coarse to fine.

    `widths`: channels of the reassembled maps, finest first. `channels`: channels of the fusion and of the result.
    """

    def __init__(self, width: int, widths: Sequence[int], channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.reassemble = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, own, 1), resize)
            for own, resize in zip(
                widths,
                (
                    nn.ConvTranspose2d(widths[0], widths[0], 4, 4),
                    nn.ConvTranspose2d(widths[1], widths[1], 2, 2),
                    nn.Identity(),
                    nn.Conv2d(widths[3], widths[3], 3, 2, 1),
                ),
                strict=True,
            )
        )
        self.project = nn.ModuleList(nn.Conv2d(own, channels, 3, padding=1, bias=False) for own in widths)
        self.skip = nn.ModuleList(ResidualUnit(channels) for _ in widths[:-1])
        self.refine = nn.ModuleList(ResidualUnit(channels) for _ in widths)

    def forward(self, *maps: Tensor) -> Tensor:
        """Four maps (B, D, S / 16, S / 16), shallowest first -> (B, channels, S / 4, S / 4)."""
        levels = [project(resize(m)) for project, resize, m in zip(self.project, self.reassemble, maps, strict=True)]
        merged: Tensor = self.refine[3](levels[3])
        for i in (2, 1, 0):
            up = F.interpolate(merged, size=levels[i].shape[-2:], mode="bilinear", align_corners=True)
            merged = self.refine[i](up + self.skip[i](levels[i]))
        return merged
