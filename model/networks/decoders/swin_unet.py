"""The two decoders of PerceptGuide (Medical Image Analysis 104, 103639): a Swin-Unet, and one without upsampling.

Maps between blocks are (B, h, w, C), as in Swin. Results are (B, C, h, w), as heads expect.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.networks.blocks.swin import swin_stage
from model.networks.prompts import PromptTable


class PatchExpanding(nn.Module):
    """Linear layer without bias, rearranged to a map that is `factor` times finer, then layer norm."""

    def __init__(self, channels_in: int, channels_out: int, factor: int = 2) -> None:
        super().__init__()
        self.factor = factor
        self.expand = nn.Linear(channels_in, factor**2 * channels_out, bias=False)
        self.norm = nn.LayerNorm(channels_out)

    def forward(self, features: Tensor) -> Tensor:
        """(B, h, w, C) -> (B, f h, f w, C')."""
        parts = self.expand(features).unflatten(3, (self.factor, self.factor, -1))
        finer: Tensor = self.norm(parts.transpose(2, 3).flatten(3, 4).flatten(1, 2))
        return finer


class FinalExpansion(PatchExpanding):
    """From stride 4 to the image grid, at constant width."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 4)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, S/4, S/4) -> (B, C, S, S)."""
        return super().forward(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def halving(channels: int) -> nn.Sequential:
    """Return a linear layer to half the channels, without bias, and its layer norm."""
    return nn.Sequential(nn.Linear(channels, channels // 2, bias=False), nn.LayerNorm(channels // 2))


class Branch(nn.Module):
    """Three guided stages; each gets its input joined with a skip. `widths`: channels of the stages, in order.

    Without `skips` nothing is joined.
    """

    def __init__(
        self,
        widths: Sequence[int],
        skips: Sequence[int],
        heads: Sequence[int],
        window: int,
        prompts: PromptTable | None,
        form: str,
    ) -> None:
        super().__init__()
        self.prompts = prompts
        sizes = prompts.vocabulary.sizes if prompts is not None else ()
        self.join = nn.ModuleList(nn.Linear(c + skip, c) for c, skip in zip(widths, skips, strict=False))
        self.stages = nn.ModuleList(
            swin_stage(c, 2, own_heads, window, prompt_sizes=sizes, form=form)
            for c, own_heads in zip(widths, heads, strict=True)
        )
        self.norm = nn.LayerNorm(widths[-1])

    def _codes(self, task: Tensor | None) -> Tensor | None:
        return None if self.prompts is None else self.prompts(task)

    def _joined(self, i: int, features: Tensor, skip: Tensor) -> Tensor:
        joined: Tensor = self.join[i](torch.cat([features, skip], dim=3))
        return joined

    def _stage(self, i: int, features: Tensor, codes: Tensor | None = None) -> Tensor:
        for block in self.stages[i].children():
            features = block(features, codes)
        return features


class SegmentationBranch(Branch):
    """Swin-Unet's decoder, from stride 32 to stride 4."""

    def __init__(
        self, channels: int, heads: Sequence[int], window: int, prompts: PromptTable | None, form: str
    ) -> None:
        widths = (4 * channels, 2 * channels, channels)
        super().__init__(widths, widths, heads[2::-1], window, prompts, form)
        self.expand = nn.ModuleList(PatchExpanding(2 * c, c) for c in widths)

    def forward(self, s4: Tensor, s8: Tensor, s16: Tensor, s32: Tensor, task: Tensor | None = None) -> Tensor:
        """Encoder maps, finest first, and (B,) task indices -> (B, C, S/4, S/4)."""
        codes, features = self._codes(task), s32
        for i, skip in enumerate((s16, s8, s4)):
            features = self._stage(i, self._joined(i, self.expand[i](features), skip), codes)
        dense: Tensor = self.norm(features).permute(0, 3, 1, 2)
        return dense


class ClassificationBranch(Branch):
    """The same three stages without upsampling: the skips are pooled to the deepest map's grid."""

    def __init__(
        self, channels: int, heads: Sequence[int], window: int, prompts: PromptTable | None, form: str
    ) -> None:
        widths, skips = (8 * channels, 4 * channels, 2 * channels), (4 * channels, 2 * channels, channels)
        super().__init__(widths, skips, heads[:0:-1], window, prompts, form)
        self.reduce = nn.ModuleList(halving(c) for c in widths[:-1])

    def forward(self, s4: Tensor, s8: Tensor, s16: Tensor, s32: Tensor, task: Tensor | None = None) -> Tensor:
        """Encoder maps, finest first, and (B,) task indices -> (B, 2C, S/32, S/32)."""
        codes, features = self._codes(task), s32
        for i, skip in enumerate((s16, s8, s4)):
            pooled = F.avg_pool2d(skip.permute(0, 3, 1, 2), 2 ** (i + 1)).permute(0, 2, 3, 1)
            features = self._stage(i, self._joined(i, features, pooled), codes)
            if i < len(self.reduce):
                features = self.reduce[i](features)
        pooled_map: Tensor = self.norm(features).permute(0, 3, 1, 2)
        return pooled_map
