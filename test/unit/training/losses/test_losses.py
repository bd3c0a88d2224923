"""Losses on toy inputs, where their values and gradients are known."""

import math

import pytest
import torch
from torch import Tensor

from challenge.errors import UserError
from challenge.tasks import CATALOGUE, TaskKind, TaskSpec
from training.config import BalanceConfig, LossConfig
from training.losses import LOSSES, task_loss
from training.losses.balance import TaskBalance
from training.losses.classification import class_weights, cross_entropy
from training.losses.detection import focal_grid_giou_loss, focal_grid_loss, positive_cell_loss
from training.losses.regression import gaussians, heatmap_cross_entropy, heatmap_mse, masked_l1, masked_mse, soft_argmax
from training.losses.segmentation import (
    boundary_loss,
    cross_entropy_and_dice,
    cross_entropy_squared_dice,
    dice_loss,
    image_dice_loss,
    near_border,
)

HALVES = torch.zeros(2, 8, 8, dtype=torch.int64)
HALVES[:, :, 4:] = 1
AXES = [0.2, 0.5, 0.8, 0.5, 0.5, 0.3, 0.5, 0.7]
"""Ends of an ellipse's axes."""


def confident(target: Tensor, classes: int) -> Tensor:
    return 40.0 * torch.nn.functional.one_hot(target, classes).movedim(-1, 1).float()


def boundary(logits, target):
    return boundary_loss(logits, target, 4.0)


SEGMENTATION = (dice_loss, image_dice_loss, cross_entropy_squared_dice, cross_entropy_and_dice, boundary)


@pytest.mark.parametrize("loss", SEGMENTATION)
def test_a_perfect_mask_has_no_loss_and_a_wrong_one_a_large_loss(loss):
    assert loss(confident(HALVES, 2), HALVES) < 1e-3
    assert loss(confident(1 - HALVES, 2), HALVES) > 0.5


def test_dice_of_an_undecided_network():
    # p = 0.5 everywhere: 2 * 0.25 / (0.5 + 0.5) for either class.
    assert dice_loss(torch.zeros(2, 2, 8, 8), HALVES) == pytest.approx(0.5)
    assert cross_entropy_and_dice(torch.zeros(2, 2, 8, 8), HALVES) == pytest.approx(math.log(2) + 0.5)


def test_squares_in_the_denominator_of_ultraupconvnets_dice():
    # 1 - 2 * 0.25 / (0.25 + 0.5) = 1/3 for either class.
    loss = cross_entropy_squared_dice(torch.zeros(2, 2, 8, 8), HALVES)
    assert loss == pytest.approx(0.4 * math.log(2) + 0.6 / 3, abs=1e-5)
    assert loss == pytest.approx(0.477, abs=5e-4)


def test_absent_classes_have_no_loss_in_the_official_dice():
    # Two of four classes occur, both wholly missed: each costs 1, the mean is over all four.
    wrong = confident(torch.full_like(HALVES, 3), 4)
    assert dice_loss(wrong, HALVES) == pytest.approx(0.5, abs=1e-4)


def test_the_dice_by_image_sees_the_small_object():
    target = torch.zeros(2, 32, 32, dtype=torch.int64)
    target[0, :, :16] = 1
    target[1, :2, :2] = 1
    missed = confident(target, 2)
    missed[1] = confident(torch.zeros_like(target), 2)[1]
    assert image_dice_loss(missed, target) > 0.35  # half of the images, smoothing aside
    assert dice_loss(missed, target) < 0.01


def test_an_image_without_the_object_penalises_only_false_positives():
    empty = torch.zeros(1, 16, 16, dtype=torch.int64)
    assert image_dice_loss(confident(empty, 2), empty) < 1e-3
    assert image_dice_loss(confident(1 - empty, 2), empty) > 0.99


def test_the_border_is_three_pixels_wide_on_each_side():
    target = torch.zeros(1, 20, 20, dtype=torch.int64)
    target[:, :, 10:] = 1
    assert near_border(target)[0, 5].nonzero().flatten().tolist() == [7, 8, 9, 10, 11, 12]


def test_an_error_at_the_border_costs_more_with_boundary_weight():
    target = torch.zeros(1, 40, 40, dtype=torch.int64)
    target[:, 10:30, 10:30] = 1
    at_border, inside = confident(target, 2), confident(target, 2)
    at_border[:, :, 10, 10:30] = torch.tensor([40.0, 0]).view(1, 2, 1)
    inside[:, :, 20, 10:30] = torch.tensor([40.0, 0]).view(1, 2, 1)
    assert boundary(at_border, target) > 1.2 * boundary(inside, target)


