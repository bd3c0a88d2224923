"""The four ends of an ellipse's axes (as of a fetal head), computed from the ellipse's area.

An outline has no special point, so a heatmap per end is vague along it, and on an upright head it has a peak at both
ends. The moments of an area give centre and axes to a fraction of a cell, and the angle says which end comes first.
"""

import torch
from torch import Tensor, nn

from model.networks.heads.dense import MapHead
from model.networks.heads.moments import Moments, weighted_mean

_SHARPNESS = 2.0  # second moments react to the faintest trace of area far outside


class EllipseHead(nn.Module):
    """One map predicts the area. Two more vote on twice the angle of the long axis, which is unclear for a round head.

    `aspect` is the usual width by height of this task's native images, because the square grid distorts right angles.
    """

    def __init__(self, channels: int, aspect: float) -> None:
        super().__init__()
        self.area = MapHead(channels, 3, depth=1)
        self.aspect = aspect
        # The votes start at zero, so the moments alone decide at first.
        last = self.area[-1]
        with torch.no_grad():
            for parameter in last.parameters():
                parameter[1:] = 0

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, s, s) -> (B, 8) in 0..1 of the image: long axis from the smaller x, short one from the smaller y.

        In training (B, 8 + s * s): the same without clipping to the image, then the logits of the area.
        """
        maps: Tensor = self.area(features)
        ends = axis_ends(maps, self.aspect)
        return torch.cat([ends, maps[:, 0].flatten(1)], dim=1) if self.training else ends.clamp(0, 1)


def axis_ends(maps: Tensor, aspect: float) -> Tensor:
    """(B, 3, s, s) logits of the area and votes -> (B, 8), the ends of the axes in 0..1 of the image.

    The second moments of a filled ellipse are a quarter of its squared half axes. On a stretched grid its axes become
    conjugate diameters: the angle gives the first, and the first gives the second.
    """
    inside = (_SHARPNESS * maps[:, 0]).sigmoid()
    found = Moments.of(inside)
    x, y, xx, xy, yy = found.x, found.y, found.xx, found.xy, found.yy

    # Twice the angle, in native proportions: from the moments, corrected by the votes.
    wide, high = aspect**2 * xx, yy
    cosine = (wide - high) / (wide + high) + weighted_mean(found.weights, maps[:, 1])
    sine = 2 * aspect * xy / (wide + high) + weighted_mean(found.weights, maps[:, 2])
    cosine = cosine / (cosine**2 + sine**2).clamp_min(1e-6).sqrt()
    u = ((1 + cosine) / 2).clamp_min(1e-6).sqrt() / aspect
    v = ((1 - cosine) / 2).clamp_min(1e-6).sqrt() * torch.where(sine < 0, -1.0, 1.0)
    long = _half_diameter(u, v, xx, xy, yy)
    # Conjugate to (u, v): along the tangent at its end.
    p, q = xy * u - xx * v, yy * u - xy * v
    down_first = torch.where(q < 0, -1.0, 1.0)
    short = _half_diameter(p * down_first, q * down_first, xx, xy, yy)
    middle = torch.stack([x, y], dim=1)
    return torch.cat([middle - long, middle + long, middle - short, middle + short], dim=1)


def _half_diameter(u: Tensor, v: Tensor, xx: Tensor, xy: Tensor, yy: Tensor) -> Tensor:
    """Return, as (B, 2), half the diameter along (u, v) of the ellipse with these second moments."""
    determinant = (xx * yy - xy * xy).clamp_min(1e-9)
    spread = (yy * u * u - 2 * xy * u * v + xx * v * v).clamp_min(1e-12)
    length = 2 * (determinant / spread).sqrt()
    return torch.stack([length * u, length * v], dim=1)
