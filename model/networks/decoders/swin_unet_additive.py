"""The decoders of UniUSNet (arXiv 2406.01154) and of UUSIC 2025's baseline: prompts are added to the features.

They are PerceptGuide's decoders (`swin_unet`) without guided attention, and without skips for classes.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from model.networks.decoders.swin_unet import Branch, SegmentationBranch, halving
from model.networks.prompts import PromptTable


class AdditivePrompts(nn.Module):
    """Four linear layers of the one-hot prompts, for 8C, 4C, 2C and C channels. Both decoders use the one for 2C."""

    def __init__(self, prompts: PromptTable, channels: int) -> None:
        super().__init__()
        self.prompts = prompts
        self.deep, self.wide, self.middle, self.narrow = (
            nn.Linear(prompts.width, factor * channels) for factor in (8, 4, 2, 1)
        )

    def forward(self, s32: Tensor, task: Tensor) -> tuple[Tensor, ...]:
        """(B, h, w, 8C) and (B,) task indices -> the prompted map, (B, 4C), (B, 2C) and (B, C)."""
        codes = self.prompts(task)
        return s32 + self.deep(codes)[:, None, None], self.wide(codes), self.middle(codes), self.narrow(codes)


class AdditiveSegmentationBranch(SegmentationBranch):
    """Swin-Unet's decoder; the second and the third stage get a prompt."""

    def __init__(self, channels: int, heads: Sequence[int], window: int) -> None:
        super().__init__(channels, heads, window, None, "additive")

    def forward(
        self,
        s4: Tensor,
        s8: Tensor,
        s16: Tensor,
        s32: Tensor,
        middle: Tensor | None = None,
        narrow: Tensor | None = None,
    ) -> Tensor:
        """Encoder maps, finest first, and prompts of 2C and C channels -> (B, C, S/4, S/4)."""
        features = s32
        for i, (skip, prompt) in enumerate(zip((s16, s8, s4), (None, middle, narrow), strict=True)):
            features = self._stage(i, _prompted(self._joined(i, self.expand[i](features), skip), prompt))
        dense: Tensor = self.norm(features).permute(0, 3, 1, 2)
        return dense


class AdditiveClassificationBranch(Branch):
    """Three stages on the deepest grid, without skips; the second and the third get a prompt."""

    def __init__(self, channels: int, heads: Sequence[int], window: int) -> None:
        widths = (8 * channels, 4 * channels, 2 * channels)
        super().__init__(widths, (), heads[:0:-1], window, None, "additive")
        self.reduce = nn.ModuleList(halving(c) for c in widths[:-1])

    def forward(self, s32: Tensor, wide: Tensor | None = None, middle: Tensor | None = None) -> Tensor:
        """(B, S/32, S/32, 8C) and prompts of 4C and 2C channels -> (B, 2C, S/32, S/32)."""
        features = self._stage(0, s32)
        for i, prompt in enumerate((wide, middle)):
            features = self._stage(i + 1, _prompted(self.reduce[i](features), prompt))
        pooled_map: Tensor = self.norm(features).permute(0, 3, 1, 2)
        return pooled_map


def _prompted(features: Tensor, prompt: Tensor | None) -> Tensor:
    """Add a (B, C) prompt to every place of a (B, h, w, C) map."""
    return features if prompt is None else features + prompt[:, None, None]