def test_segmentation_losses_take_logits_of_a_coarser_grid():
    coarse = torch.zeros(2, 2, 4, 4)
    coarse[:, 0, :, :2] = coarse[:, 1, :, 2:] = 40.0
    assert image_dice_loss(coarse, HALVES) < 0.1


def test_label_smoothing_and_class_weights():
    logits, target = torch.tensor([[9.0, 0], [9, 0], [9, 0]]), torch.tensor([0, 0, 1])
    plain = cross_entropy(logits, target)
    assert cross_entropy(logits, target, label_smoothing=0.2) != pytest.approx(float(plain))
    weights = class_weights([90, 10], "balanced")
    assert weights is not None
    assert weights.tolist() == pytest.approx([0.5 / 0.9, 5.0])
    assert float((weights * torch.tensor([0.9, 0.1])).sum()) == pytest.approx(1.0)
    assert cross_entropy(logits, target, class_weights=weights) > plain
    assert class_weights([5, 0], "root") is not None
    assert class_weights([5, 5], "none") is None


def grid(box=(0.25, 0.25, 0.75, 0.75), objectness=-8.0, size=16):
    output = torch.zeros(1, 5, size, size)
    output[:, :4] = torch.tensor(box).view(1, 4, 1, 1)
    output[:, 4] = objectness
    return output


BOX = torch.tensor([[0.25, 0.25, 0.75, 0.75]])


@pytest.mark.parametrize("loss", [focal_grid_loss, focal_grid_giou_loss])
def test_objectness_is_trained_in_every_cell(loss):
    output = grid(objectness=0.0).requires_grad_()
    loss(output, BOX).backward()
    assert output.grad is not None
    objectness = output.grad[0, 4]
    assert (objectness[0, 0], objectness[-1, 0]) > (0, 0)  # far cells are pushed down
    assert objectness[7, 7] < 0  # the centre is pushed up
    everywhere, at_centre = grid(objectness=6.0), grid()
    at_centre[0, 4, 7:9, 7:9] = 6.0
    assert loss(everywhere, BOX) > 10 * loss(at_centre, BOX)


def test_the_official_loss_does_not_penalise_objects_everywhere():
    output = grid(objectness=12.0).requires_grad_()
    loss = positive_cell_loss(output, BOX)
    loss.backward()
    assert loss < 1e-4
    assert output.grad is not None
    assert output.grad[0, 4].count_nonzero() == 1


def test_giou_separates_far_from_near_boxes_and_accepts_an_inverted_box():
    near, far = grid((0.3, 0.3, 0.8, 0.8)), grid((0.0, 0.0, 0.1, 0.1))
    assert focal_grid_giou_loss(grid(), BOX) < focal_grid_giou_loss(near, BOX) < focal_grid_giou_loss(far, BOX)
    upside_down = grid((0.75, 0.75, 0.25, 0.25)).requires_grad_()
    loss = focal_grid_giou_loss(upside_down, BOX)
    loss.backward()
    assert math.isfinite(loss.item())
    assert upside_down.grad is not None
    assert upside_down.grad.isfinite().all()


@pytest.mark.parametrize("loss", [masked_mse, masked_l1])
def test_a_missing_point_gives_no_gradient(loss):
    output = torch.full((1, 4), 0.5, requires_grad=True)
    target = torch.tensor([[0.3, 0.9, float("nan"), float("nan")]])
    value = loss(output, target)
    value.backward()
    assert math.isfinite(value.item())
    assert output.grad is not None
    assert (output.grad[0] != 0).tolist() == [True, True, False, False]
    assert loss(target.nan_to_num(), target) == 0


@pytest.mark.parametrize("loss", [heatmap_mse, heatmap_cross_entropy])
def test_heatmap_losses_are_lowest_with_the_peak_at_the_point(loss):
    target = torch.tensor([[0.25, 0.75, float("nan"), float("nan")]])
    truth, known = gaussians(target, 32, 0.05)
    assert known.tolist() == [[1, 0]]
    row, column = divmod(int(truth[0, 0].argmax()), 32)
    assert (column, row) in {(7, 23), (8, 24), (7, 24), (8, 23)}
    good, shifted = truth.clamp_min(1e-4).log(), truth.roll(6, dims=3).clamp_min(1e-4).log()
    assert loss(good, target, 0.05) < loss(shifted, target, 0.05)
    logits = torch.zeros(1, 2, 32, 32, requires_grad=True)
    loss(logits, target, 0.05).backward()
    assert logits.grad is not None
    assert logits.grad[0, 0].any()
    assert not logits.grad[0, 1].any()


