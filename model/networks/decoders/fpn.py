"""The feature pyramid of the official baseline (FMC_UIA, arXiv 2602.01055)."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

_GROUPS = 32


class PyramidBlock(nn.Sequential):
    """3x3 convolution without bias, group norm, ReLU; then bilinear x2 if `upsample`."""

    def __init__(self, channels_in: int, channels_out: int, *, upsample: bool) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
            nn.GroupNorm(min(_GROUPS, channels_out), channels_out),
            nn.ReLU(inplace=True),
        )
        self.upsample = upsample

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, s, s) -> (B, C', s or 2s, s or 2s)."""
        features = super().forward(features)  # type: ignore[no-untyped-call]
        if self.upsample:
            features = F.interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=True)
        return features


class FPN(nn.Module):
    """1x1 laterals, nearest top-down path, 3/2/1/1 blocks per level, merged by addition at stride 4."""

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
        upsamplings = range(len(encoder_channels) - 1, -1, -1)
        self.levels = nn.ModuleList(
            nn.Sequential(
                *(
                    PyramidBlock(
                        pyramid_channels if i == 0 else segmentation_channels, segmentation_channels, upsample=n > 0
                    )
                    for i in range(max(1, n))
                )
            )
            for n in upsamplings
        )
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, *features: Tensor) -> Tensor:
        """Encoder maps, finest first -> (B, segmentation_channels, S / 4, S / 4)."""
        merged: Tensor | None = None
        top: Tensor | None = None
        for lateral, level, feature in zip(self.laterals, self.levels, reversed(features), strict=True):
            here = lateral(feature)
            top = here if top is None else here + F.interpolate(top, scale_factor=2.0, mode="nearest")
            merged = level(top) if merged is None else merged + level(top)
        dropped: Tensor = self.dropout(merged)
        return dropped
