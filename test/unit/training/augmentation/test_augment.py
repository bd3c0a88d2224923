"""Image, mask, box and points move together; what a task forbids never happens."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision import tv_tensors

from training.augmentation import ultrasound_effects
from training.augmentation.augment import Item, eval_preset, normalise, train_preset
from training.augmentation.settings import AugmentConfig
from training.augmentation.task_rules import TaskRules
from training.config import DataConfig

SIZE = 96
GEOMETRY = AugmentConfig(brightness_contrast=0, noise=0, hflip=0.5, vflip=0.5, geometry=0.9)
FREE = TaskRules(vflip=True)

seeds = st.integers(0, 2**32 - 1)
places = st.floats(30, 66)


def blob(x, y, sigma=3.0):
    """A picture of one bright spot centred on (x, y), in continuous pixels."""
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    grey = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    return tv_tensors.Image(torch.from_numpy(grey.astype(np.uint8)).repeat(3, 1, 1))


def centre(plane: Tensor):
    weights, steps = plane.double(), torch.arange(plane.shape[-1]) + 0.5
    return ((weights.sum(0) @ steps.double()) / weights.sum(), (weights.sum(1) @ steps.double()) / weights.sum())


@settings(deadline=None, max_examples=60)
@given(x=places, y=places, seed=seeds)
def test_points_stay_on_what_they_mark(x, y, seed):
    points = tv_tensors.KeyPoints(torch.tensor([[x, y]]), canvas_size=(SIZE, SIZE))
    moved = train_preset(Item(blob(x, y), points), FREE, GEOMETRY, np.random.default_rng(seed))
    assert torch.dist(moved.target[0], torch.tensor(centre(moved.image[0]))) < 0.1


@settings(deadline=None, max_examples=60)
@given(x=places, y=places, radius=st.floats(6, 12), seed=seeds)
def test_masks_cover_what_they_covered(x, y, radius, seed):
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    disc = ((columns - x) ** 2 + (rows - y) ** 2 <= radius**2).astype(np.uint8)
    image = tv_tensors.Image(torch.from_numpy(disc * 200).repeat(3, 1, 1))
    item = Item(image, tv_tensors.Mask(torch.from_numpy(disc)))
    moved = train_preset(item, FREE, GEOMETRY, np.random.default_rng(seed))
    shown, mask = moved.image[0] > 100, moved.target == 1
    assert 2 * (shown & mask).sum() / (shown.sum() + mask.sum()) > 0.93


@settings(deadline=None, max_examples=60)
@given(
    x=places, y=places, width=st.floats(8, 40), height=st.floats(8, 40), seed=seeds,
)  # fmt: skip
@example(x=30.0, y=30.0, width=8.0, height=39.0, seed=365649)
def test_boxes_stay_round_their_object(x, y, width, height, seed):
    x0, x1, y0, y1 = round(x - width / 2), round(x + width / 2), round(y - height / 2), round(y + height / 2)
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, SIZE), min(y1, SIZE)
    grey = torch.zeros(3, SIZE, SIZE, dtype=torch.uint8)
    grey[:, y0:y1, x0:x1] = 255
    box = tv_tensors.BoundingBoxes(
        torch.tensor([[x0, y0, x1, y1]], dtype=torch.float32), format="XYXY", canvas_size=(SIZE, SIZE)
    )
    rules = TaskRules(vflip=True, max_rotation=0.0)
    moved = train_preset(Item(tv_tensors.Image(grey), box), rules, GEOMETRY, np.random.default_rng(seed))
    rows, columns = torch.nonzero(moved.image[0] > 127, as_tuple=True)
    found = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=torch.float32)
    assert (moved.target[0] - found).abs().max() <= 1.0
    assert moved.target.min() >= 0
    assert moved.target.max() <= SIZE


@settings(deadline=None, max_examples=30)
@given(x=st.floats(36, 60), y=st.floats(36, 60), width=st.floats(10, 24), height=st.floats(10, 24), seed=seeds)
def test_the_box_of_a_turned_ellipse_is_its_own(x, y, width, height, seed):
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    inside = ((columns - x) / width * 2) ** 2 + ((rows - y) / height * 2) ** 2 <= 1
    image = tv_tensors.Image(torch.from_numpy(inside.astype(np.uint8) * 255).repeat(3, 1, 1))
    corners = [[x - width / 2, y - height / 2, x + width / 2, y + height / 2]]
    box = tv_tensors.BoundingBoxes(torch.tensor(corners, dtype=torch.float32), format="XYXY", canvas_size=(SIZE, SIZE))
    moved = train_preset(Item(image, box), TaskRules(max_rotation=20.0), GEOMETRY, np.random.default_rng(seed))
    rows, columns = torch.nonzero(moved.image[0] > 127, as_tuple=True)
    found = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=torch.float32)
    assert (moved.target[0] - found).abs().max() <= 2.0


@settings(deadline=None, max_examples=30)
@given(x=places, y=places, seed=seeds)
def test_the_targets_of_all_tasks_move_together(x, y, seed):
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    disc = ((columns - x) ** 2 + (rows - y) ** 2 <= 64).astype(np.uint8)
    also = (tv_tensors.KeyPoints(torch.tensor([[x, y]]), canvas_size=(SIZE, SIZE)), torch.tensor(1))
    item = Item(blob(x, y), tv_tensors.Mask(torch.from_numpy(disc)), also)
    moved = train_preset(item, FREE, GEOMETRY, np.random.default_rng(seed))
    point, label = moved.also
    assert torch.dist(point[0], torch.tensor(centre(moved.target))) < 0.5
    assert label == 1


@settings(deadline=None, max_examples=100)
@given(x=st.floats(0, SIZE), y=st.floats(0, SIZE), seed=seeds)
def test_points_never_leave_the_image(x, y, seed):
    points = tv_tensors.KeyPoints(torch.tensor([[x, y], [float("nan")] * 2]), canvas_size=(SIZE, SIZE))
    moved = train_preset(Item(blob(x, y), points), FREE, GEOMETRY, np.random.default_rng(seed)).target
    assert moved[0].min() >= 0
    assert moved[0].max() <= SIZE
    assert moved[1].isnan().all()


def test_a_forbidden_flip_and_rotation_never_happens():
    always = AugmentConfig(brightness_contrast=0, noise=0, hflip=1, vflip=1, geometry=1, min_scale=1, max_scale=1,
                           max_shift=0)  # fmt: skip
    item = Item(blob(20, 40), torch.tensor(3))
    for seed in range(20):
        moved = train_preset(item, TaskRules(hflip=False, max_rotation=0.0), always, np.random.default_rng(seed))
        torch.testing.assert_close(moved.image, item.image)
        assert moved.target == 3
    flipped = train_preset(item, TaskRules(max_rotation=0.0), always, np.random.default_rng(0))
    torch.testing.assert_close(flipped.image, tv_tensors.Image(item.image.flip(-1)))


@pytest.mark.parametrize("aspect", [1.0, 1.5, 0.6])
def test_a_turn_keeps_right_angles_and_lengths_of_the_native_image(aspect):
    # Two diameters of a circle in native proportions, on the grid.
    native = torch.tensor([[-12.0, 0], [12, 0], [0, -12], [0, 12]])
    grid = native / torch.tensor([aspect, 1.0]) + SIZE / 2
    rules = TaskRules(max_rotation=90.0)
    config = AugmentConfig(brightness_contrast=0, noise=0, geometry=1, max_rotation=90, min_scale=1.0, max_scale=1.0)
    turned = set()
    for seed in range(5):
        item = Item(blob(48, 48), tv_tensors.KeyPoints(grid, canvas_size=(SIZE, SIZE)), aspect=aspect)
        points = train_preset(item, rules, config, np.random.default_rng(seed)).target.as_subclass(torch.Tensor)
        across, down = (points[[1, 3]] - points[[0, 2]]) * torch.tensor([aspect, 1.0])
        torch.testing.assert_close(torch.stack([across.norm(), down.norm()]), torch.tensor([24.0, 24.0]))
        assert float(across @ down) == pytest.approx(0, abs=1e-3)
        turned.add(round(float(across[1])))
    assert len(turned) > 2


def test_an_image_turns_with_its_points_on_a_stretched_grid():
    config = AugmentConfig(brightness_contrast=0, noise=0, geometry=1, max_rotation=60)
    rules = TaskRules(max_rotation=60.0)
    points = tv_tensors.KeyPoints(torch.tensor([[40.5, 40.5]]), canvas_size=(SIZE, SIZE))
    for seed in range(5):
        moved = train_preset(Item(blob(40.5, 40.5), points, aspect=1.5), rules, config, np.random.default_rng(seed))
        weight = moved.image[0].float()
        cells = torch.arange(SIZE) + 0.5
        centre = torch.stack([(weight.sum(dim=0) @ cells), (weight.sum(dim=1) @ cells)]) / weight.sum()
        torch.testing.assert_close(centre, moved.target[0].as_subclass(torch.Tensor), atol=0.5, rtol=0)


def test_points_are_in_order_after_a_flip():
    rules = TaskRules(point_order="1-2:x")
    points = tv_tensors.KeyPoints(torch.tensor([[20.0, 40], [70, 50]]), canvas_size=(SIZE, SIZE))
    config = AugmentConfig(brightness_contrast=0, noise=0, hflip=1)
    moved = train_preset(Item(blob(20, 40), points), rules, config, np.random.default_rng(0))
    assert moved.target.tolist() == [[26, 50], [76, 40]]
    backwards = tv_tensors.KeyPoints(points.flip(0), canvas_size=(SIZE, SIZE))
    assert eval_preset(Item(blob(20, 40), backwards), rules).target.tolist() == points.tolist()


def test_the_generator_decides_everything():
    config = AugmentConfig(**{name: 0.5 for name in ("noise", "gamma", "hflip", "geometry", "speckle", "depth_gain",
                                                     "shadow", "haze", "blur", "jpeg", "marks")})  # fmt: skip
    item = Item(blob(40, 50, 20), torch.tensor(0))
    first, again, other = (train_preset(item, FREE, config, np.random.default_rng(seed)).image for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    "name",
    [
        "brightness_contrast",
        "noise",
        "gamma",
        "speckle",
        "depth_gain",
        "shadow",
        "haze",
        "blur",
        "jpeg",
        "grey_curve",
        "resolution",
    ],
)
def test_grey_value_effects_change_the_image_and_nothing_else(name):
    off = {"brightness_contrast": 0.0, "noise": 0.0}
    mask = tv_tensors.Mask(torch.randint(0, 2, (SIZE, SIZE), dtype=torch.uint8))
    item = Item(blob(48, 48, 30), mask)
    changes = []
    for seed in range(5):
        moved = train_preset(item, FREE, AugmentConfig(**{**off, name: 1.0}), np.random.default_rng(seed))
        assert moved.image.dtype == torch.uint8
        assert moved.image.shape == item.image.shape
        changes.append(float((moved.image.float() - item.image.float()).abs().mean()))
        assert torch.equal(moved.target, mask)
        # A picture stays grey where it was: noise aside, the three channels agree.
        if name != "noise":
            assert torch.equal(moved.image[0], moved.image[2])
    assert 0.25 < max(changes) < 80


@pytest.mark.parametrize("name", ["speckle", "depth_gain", "shadow", "haze"])
def test_ultrasound_effects_leave_the_black_frame_black(name):
    effect = getattr(ultrasound_effects, name)
    for seed in range(5):
        assert not effect(torch.zeros(3, SIZE, SIZE), np.random.default_rng(seed)).any()


def test_normalise_is_the_inverse_of_its_statistics():
    images = torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)
    config = DataConfig(mean=(0.5, 0.4, 0.3), std=(0.5, 0.2, 0.1))
    torch.testing.assert_close(normalise(images, config.mean, config.std)[0, :, 0, 0], torch.tensor([1.0, 3.0, 7.0]))
