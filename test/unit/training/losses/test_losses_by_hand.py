"""Every loss against the same sum written out cell by cell, on inputs where no two axes or classes are alike."""

import math

import numpy as np
import pytest
import torch

from challenge.tasks import CATALOGUE, TaskKind, TaskSpec
from training.config import BalanceConfig, LossConfig
from training.losses import task_loss
from training.losses.balance import TaskBalance
from training.losses.classification import class_weights, cross_entropy
from training.losses.detection import (
    focal_grid_giou_loss,
    focal_grid_loss,
    one_box_loss,
    positive_cell_loss,
)
from training.losses.ellipse import ellipse_loss, filled
from training.losses.regression import heatmap_cross_entropy, heatmap_mse, masked_l1, masked_mse
from training.losses.segmentation import (
    boundary_loss,
    cross_entropy_and_dice,
    cross_entropy_image_dice,
    cross_entropy_squared_dice,
    dice_loss,
    image_dice_loss,
    near_border,
)

# --- masks: three classes of unequal area, two images, more columns than rows -----------------------------------------

TARGET = np.zeros((2, 6, 8), np.int64)
TARGET[0, 1:3, 2:7] = 1
TARGET[0, 5, 0] = 2
TARGET[1, 3:5, 0:2] = 1
LOGITS = np.random.default_rng(0).normal(size=(2, 3, 6, 8)).astype(np.float32)


def softmax(values, axis):
    odds = np.exp(values - values.max(axis=axis, keepdims=True))
    return odds / odds.sum(axis=axis, keepdims=True)


P = softmax(LOGITS.astype(np.float64), 1)


def entropy_of(image, row, column):
    return -math.log(P[image, TARGET[image, row, column], row, column])


PIXELS = [(i, y, x) for i in range(2) for y in range(6) for x in range(8)]
ENTROPY = sum(entropy_of(*pixel) for pixel in PIXELS) / len(PIXELS)


def sums(images, number, power=1):
    """Overlap, predicted and true area of a class over some images."""
    overlap = predicted = true = 0.0
    for i in images:
        for y in range(6):
            for x in range(8):
                is_class = float(TARGET[i, y, x] == number)
                overlap += P[i, number, y, x] * is_class
                predicted += P[i, number, y, x] ** power
                true += is_class
    return overlap, predicted, true


def batch_dice(number, smooth, power=1):
    overlap, predicted, true = sums((0, 1), number, power)
    return (2 * overlap + smooth) / (predicted + true + smooth)


def image_dice(image, number):
    overlap, predicted, true = sums((image,), number)
    return (2 * overlap + 1) / (predicted + true + 1)


BY_IMAGE = 1 - sum(image_dice(i, k) for i in (0, 1) for k in (1, 2)) / 4
SEGMENTATION = {
    dice_loss: sum(1 - batch_dice(k, 0) for k in (0, 1, 2)) / 3,
    image_dice_loss: BY_IMAGE,
    cross_entropy_squared_dice: 0.4 * ENTROPY + 0.6 * sum(1 - batch_dice(k, 1e-5, power=2) for k in (0, 1, 2)) / 3,
    cross_entropy_and_dice: ENTROPY + 1 - (batch_dice(1, 1e-5) + batch_dice(2, 1e-5)) / 2,
    cross_entropy_image_dice: 0.4 * ENTROPY + 0.6 * BY_IMAGE,
}


@pytest.mark.parametrize("loss", SEGMENTATION, ids=lambda loss: loss.__name__)
def test_mask_losses_pixel_by_pixel(loss):
    value = loss(torch.from_numpy(LOGITS), torch.from_numpy(TARGET))
    assert float(value) == pytest.approx(SEGMENTATION[loss], rel=1e-5)


def test_pixels_near_a_border_of_either_direction_count_more():
    weights = {}
    for i, y, x in PIXELS:
        around = TARGET[i, max(0, y - 3) : y + 4, max(0, x - 3) : x + 4]
        weights[i, y, x] = 1 + 2.5 * float(len(np.unique(around)) > 1)
    weighted = sum(weights[pixel] * entropy_of(*pixel) for pixel in PIXELS) / sum(weights.values())
    value = boundary_loss(torch.from_numpy(LOGITS), torch.from_numpy(TARGET), 2.5)
    assert float(value) == pytest.approx(0.4 * weighted + 0.6 * BY_IMAGE, rel=1e-5)
    config = LossConfig(segmentation="boundary", boundary_weight=2.5)
    by_name = task_loss(TaskSpec("t", TaskKind.SEGMENTATION, 3), config)
    assert float(by_name(torch.from_numpy(LOGITS), torch.from_numpy(TARGET))) == pytest.approx(float(value))


