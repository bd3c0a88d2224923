"""The three points of the angle of progression, read from the masks of symphysis and fetal head in the same image.

Points 1 and 2 are the ends of the long axis of the symphysis' ellipse (point 1 the one with the smaller x). Point 3 is
where the tangent from point 2 touches the ellipse of the head, on the side of the larger x. Each ellipse has its
mask's first and second moments. These use the whole area, while a heatmap has to guess a place on a smooth outline.
"""

import torch
from torch import Tensor, nn

from model.networks.heads.moments import Moments

_SHARPNESS = 2.0  # factor of the logits, so that cells far from a border are near 0 or 1
_LEAST_AREA = 1e-3  # of the image; a smaller symphysis or head has no reliable axis
_OUTSIDE = 1.02  # a point 2 closer to the head than this (1 is its border) has no tangent


class ProgressionHead(nn.Module):
    """`head` (a `WithMap`) gives the points from heatmaps. `share` (0..1) is the weight of what the masks show instead.

    It has no parameters of its own, so masks can be joined to a network that was trained without them.
    """

    def __init__(self, head: nn.Module, share: float) -> None:
        super().__init__()
        self.head, self.share = head, share

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, s, s) and the masks' logits (B, 3, s, s) -> (B, 6) in 0..1, and the maps.

        In training the first is the maps too.
        """
        answer, logits = self.head(features)
        return answer if self.training else with_masks(answer, mask, self.share), logits


def with_masks(points: Tensor, mask: Tensor, share: float) -> Tensor:
    """Return points (B, 6) in 0..1, averaged with those of the masks.

    `mask` has the logits (B, 3, s, s) of background, symphysis and head. Points stay unchanged if a mask is empty or
    there is no tangent.
    """
    inside = (_SHARPNESS * mask).softmax(dim=1)
    symphysis, head = _Ellipse.of(inside[:, 1]), _Ellipse.of(inside[:, 2])
    first, second = symphysis.ends_of_long_axis()
    third, is_outside = head.touched_from(second)
    seen = torch.cat([first, second, third], dim=1)
    is_seen = (symphysis.area > _LEAST_AREA) & (head.area > _LEAST_AREA) & is_outside
    return torch.where(is_seen[:, None], points + share * (seen - points), points)


class _Ellipse:
    """Ellipses (B) by area and centre (B, 2) in parts of the image, and (p - centre)' A^-1 (p - centre) = 1."""

    def __init__(self, area: Tensor, centre: Tensor, xx: Tensor, xy: Tensor, yy: Tensor) -> None:
        self.area, self.centre, self.xx, self.xy, self.yy = area, centre, xx, xy, yy

    @classmethod
    def of(cls, inside: Tensor) -> "_Ellipse":
        """Return the ellipses with the moments of (B, s, s) probabilities; A is four times the second moments."""
        found = Moments.of(inside)
        centre = torch.stack([found.x, found.y], dim=1)
        return cls(inside.mean(dim=(1, 2)), centre, 4 * found.xx, 4 * found.xy, 4 * found.yy)

    def ends_of_long_axis(self) -> tuple[Tensor, Tensor]:
        """Return the end with the smaller x and the other one, (B, 2) each."""
        difference = self.xx - self.yy
        spread = (difference**2 + 4 * self.xy**2).clamp_min(1e-14).sqrt()
        cosine = difference / spread  # of twice the angle
        u = ((1 + cosine) / 2).clamp_min(0).sqrt()
        v = ((1 - cosine) / 2).clamp_min(0).sqrt() * torch.where(self.xy < 0, -1.0, 1.0)
        half = ((self.xx + self.yy + spread) / 2).sqrt()
        arm = torch.stack([half * u, half * v], dim=1)
        return self.centre - arm, self.centre + arm

    def touched_from(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """Return where tangents from `point` (B, 2) touch, (B, 2) with the larger x; and whether there are any.

        A = L L' makes the ellipse a unit circle: for u outside of it the tangents touch at
        (u +- perpendicular(u) sqrt(|u|^2 - 1)) / |u|^2.
        """
        a = self.xx.sqrt()
        b = self.xy / a
        c = (self.yy - b * b).clamp_min(1e-9).sqrt()
        away = point - self.centre
        u = away[:, 0] / a
        v = (away[:, 1] - b * u) / c
        squared = u * u + v * v
        root = (squared - 1).clamp_min(0).sqrt()
        safe = squared.clamp_min(1)
        touching = []
        for sign in (-1, 1):
            s, t = (u - sign * v * root) / safe, (v + sign * u * root) / safe
            touching.append(self.centre + torch.stack([a * s, b * s + c * t], dim=1))
        first, second = touching
        right = torch.where((first[:, 0] > second[:, 0])[:, None], first, second)
        return right, squared > _OUTSIDE**2