def test_the_soft_argmax_of_a_sharp_map_is_its_peak():
    logits = torch.zeros(1, 1, 8, 16, 16).flatten(1, 2)[:, :1]
    logits[0, 0, 3, 12] = 50.0
    torch.testing.assert_close(soft_argmax(logits), torch.tensor([[12.5 / 16, 3.5 / 16]]))


def test_every_listed_loss_can_be_built_and_has_a_gradient():
    outputs = {
        TaskKind.SEGMENTATION: (torch.randn(2, 3, 16, 16), torch.randint(0, 3, (2, 16, 16))),
        TaskKind.CLASSIFICATION: (torch.randn(2, 3), torch.tensor([0, 2])),
        TaskKind.DETECTION: (torch.rand(2, 5, 16, 16), torch.tensor([[0.1, 0.2, 0.5, 0.7]] * 2)),
        TaskKind.REGRESSION: (torch.rand(2, 4), torch.rand(2, 4)),
    }
    for kind, names in LOSSES.items():
        for name in names:
            spec = TaskSpec("t", kind, 3 if kind is not TaskKind.REGRESSION else 2)
            loss = task_loss(spec, LossConfig(**{str(kind): name}), [3, 2, 1])
            output, target = outputs[kind]
            output = torch.randn(2, 2, 16, 16) if name.startswith("heatmap") else output.clone()
            if name == "ellipse":
                output, target = torch.randn(2, 8 + 16 * 16), torch.tensor([AXES, AXES])
            value = loss(output.requires_grad_(), target)
            value.backward()
            assert math.isfinite(value.item()), name
            assert output.grad is not None
            assert output.grad.any(), name


def test_an_unknown_loss_names_the_nearest():
    with pytest.raises(UserError, match=r"unknown loss.segmentation 'dise' \(did you mean 'dice'\?\)"):
        task_loss(CATALOGUE["lung"], LossConfig(segmentation="dise"))


def test_a_heatmap_loss_refuses_a_head_without_maps():
    with pytest.raises(UserError, match="need a keypoint head that gives maps"):
        task_loss(CATALOGUE["FUGC"], LossConfig(regression="heatmap_ce"))(torch.rand(1, 4), torch.rand(1, 4))


def test_an_ellipse_loss_refuses_other_heads():
    with pytest.raises(UserError, match="name the task in system.options.ellipses"):
        LOSSES[TaskKind.REGRESSION]["ellipse"](LossConfig(), [])(torch.rand(1, 8), torch.rand(1, 8))


def test_a_tasks_loss_overrides_its_kinds():
    config = LossConfig(regression="mse", tasks={"FUGC": "l1"})
    far = torch.tensor([[0.0, 0.5]]), torch.tensor([[0.0, 0.0]])
    assert task_loss(CATALOGUE["FUGC"], config)(*far).item() == pytest.approx(0.25)
    assert task_loss(CATALOGUE["IUGC"], config)(*far).item() == pytest.approx(0.125)


def test_fixed_weights_of_kind_and_task_multiply():
    balance = TaskBalance([CATALOGUE["lung"], CATALOGUE["FUGC"]],
                          BalanceConfig(kinds={"segmentation": 10.0}, tasks={"lung": 0.5}))  # fmt: skip
    assert balance(torch.tensor(2.0), "lung") == 10
    assert balance(torch.tensor(2.0), "FUGC") == 2
    assert not list(balance.parameters())


def test_uncertainty_weighting_lowers_the_weight_of_a_bad_task():
    balance = TaskBalance([CATALOGUE["lung"], CATALOGUE["FUGC"]], BalanceConfig("uncertainty"))
    optimizer = torch.optim.SGD(balance.parameters(), lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        (balance(torch.tensor(8.0), "lung") + balance(torch.tensor(0.5), "FUGC")).backward()
        optimizer.step()
    one = torch.tensor(1.0, requires_grad=True)
    gradients = []
    for task_id in ("lung", "FUGC"):
        (gradient,) = torch.autograd.grad(balance(one, task_id), one)
        gradients.append(float(gradient))
    assert gradients == pytest.approx([1 / 8, 1 / 0.5], rel=0.05)  # at the optimum exp(-s) = 1 / loss