def test_the_border_is_as_wide_down_as_across():
    target = torch.zeros(1, 20, 20, dtype=torch.int64)
    target[:, 10:] = 1
    assert near_border(target)[0, :, 5].nonzero().flatten().tolist() == [7, 8, 9, 10, 11, 12]
    assert near_border(target.transpose(1, 2))[0, 5].nonzero().flatten().tolist() == [7, 8, 9, 10, 11, 12]


def test_coarse_logits_are_enlarged_by_pixel_centres():
    # Twice as many columns between 0 and 4: 0, 1, 3, 4.
    coarse = torch.zeros(1, 2, 1, 2)
    coarse[0, 1, 0, 1] = 4.0
    target = torch.zeros(1, 2, 4, dtype=torch.int64)
    expected = sum(math.log(1 + math.exp(value)) for value in (0, 1, 3, 4)) / 4
    dice = (2e-5 - 1e-5) / (2 * sum(1 / (1 + math.exp(-value)) for value in (0, 1, 3, 4)) + 1e-5)
    assert float(cross_entropy_and_dice(coarse, target)) == pytest.approx(expected + 1 - dice, rel=1e-5)


# --- classes ----------------------------------------------------------------------------------------------------------


def test_class_weights_by_hand():
    # Mean over the rows 1: 4 x 0.5 + 1 x 1 = 3 of 5 rows.
    assert class_weights([4, 1], "root").tolist() == pytest.approx([0.5 * 5 / 3, 5 / 3])
    assert class_weights([4, 1], "balanced").tolist() == pytest.approx([0.25 * 5 / 2, 5 / 2])
    assert class_weights([5, 0], "balanced").tolist() == pytest.approx([1, 5])


def test_smoothed_and_weighted_entropy_by_hand():
    logits, target = torch.tensor([[2.0, 0, -1], [0.5, 1, 0]]), torch.tensor([0, 2])
    logs = np.log(softmax(logits.double().numpy(), 1))
    plain = -(logs[0, 0] + logs[1, 2]) / 2
    assert float(cross_entropy(logits, target)) == pytest.approx(plain)
    uniform = -logs.mean(axis=1).mean()
    assert float(cross_entropy(logits, target, label_smoothing=0.3)) == pytest.approx(0.7 * plain + 0.3 * uniform)
    weighted = -(1 * logs[0, 0] + 3 * logs[1, 2]) / 4
    weights = torch.tensor([1.0, 2.0, 3.0])
    assert float(cross_entropy(logits, target, class_weights=weights)) == pytest.approx(weighted)


def test_the_recipes_smoothing_and_weights_reach_the_loss():
    logits, target = torch.tensor([[2.0, 0.0], [0.5, 1.0]]), torch.tensor([0, 1])
    spec = TaskSpec("t", TaskKind.CLASSIFICATION, 2)
    loss = task_loss(spec, LossConfig(label_smoothing=0.3, class_weights="root"), [4, 1])
    expected = cross_entropy(logits, target, 0.3, torch.tensor([0.5 * 5 / 3, 5 / 3]))
    assert float(loss(logits, target)) == pytest.approx(float(expected))


# --- boxes: a 5 x 5 grid, off-centre and oblong -----------------------------------------------------------------------

SIZE = 5
TRUTH = np.array([[0.5, 0.1, 0.9, 0.3], [0.0, 0.2, 0.3, 1.0]])
RAW = np.random.default_rng(1).uniform(0.05, 0.95, (2, 5, SIZE, SIZE))
RAW[:, 4] = np.random.default_rng(2).normal(size=(2, SIZE, SIZE))
CELLS = [(y, x) for y in range(SIZE) for x in range(SIZE)]


def heat(image):
    x0, y0, x1, y1 = TRUTH[image]
    wide, high = (max((b - a) / 6, 1 / SIZE) for a, b in ((x0, x1), (y0, y1)))
    return {
        (y, x): math.exp(
            -0.5 * (((x + 0.5) / SIZE - (x0 + x1) / 2) / wide) ** 2
            - 0.5 * (((y + 0.5) / SIZE - (y0 + y1) / 2) / high) ** 2
        )
        for y, x in CELLS
    }


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def focal():
    total = positives = 0.0
    for image in (0, 1):
        map_ = heat(image)
        for y, x in CELLS:
            p, h = sigmoid(RAW[image, 4, y, x]), map_[y, x]
            if h == max(map_.values()):
                total -= (1 - p) ** 2 * math.log(p)
                positives += 1
            else:
                total -= (1 - h) ** 4 * p**2 * math.log(1 - p)
    return total / positives


