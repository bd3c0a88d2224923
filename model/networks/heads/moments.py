"""First and second moments of an area on the grid, in parts of the image's sides."""

from dataclasses import dataclass

from torch import Tensor

from model.networks.heads.dense import cell_centres


@dataclass(frozen=True)
class Moments:
    """`weights` (B, s, s) of the cells, which sum to 1; centre `x`, `y` and spread `xx`, `xy`, `yy`, each (B,)."""

    weights: Tensor
    x: Tensor
    y: Tensor
    xx: Tensor
    xy: Tensor
    yy: Tensor

    @classmethod
    def of(cls, inside: Tensor) -> "Moments":
        """Return the moments of areas, given as the probabilities (B, s, s) of their cells."""
        weights = inside / inside.sum(dim=(1, 2), keepdim=True).clamp_min(1e-4)
        centres = cell_centres(inside.shape[-1], inside)
        across, down = centres.view(1, 1, -1), centres.view(1, -1, 1)
        x, y = weighted_mean(weights, across), weighted_mean(weights, down)
        dx, dy = across - x.view(-1, 1, 1), down - y.view(-1, 1, 1)
        xx, yy = weighted_mean(weights, dx * dx).clamp_min(1e-6), weighted_mean(weights, dy * dy).clamp_min(1e-6)
        return cls(weights, x, y, xx, weighted_mean(weights, dx * dy), yy)


def weighted_mean(weights: Tensor, values: Tensor) -> Tensor:
    """(B, s, s) weights that sum to 1, and values that broadcast to them -> (B,)."""
    return (weights * values).sum(dim=(1, 2))
