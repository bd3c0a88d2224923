"""The points of the angle of progression, read off ellipses of known shape."""

import math

import pytest
import torch
from systems.system_mixin import SystemMixin
from systems.test_atlas import TINY

from challenge.errors import UserError
from challenge.tasks import CATALOGUE
from model.networks import build
from model.networks.heads.progression import with_masks

POINTS = torch.full((1, 6), 0.9)
SYMPHYSIS, HEAD = ((0.3, 0.25), (0.14, 0.05), 25.0), ((0.55, 0.65), (0.25, 0.2), -30.0)


class TestAtlasWithProgression(SystemMixin):
    """The masks are those of another task with three classes, as that one is among those that the mixin exports."""

    name, options = "atlas", {**TINY, "progression_masks": {"IUGC": "head_symphysis_multi"}}
    prompted_tasks = ()

    def may_rest(self, name):
        """The masks' head is trained by masks alone."""
        return name.startswith("heads.head_symphysis_multi.")


def axes(centre, half, degrees):
    turn = math.radians(degrees)
    u, v = (math.cos(turn), math.sin(turn)), (-math.sin(turn), math.cos(turn))
    return centre, [tuple(half[0] * x for x in u), tuple(half[1] * x for x in v)]


def drawn(symphysis=SYMPHYSIS, head=HEAD, size=256):
    """Logits (1, 3, s, s) of two filled ellipses, each (centre, half axes, degrees)."""
    places = (torch.arange(size) + 0.5) / size
    y, x = torch.meshgrid(places, places, indexing="ij")
    mask = torch.zeros(1, 3, size, size)
    mask[:, 0] = 10
    for number, ellipse in ((1, symphysis), (2, head)):
        if ellipse:
            (cx, cy), (p, q) = axes(*ellipse)
            along = ((x - cx) * p[0] + (y - cy) * p[1]) / (p[0] ** 2 + p[1] ** 2)
            across = ((x - cx) * q[0] + (y - cy) * q[1]) / (q[0] ** 2 + q[1] ** 2)
            mask[0, number, along**2 + across**2 <= 1] = 30
    return mask


@pytest.mark.parametrize("degrees", [25.0, -40.0, 0.0, 80.0])
def test_points_1_and_2_are_the_ends_of_the_long_axis(degrees):
    ellipse = (SYMPHYSIS[0], SYMPHYSIS[1], degrees)
    found = with_masks(POINTS, drawn(symphysis=ellipse), 1.0)[0].reshape(3, 2)
    (cx, cy), (p, _) = axes(*ellipse)
    expected = sorted([(cx - p[0], cy - p[1]), (cx + p[0], cy + p[1])])
    torch.testing.assert_close(found[:2], torch.tensor(expected), atol=3e-3, rtol=0)


def test_the_line_from_point_2_to_point_3_touches_the_head():
    found = with_masks(POINTS, drawn(), 1.0)[0].reshape(3, 2)
    (cx, cy), (p, q) = axes(*HEAD)
    angles = torch.linspace(0, 2 * math.pi, 2000)
    outline = torch.stack([cx + angles.cos() * p[i] + angles.sin() * q[i] if i == 0 else
                           cy + angles.cos() * p[1] + angles.sin() * q[1] for i in (0, 1)], dim=1)  # fmt: skip
    assert (outline - found[2]).norm(dim=1).min() < 4e-3
    line, away = found[2] - found[1], outline - found[1]
    sides = line[0] * away[:, 1] - line[1] * away[:, 0]
    assert (sides > 1e-3).any() != (sides < -1e-3).any()  # the whole head lies on one side
    others = outline[(outline - found[2]).norm(dim=1) > 0.02]
    assert found[2, 0] > others[:, 0].min()


def test_the_share_is_the_weight_of_the_masks():
    whole, half, none = (with_masks(POINTS, drawn(), share) for share in (1.0, 0.5, 0.0))
    torch.testing.assert_close(half, (whole + POINTS) / 2)
    assert none.equal(POINTS)


@pytest.mark.parametrize(
    "mask",
    [
        drawn(symphysis=None),
        drawn(head=None),
        drawn(symphysis=None, head=None),
        drawn(symphysis=(HEAD[0], (0.05, 0.02), 0.0)),  # point 2 inside the head: no tangent
    ],
)
def test_masks_that_show_nothing_change_nothing(mask):
    assert with_masks(POINTS, mask, 1.0).equal(POINTS)


def test_each_image_has_masks_of_its_own():
    other = drawn(symphysis=((0.25, 0.3), (0.1, 0.04), -10.0))
    both = with_masks(POINTS.expand(2, 6), torch.cat([drawn(), other]), 1.0)
    torch.testing.assert_close(both[1:], with_masks(POINTS, other, 1.0))
    torch.testing.assert_close(both[:1], with_masks(POINTS, drawn(), 1.0))


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"IUGC": "organ_cls"}, "organ_cls a segmentation task"),
        ({"organ_cls": "head_symphysis_multi"}, "organ_cls must be a regression task"),
        ({"IUGC": "cardiac_multi"}, "IUGC must have 3 points and cardiac_multi 3 classes"),
    ],
)
def test_what_cannot_be_joined_is_said(masks, message):
    with pytest.raises(UserError, match=message):
        build("atlas", CATALOGUE.values(), **TINY, progression_masks=masks)