def giou(box, truth):
    x0, x1 = sorted((box[0], box[2]))
    y0, y1 = sorted((box[1], box[3]))
    across = max(0.0, min(x1, truth[2]) - max(x0, truth[0]))
    down = max(0.0, min(y1, truth[3]) - max(y0, truth[1]))
    union = (x1 - x0) * (y1 - y0) + (truth[2] - truth[0]) * (truth[3] - truth[1]) - across * down
    hull = (max(x1, truth[2]) - min(x0, truth[0])) * (max(y1, truth[3]) - min(y0, truth[1]))
    return across * down / union - (hull - union) / hull


def near_centre(measure):
    """The mean of what `measure` says of a cell's box, by the Gaussian where it is above a tenth."""
    total = weights = 0.0
    for image in (0, 1):
        for (y, x), h in heat(image).items():
            if h > 0.1:
                total += h * measure(RAW[image, :4, y, x], TRUTH[image])
                weights += h
    return total / weights


def l1(box, truth):
    return sum(abs(a - b) for a, b in zip(box, truth, strict=True)) / 4


def test_grid_losses_cell_by_cell():
    output, target = torch.tensor(RAW), torch.tensor(TRUTH)
    plain = focal() + 8 * near_centre(l1)
    assert float(focal_grid_loss(output, target)) == pytest.approx(plain)
    overlap = near_centre(lambda box, truth: 1 - giou(box, truth))
    assert float(focal_grid_giou_loss(output, target)) == pytest.approx(plain + 2 * overlap, rel=1e-5)


def test_the_one_box_loss_cell_by_cell():
    expected = 0.0
    for image in (0, 1):
        map_, weights = heat(image), softmax(RAW[image, 4].ravel(), 0).reshape(SIZE, SIZE)
        whole = sum(map_.values())
        expected -= sum(map_[y, x] / whole * math.log(weights[y, x]) for y, x in CELLS) / 2
        box = [sum(weights[y, x] * RAW[image, side, y, x] for y, x in CELLS) for side in range(4)]
        expected += (8 * l1(box, TRUTH[image]) + 2 * (1 - giou(box, TRUTH[image]))) / 2
    assert float(one_box_loss(torch.tensor(RAW), torch.tensor(TRUTH))) == pytest.approx(expected, rel=1e-5)


def test_the_heat_peaks_at_the_boxs_own_row_and_column():
    output = torch.zeros(1, 5, SIZE, SIZE, requires_grad=True)
    focal_grid_loss(output, torch.tensor([[0.6, 0.1, 1.0, 0.1]])).backward()  # centre (0.8, 0.1): no height at all
    assert output.grad is not None
    raised = (output.grad[0, 4] < 0).nonzero().tolist()
    assert raised in ([[0, 3]], [[0, 4]], [[0, 3], [0, 4]])


def test_the_official_box_loss_by_hand():
    """A box that is off by 0.1 on every side costs 0.8; the objectness term is made zero."""
    output = torch.zeros(1, 5, 4, 4)
    output[:, 4] = -40.0
    output[0, :, 0, 2] = torch.tensor([0.5, 0.1, 0.8, 0.3, 40.0])  # the cell of (0.55, 0.1): column 2, row 0
    target = torch.tensor([[0.4, 0.0, 0.7, 0.2]])
    assert float(positive_cell_loss(output, target)) == pytest.approx(0.8)
    output[0, 4, 0, 2] = 0.0
    assert float(positive_cell_loss(output, target)) == pytest.approx(0.8 + math.log(2))


def test_the_official_box_loss_takes_the_last_cell_for_a_centre_on_the_border():
    output = torch.zeros(1, 5, 4, 4)
    output[:, 4] = -40.0
    output[0, :, 3, 3] = torch.tensor([1.0, 1.0, 1.0, 1.0, 40.0])
    assert float(positive_cell_loss(output, torch.ones(1, 4))) == pytest.approx(0)


# --- points -----------------------------------------------------------------------------------------------------------

NAN = float("nan")
POINTS = np.array([[0.2, 0.7, NAN, NAN], [0.9, 0.1, 0.4, 0.6]])
MAPS = np.random.default_rng(3).normal(size=(2, 2, SIZE, SIZE))
KNOWN = [(0, 0), (1, 0), (1, 1)]


def bump(x, y, sigma):
    spread = max(sigma, 0.5 / SIZE)
    return {
        (r, c): math.exp(-0.5 * ((((c + 0.5) / SIZE - x) / spread) ** 2 + (((r + 0.5) / SIZE - y) / spread) ** 2))
        for r, c in CELLS
    }


