"""Axes computed from an area: exact on drawn ellipses, in order at every angle; votes rotate those of a round head."""

import math

import pytest
import torch
from torch import Tensor

from challenge import targets
from challenge.errors import UserError
from challenge.imaging.geometry import Resize
from challenge.manifest import read_manifest
from challenge.masks.true_masks import read_true_mask
from challenge.paths import find_image
from challenge.tasks import CATALOGUE, TaskKind, TaskSpec
from evaluate.metrics.regression import radial_errors
from model.networks import build
from model.networks.heads.dense import HeatmapHead
from model.networks.heads.ellipse import EllipseHead, axis_ends
from training.losses.ellipse import ellipse_loss, filled

PIXEL = 1 / 512
BIOMETRY = TaskSpec("fetal_head_biometry", TaskKind.REGRESSION, 4)
OPTIONS = {"encoder": "test_efficientnet", "pyramid_channels": 32, "channels": 32}


def ellipse(degrees: float, long: float = 0.2, short: float = 0.15, aspect: float = 1.5) -> Tensor:
    """Ends (1, 8) of the axes, in order, in 0..1 of a grid to which an image of this aspect was stretched."""
    angle = math.radians(degrees)
    along = torch.tensor([math.cos(angle), math.sin(angle) * aspect])
    across = torch.tensor([-math.sin(angle), math.cos(angle) * aspect])
    centre = torch.tensor([0.5, 0.45])
    first, second = sorted((centre - long * along, centre + long * along), key=lambda point: float(point[0]))
    third, fourth = sorted((centre - short * across, centre + short * across), key=lambda point: float(point[1]))
    return torch.cat([first, second, third, fourth])[None]


def maps_of(truth: Tensor, size: int = 64) -> Tensor:
    """Maps (B, 3, size, size) of a network that draws the area well and does not vote."""
    maps = torch.zeros(len(truth), 3, size, size)
    maps[:, 0] = torch.logit(filled(truth, size).clamp(1e-5, 1 - 1e-5))
    return maps


@pytest.mark.parametrize("degrees", [-88, -60, -45, -10, 0, 15, 45, 70, 88])
@pytest.mark.parametrize("aspect", [1.0, 1.5])
def test_axes_of_a_drawn_ellipse_are_found_to_a_few_pixels_and_in_order(degrees, aspect):
    truth = ellipse(degrees, aspect=aspect)
    assert (axis_ends(maps_of(truth), aspect) - truth).abs().max() < 4 * PIXEL


def test_votes_rotate_the_axes_of_a_round_head():
    maps = maps_of(ellipse(0, long=0.2, short=0.2))
    maps[:, 2] = 1.0  # the sine of twice the angle: 45 degrees
    ends = axis_ends(maps, 1.5)
    assert (ends - ellipse(45, long=0.2, short=0.2)).abs().max() < 4 * PIXEL


def test_answers_are_inside_the_image_and_training_also_returns_the_area():
    head = EllipseHead(32, 1.5)
    features = 100 * torch.randn(2, 32, 16, 16)
    assert head(features).shape == (2, 8 + 16 * 16)
    answers = head.eval()(features)
    assert answers.shape == (2, 8)
    assert answers.isfinite().all()
    assert 0 <= answers.min() <= answers.max() <= 1


def test_an_empty_area_gives_finite_points_and_gradients():
    maps = torch.full((1, 3, 16, 16), -60.0, requires_grad=True)
    ends = axis_ends(maps, 1.5)
    assert ends.isfinite().all()
    ends.sum().backward()
    assert maps.grad.isfinite().all()


def test_the_order_of_the_ends_costs_nothing_and_a_wrong_angle_does():
    truth = ellipse(80)
    output = torch.cat([truth, maps_of(truth)[:, 0].flatten(1)], dim=1)
    swapped = truth[:, [2, 3, 0, 1, 6, 7, 4, 5]]
    assert ellipse_loss(output, truth).item() == pytest.approx(ellipse_loss(output, swapped).item())
    assert ellipse_loss(output, ellipse(60)) > 5 * ellipse_loss(output, truth)


def test_a_row_with_a_missing_point_teaches_nothing():
    truth = torch.cat([ellipse(10), ellipse(20)])
    truth[1, 3] = math.nan
    output = torch.randn(2, 8 + 16 * 16, requires_grad=True)
    ellipse_loss(output, truth).backward()
    assert output.grad[0].any()
    assert not output.grad[1].any()
    lost = torch.full((1, 8), math.nan)
    assert ellipse_loss(output[:1], lost).item() == 0


def test_a_head_learns_to_draw_the_area():
    torch.manual_seed(0)
    truth = torch.cat([ellipse(0), ellipse(60)])
    features = filled(truth, 32)[:, None] * torch.randn(1, 32, 1, 1) + 0.5 * torch.randn(2, 32, 32, 32)
    head = EllipseHead(32, 1.5)
    optimizer = torch.optim.Adam(head.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        ellipse_loss(head(features), truth).backward()
        optimizer.step()
    assert (head.eval()(features) - truth).abs().max() < 8 * PIXEL


def test_atlas_gives_the_named_task_an_ellipse_head_and_others_heatmaps():
    tasks = [BIOMETRY, CATALOGUE["FUGC"]]
    network = build("atlas", tasks, **OPTIONS, ellipses={"fetal_head_biometry": 1.5})
    assert isinstance(network.heads["fetal_head_biometry"], EllipseHead)
    assert isinstance(network.heads["FUGC"], HeatmapHead)
    with torch.no_grad():
        assert network.eval()(torch.randn(1, 3, 64, 64), "fetal_head_biometry").shape == (1, 8)


def test_an_ellipse_has_four_points():
    with pytest.raises(UserError, match="FUGC has 2 points; an ellipse has 4"):
        build("atlas", [CATALOGUE["FUGC"]], **OPTIONS, ellipses={"FUGC": 1.5})


def test_the_points_of_real_heads_are_the_axes_of_their_masks(ultrasound_data):
    """The head's assumption: computed from the true mask, the axes end at the true points."""
    samples = read_manifest(ultrasound_data / "val").samples
    masks = {s.image_path: s for s in samples if s.task_id == "fetal_head"}
    errors = []
    for sample in [s for s in samples if s.task_id == BIOMETRY.task_id][::4]:
        labels = read_true_mask(find_image(ultrasound_data / "val", str(masks[sample.image_path].mask_file)), 2).labels
        resize = Resize.of(labels.shape[1], labels.shape[0], 256)
        area = torch.from_numpy(resize.mask(labels)) * 60.0 - 30.0
        maps = torch.stack([area, torch.zeros_like(area), torch.zeros_like(area)])[None]
        ends = axis_ends(maps, resize.aspect).view(4, 2) * 256
        errors.append(radial_errors(resize.to_native(ends.numpy()), targets.points(sample)).mean())
    assert len(errors) >= 40
    assert sum(errors) / len(errors) < 1.5  # pixels of images of 512
