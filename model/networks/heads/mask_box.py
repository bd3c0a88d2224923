"""A box that also uses the mask of the same image, if one task marks a lesion and another one boxes it.

A box is wrong by a few per cent on every side. A mask has exact borders, but may contain a second structure far away.
The mean of the box and of what the mask shows near it is better than either.
"""

import torch
from torch import Tensor, nn

from model.networks.heads.dense import cell_centres

MASK = "mask"

_MARGIN = 1.0  # how far beyond the box the mask still counts, in sides of the box
_SHARPNESS = 2.0  # factor of the logits, so that cells far from a border are near 0 or 1
_SEEN = 0.5  # a mask that stays below this probability near the box is ignored


class SharedMask(nn.Module):
    """Returns a mask twice: as the answer of its own task, and as `MASK`, an input of a later stage."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, s, s) -> the head's logits, twice."""
        logits: Tensor = self.head(features)
        return logits, logits


class MaskBoxHead(nn.Module):
    """Joins the box that `head` (a `WithMap`) gives with the image's mask. It has no parameters of its own."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, s, s) and the mask's logits (B, K, s, s) -> (B, 5, 1, 1), and the map of `head`.

        In training the first is the whole grid of `head`.
        """
        answer, logits = self.head(features)
        if self.training:
            return answer, logits
        box = with_mask(answer[:, :4, 0, 0], mask)
        return torch.cat([box[:, :, None, None], answer[:, 4:]], dim=1), logits


def with_mask(box: Tensor, mask: Tensor) -> Tensor:
    """(B, 4) boxes in 0..1 and (B, K, s, s) mask logits, class 0 the background -> (B, 4) boxes in 0..1."""
    inside = (_SHARPNESS * (mask[:, 1:].logsumexp(dim=1) - mask[:, 0])).sigmoid()
    centres = cell_centres(mask.shape[-1], mask)
    near = inside * _near(box[:, 0::2], centres)[:, None, :] * _near(box[:, 1::2], centres)[:, :, None]
    peak = near.amax(dim=(1, 2))[:, None]
    x0, x1 = _ends(near.amax(dim=1))
    y0, y1 = _ends(near.amax(dim=2))
    seen = torch.stack([x0, y0, x1, y1], dim=1)
    return torch.where(peak > _SEEN, (box + seen) / 2, box)


def _near(sides: Tensor, centres: Tensor) -> Tensor:
    """(B, 2) ends of a side and (s,) cell centres -> (B, s): 1 within one margin of the side, else 0."""
    first, last = sides[:, :1], sides[:, 1:]
    reach = _MARGIN * (last - first)
    return ((centres >= first - reach) & (centres <= last + reach)).to(sides.dtype)


def _ends(profile: Tensor) -> tuple[Tensor, Tensor]:
    """(B, s) highest probability per row or column -> its begin and end, (B,) in 0..1, to a fraction of a cell."""
    size = profile.shape[-1]
    up_to = torch.ones(size, size, device=profile.device, dtype=profile.dtype).tril()
    profile = profile / profile.amax(dim=1, keepdim=True).clamp_min(_SEEN)
    begun = (profile[:, None] * up_to).amax(dim=2)
    ahead = (profile[:, None] * up_to.T).amax(dim=2)
    return 1 - begun.mean(dim=1), ahead.mean(dim=1)