def test_coordinate_losses_by_hand():
    output = torch.tensor([[0.3, 0.5, 0.9, 0.9], [0.9, 0.5, 0.1, 0.6]])
    target = torch.tensor(POINTS, dtype=torch.float32)
    assert float(masked_mse(output, target)) == pytest.approx((0.01 + 0.04 + 0 + 0.16 + 0.09 + 0) / 6)
    assert float(masked_l1(output, target)) == pytest.approx((0.1 + 0.2 + 0 + 0.4 + 0.3 + 0) / 6)


@pytest.mark.parametrize("sigma", [0.15, 0.01])  # the second is less than half a cell
def test_map_losses_cell_by_cell(sigma):
    square = entropy = distance = 0.0
    for image, point in KNOWN:
        x, y = POINTS[image, 2 * point : 2 * point + 2]
        truth, logits = bump(x, y, sigma), MAPS[image, point]
        weights = softmax(logits.ravel(), 0).reshape(SIZE, SIZE)
        whole = sum(truth.values())
        square += sum((sigmoid(logits[cell]) - truth[cell]) ** 2 for cell in CELLS)
        entropy -= sum(truth[cell] / whole * math.log(weights[cell]) for cell in CELLS)
        distance += abs(sum(weights[cell] * (cell[1] + 0.5) / SIZE for cell in CELLS) - x)
        distance += abs(sum(weights[cell] * (cell[0] + 0.5) / SIZE for cell in CELLS) - y)
    maps, target = torch.tensor(MAPS), torch.tensor(POINTS)
    assert float(heatmap_mse(maps, target, sigma)) == pytest.approx(square / 3)
    assert float(heatmap_cross_entropy(maps, target, sigma)) == pytest.approx(entropy / 3 + 4 * distance / 6)
    spec = TaskSpec("t", TaskKind.REGRESSION, 2)
    by_name = task_loss(spec, LossConfig(regression="heatmap_mse", heatmap_sigma=sigma))
    assert float(by_name(maps, target)) == pytest.approx(square / 3)


def test_the_area_of_an_ellipse_matches_its_axes():
    ends = torch.tensor([[0.2, 0.25, 0.6, 0.25, 0.4, 0.15, 0.4, 0.35]])  # centre (0.4, 0.25), 0.2 across, 0.1 down
    size = 200
    area = filled(ends, size)[0]
    assert float(area.sum()) / size**2 == pytest.approx(math.pi * 0.2 * 0.1, rel=1e-3)
    rows, columns = (area > 0.5).nonzero(as_tuple=True)
    assert ((columns.min() / size, columns.max() / size)) == pytest.approx((0.2, 0.6), abs=0.01)
    assert ((rows.min() / size, rows.max() / size)) == pytest.approx((0.15, 0.35), abs=0.01)


def test_the_ellipse_loss_by_hand():
    target = torch.tensor([[0.2, 0.25, 0.6, 0.25, 0.4, 0.15, 0.4, 0.35]])
    shift = torch.tensor([[0.1, 0, 0.1, 0, 0, 0.02, 0, 0.02]])
    size = 40
    output = torch.cat([target + shift, torch.zeros(1, size * size)], dim=1)  # an undecided area costs log 2
    # The long axis is 0.1 off in x, the short one 0.02 in y: means of 0.05 and 0.01 over x and y.
    assert float(ellipse_loss(output, target)) == pytest.approx(math.log(2) + 10 * (0.05 + 0.01) / 2)


# --- several tasks ----------------------------------------------------------------------------------------------------


def test_uncertainty_weighting_by_hand():
    specs = [CATALOGUE["lung"], CATALOGUE["FUGC"]]
    balance = TaskBalance(specs, BalanceConfig("uncertainty", kinds={"segmentation": 3.0}, tasks={"FUGC": 0.5}))
    with torch.no_grad():
        balance.log_variance.copy_(torch.tensor([1.0, -9.0]))
    assert balance(torch.tensor(2.0), "lung").item() == pytest.approx(3 * math.exp(-1) * 2 + 1)
    assert balance(torch.tensor(2.0), "FUGC").item() == pytest.approx(0.5 * math.exp(4) * 2 - 4)  # bounded to -4
    with torch.no_grad():
        balance.log_variance.copy_(torch.tensor([9.0, 0.0]))
    assert balance(torch.tensor(2.0), "lung").item() == pytest.approx(3 * math.exp(-4) * 2 + 4)
