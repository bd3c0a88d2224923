"""Dense heads: they read positions from a dense map instead of regressing them from a pooled vector.

In training they return the maps, which the losses supervise. In evaluation they return positions, as `System` defines.
"""

import torch
from torch import Tensor, nn

from model.networks.heads.pooled import OBJECT_PRIOR

_GROUPS = 16
_SIDE_PRIOR = -1.4  # logit of 0.2: boxes start at 0.4 of the image's side


class MapHead(nn.Sequential):
    """`depth` blocks of 3x3 convolution, group norm and ReLU, then a 1x1 convolution to `maps` maps."""

    def __init__(self, channels: int, maps: int, depth: int) -> None:
        blocks: list[nn.Module] = []
        for _ in range(depth):
            blocks += [
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                nn.GroupNorm(min(_GROUPS, channels), channels),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*blocks, nn.Conv2d(channels, maps, 1))

    @torch.no_grad()
    def start_at(self, maps: slice, value: float) -> None:
        """Initialise the given maps near `value` everywhere."""
        nn.init.constant_(self.get_parameter(f"{len(self) - 1}.bias")[maps], value)


class Adapter(nn.Module):
    """Changes shared features for one task: x + up(relu(down(x))), two 1x1 convolutions (arXiv 1705.08045).

    It starts as the identity, so it can be added to a trained network.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, width, 1)
        self.up = nn.Conv2d(width, channels, 1)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, s, s) -> the same shape."""
        adapted: Tensor = features + self.up(self.down(features).relu())
        return adapted


class HeatmapHead(nn.Module):
    """One map per keypoint; the point is the map's soft-argmax (arXiv 1711.08229).

    `reach` limits it to a window of that many cells on each side of the map's maximum, so that a second, weaker peak
    does not shift the point; 0 uses the whole map.
    """

    def __init__(self, channels: int, num_points: int, reach: int = 0) -> None:
        super().__init__()
        self.maps = MapHead(channels, num_points, depth=1)
        self.reach = reach

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, s, s) -> (B, M, s, s) logits in training; else (B, 2M) x1, y1, x2, y2, ... in 0..1 of the image."""
        return self.read(self.maps(features))

    def read(self, maps: Tensor) -> Tensor:
        """Return what `forward` gives for these maps (B, M, s, s)."""
        return maps if self.training else soft_argmax(maps, self.reach)

    def logits(self, maps: Tensor) -> Tensor:
        """Return the logits (B, M, s, s) that say where each point is: the maps themselves."""
        return maps


class BoxHead(nn.Module):
    """Every cell predicts a box, by its distances from the cell's centre (FCOS, arXiv 1904.01355), and a logit.

    With `one_box` the answer is one box per image: the mean of the cells' boxes under the softmax of the logits.
    Without it the output is the grid, and the best cell's box is the answer.
    """

    def __init__(self, channels: int, one_box: bool = True) -> None:
        super().__init__()
        self.maps = MapHead(channels, 5, depth=1)
        self.one_box = one_box
        self.maps.start_at(slice(4), _SIDE_PRIOR)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, s, s) -> (B, 5, s, s), or (B, 5, 1, 1) for one box in evaluation. Only evaluation clips boxes."""
        return self.read(self.maps(features))

    def logits(self, maps: Tensor) -> Tensor:
        """Return the logits (B, 1, s, s) that say which cells speak for the box."""
        return maps[:, 4:]

    def read(self, maps: Tensor) -> Tensor:
        """Return what `forward` gives for these maps (B, 5, s, s): logits of the sides, then of the objectness."""
        size = maps.shape[-1]
        left, top, right, bottom = maps[:, :4].sigmoid().unbind(dim=1)
        centres = cell_centres(size, maps)
        x, y = centres.view(1, 1, size), centres.view(1, size, 1)
        boxes = torch.stack([x - left, y - top, x + right, y + bottom], dim=1)
        grid = torch.cat([boxes, self.logits(maps)], dim=1)
        if self.training:
            return grid
        if self.one_box:
            best = grid[:, 4:].amax(dim=(2, 3), keepdim=True)
            grid = torch.cat([mean_box(grid)[:, :, None, None], best], dim=1)
        return torch.cat([grid[:, :4].clamp(0, 1), grid[:, 4:]], dim=1)

    def start_rare(self) -> None:
        """Start with improbable objects everywhere, for losses that supervise the whole grid."""
        self.maps.start_at(slice(4, 5), OBJECT_PRIOR)


class WithMap(nn.Module):
    """Gives a head's answer and the logits that it was read from, which is `MAP` of `System`."""

    def __init__(self, head: HeatmapHead | BoxHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, s, s) -> what the head gives, and (B, M, s, s) logits; M is 1 for a box."""
        maps: Tensor = self.head.maps(features)
        return self.head.read(maps), self.head.logits(maps)


def cell_centres(size: int, like: Tensor) -> Tensor:
    """Return the centres of `size` cells in 0..1, on the device and in the type of `like`."""
    return (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) / size


def soft_argmax(logits: Tensor, reach: int = 0) -> Tensor:
    """(B, M, s, s) logits -> (B, 2M) x, y in 0..1: the mean position under the softmax of each map.

    With `reach`, only cells within that many cells of the map's maximum count, along each axis.
    """
    size = logits.shape[-1]
    centres = cell_centres(size, logits)
    flat = logits.flatten(2)
    if reach:
        best = flat.argmax(dim=2, keepdim=True)
        cells = torch.arange(size * size, device=logits.device)
        across = ((cells % size) - best % size).abs()
        down = (cells // size - best // size).abs()
        flat = torch.where((across <= reach) & (down <= reach), flat, torch.full_like(flat, -1e4))
    weights = flat.softmax(dim=2).view(*logits.shape)
    return torch.stack([weights.sum(dim=2) @ centres, weights.sum(dim=3) @ centres], dim=2).flatten(1)


def mean_box(grid: Tensor) -> Tensor:
    """(B, 5, s, s) boxes and logits -> (B, 4): the mean box under the softmax of the logits."""
    weights = grid[:, 4].flatten(1).softmax(dim=1)
    return (grid[:, :4].flatten(2) * weights[:, None]).sum(dim=2)
