"""How far augmentation goes and how often: its ranges are those that the recipe and the constants say."""

import io

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors
from unit.training.augmentation.test_augment import FREE, GEOMETRY, SIZE, blob

from training.augmentation.augment import Item, train_preset
from training.augmentation.settings import AugmentConfig
from training.augmentation.task_rules import TaskRules

STILL = {"brightness_contrast": 0, "noise": 0}


def corners(config, seed, rules=FREE):
    """Where four points round the centre go, (4, 2) relative to it."""
    square = torch.tensor([[-8.0, -8], [8, -8], [8, 8], [-8, 8]])
    points = tv_tensors.KeyPoints(square + SIZE / 2, canvas_size=(SIZE, SIZE))
    moved = train_preset(Item(blob(48, 48), points), rules, config, np.random.default_rng(seed))
    return moved.target.as_subclass(Tensor) - SIZE / 2


def test_zoom_turn_and_shift_stay_in_their_ranges_and_use_them():
    zooms, turns, shifts = [], [], []
    config = AugmentConfig(**STILL, geometry=1, max_rotation=30, min_scale=0.8, max_scale=1.25, max_shift=0.1)
    for seed in range(200):
        moved = corners(config, seed, TaskRules(max_rotation=90.0))
        shifts.append(moved.mean(dim=0) / SIZE)
        across = (moved[1] - moved[0]) / 16
        zooms.append(float(across.norm()))
        turns.append(float(torch.rad2deg(torch.atan2(across[1], across[0]))))
    assert 0.8 <= min(zooms) < 0.83
    assert 1.2 < max(zooms) <= 1.25 + 1e-5
    assert -30 <= min(turns) < -27
    assert 27 < max(turns) <= 30
    shift = torch.stack(shifts)
    for axis in (0, 1):
        assert -0.1 <= shift[:, axis].min() < -0.09
        assert 0.09 < shift[:, axis].max() <= 0.1


def test_zooming_in_and_out_is_equally_likely():
    config = AugmentConfig(**STILL, geometry=1, max_rotation=0, min_scale=0.25, max_scale=4, max_shift=0)
    widths = [float(corners(config, seed)[1, 0]) for seed in range(200)]
    assert sum(width < 8 for width in widths) == pytest.approx(100, abs=25)  # even in the logarithm, not in the factor
    assert max(widths) > 24


def test_a_mask_holds_no_class_that_was_not_there():
    rows, columns = np.mgrid[:SIZE, :SIZE]
    mask = tv_tensors.Mask(torch.from_numpy((((rows // 8 + columns // 8) % 2) * 4).astype(np.uint8)))
    for seed in range(5):
        moved = train_preset(Item(blob(48, 48), mask), FREE, GEOMETRY, np.random.default_rng(seed)).target
        assert moved.unique().tolist() == [0, 4]


def test_a_box_that_would_become_thinner_than_a_pixel_stays():
    config = AugmentConfig(**STILL, geometry=1, min_scale=0.5, max_scale=0.5, max_rotation=0, max_shift=0)
    thin = tv_tensors.BoundingBoxes(torch.tensor([[40.0, 40, 41.5, 60]]), format="XYXY", canvas_size=(SIZE, SIZE))
    wide = tv_tensors.BoundingBoxes(torch.tensor([[40.0, 40, 44, 60]]), format="XYXY", canvas_size=(SIZE, SIZE))
    rules = TaskRules(max_rotation=0.0)
    assert torch.equal(train_preset(Item(blob(41, 50), thin), rules, config, np.random.default_rng(0)).target, thin)
    moved = train_preset(Item(blob(41, 50), wide), rules, config, np.random.default_rng(0)).target
    assert moved.tolist() == [[44, 44, 46, 54]]


def test_the_smaller_of_recipe_and_task_limits_the_turn():
    config = AugmentConfig(**STILL, geometry=1, max_rotation=30, min_scale=1, max_scale=1, max_shift=0)
    for limits in (TaskRules(max_rotation=5.0), TaskRules(max_rotation=90.0)):
        moved = torch.stack([corners(config, seed, limits)[1] - corners(config, seed, limits)[0] for seed in range(40)])
        most = float(torch.rad2deg(torch.atan2(moved[:, 1], moved[:, 0])).abs().max())
        limit = min(30, limits.max_rotation)
        assert 0.8 * limit < most <= limit


@pytest.mark.parametrize(("name", "axis"), [("hflip", 0), ("vflip", 1)])
def test_flips_happen_as_often_as_the_recipe_says_and_along_their_axis(name, axis):
    flipped = 0
    for seed in range(200):
        moved = corners(AugmentConfig(**STILL, **{name: 0.3}), seed)
        if moved[0, axis] > 0:
            flipped += 1
            assert moved[0, 1 - axis] < 0
    assert flipped == pytest.approx(60, abs=22)
    assert corners(AugmentConfig(**STILL, vflip=1.0), 0, TaskRules())[0].tolist() == [-8, -8]  # not allowed


def test_most_of_a_box_stays_in_sight():
    config = AugmentConfig(**STILL, geometry=1, min_scale=1, max_scale=1, max_shift=0.3)
    box = tv_tensors.BoundingBoxes(torch.tensor([[4.0, 40, 24, 60]]), format="XYXY", canvas_size=(SIZE, SIZE))
    least = 1.0
    for seed in range(60):
        rules = TaskRules(max_rotation=0.0)
        moved = train_preset(Item(blob(14, 50), box), rules, config, np.random.default_rng(seed)).target
        least = min(least, float((moved[0, 2:] - moved[0, :2]).prod()) / 400)
    assert 0.6 <= least < 0.85


@pytest.mark.parametrize("also", [False, True])
def test_what_would_leave_the_image_stays_where_it_was(also):
    """After a few tries; a truth that moves with another one counts as much."""
    config = AugmentConfig(**STILL, geometry=1, min_scale=3, max_scale=3, max_rotation=0)
    corner = tv_tensors.KeyPoints(torch.tensor([[1.0, 1.0]]), canvas_size=(SIZE, SIZE))
    middle = tv_tensors.KeyPoints(torch.tensor([[48.0, 48.0]]), canvas_size=(SIZE, SIZE))
    item = Item(blob(48, 48), middle, (corner,)) if also else Item(blob(48, 48), corner)
    moved = train_preset(item, FREE, config, np.random.default_rng(0))
    assert torch.equal(moved.image, item.image)
    assert torch.equal(moved.also[0] if also else moved.target, corner)


def painted(name, seed, value=100, **more):
    image = tv_tensors.Image(torch.full((3, SIZE, SIZE), value, dtype=torch.uint8))
    config = AugmentConfig(**{**STILL, name: 1.0, **more})
    return train_preset(Item(image, torch.tensor(0)), FREE, config, np.random.default_rng(seed)).image


def test_brightness_and_contrast_are_one_line_over_the_grey_values():
    ramp = torch.arange(256).repeat(3, SIZE, 1)[..., 60:156].to(torch.uint8)
    slopes, shifts = [], []
    for seed in range(60):
        config = AugmentConfig(brightness_contrast=1, noise=0, change=0.1)
        moved = train_preset(Item(tv_tensors.Image(ramp), torch.tensor(0)), FREE, config, np.random.default_rng(seed))
        line = moved.image[0, 0].double()
        slope = float(line[-1] - line[0]) / 95
        slopes.append(slope)
        shifts.append(float(line[0] - 60 * slope) / 255)
        assert (line - (slope * torch.arange(60, 156) + float(line[0]) - 60 * slope)).abs().max() < 1.5
    for values, centre in ((slopes, 1), (shifts, 0)):
        assert centre - 0.11 < min(values) < centre - 0.07
        assert centre + 0.07 < max(values) < centre + 0.11


def test_gamma_noise_and_gain_stay_in_their_ranges():
    grey = 100 / 255
    powers = [float(np.log(painted("gamma", seed)[0, 0, 0].item() / 255) / np.log(grey)) for seed in range(60)]
    assert 0.69 < min(powers) < 0.8
    assert 1.25 < max(powers) < 1.42
    spreads = [float((painted("noise", seed).float() / 255).std()) for seed in range(40)]
    assert max(spreads) == pytest.approx(0.08, abs=0.012)
    assert min(spreads) < 0.02
    assert float((painted("noise", 1).float() / 255).mean()) == pytest.approx(grey, abs=0.005)
    gains = torch.stack([painted("depth_gain", seed)[0].float().mean(dim=1) / 100 for seed in range(40)])
    assert 0.59 < gains.min() < 0.68
    assert 1.45 < gains.max() < 1.66
    one = painted("depth_gain", 0)[0].float()
    assert (one.std(dim=1) == 0).all()  # along a row nothing changes
    assert one[:, 0].std() > 1


def test_a_shadow_darkens_downwards_and_haze_brightens_the_near_field():
    shaded = torch.stack([painted("shadow", seed)[0].float() for seed in range(30)])
    assert shaded.max() <= 100
    assert (shaded[:, :8].mean(), shaded[:, -8:].mean()) == (pytest.approx(100, abs=1), pytest.approx(88, abs=8))
    assert 15 < shaded.min() < 35  # a strength of 0.8 at most
    hazy = torch.stack([painted("haze", seed)[0].float() for seed in range(30)])
    assert hazy.min() >= 100
    assert hazy[:, :8].mean() > hazy[:, -8:].mean() + 5


def test_speckle_multiplies():
    dark, bright = (painted("speckle", 3, value)[0].float() / value for value in (60, 120))
    torch.testing.assert_close(dark, bright, atol=0.02, rtol=0)
    spreads = [float(painted("speckle", seed)[0].float().std()) / 100 for seed in range(40)]
    assert 0.01 < min(spreads) < 0.08
    assert 0.12 < max(spreads) < 0.31


def test_probabilities_of_grey_value_effects():
    changed = sum(
        not torch.equal(
            train_preset(Item(blob(48, 48, 20), torch.tensor(0)), FREE, AugmentConfig(**STILL, gamma=0.3),
                         np.random.default_rng(seed)).image, blob(48, 48, 20))
        for seed in range(200)
    )  # fmt: skip
    assert changed == pytest.approx(60, abs=22)


def test_a_blur_is_that_of_a_somewhat_coarser_probe():
    spreads = []
    for seed in range(40):
        config = AugmentConfig(**STILL, blur=1)
        moved = train_preset(Item(blob(48, 48), torch.tensor(0)), FREE, config, np.random.default_rng(seed)).image[0]
        weights, cells = moved.double().sum(dim=0), torch.arange(SIZE) + 0.5 - 48
        spreads.append(float((weights @ cells.double() ** 2) / weights.sum()) ** 0.5)
    # A spot of 3 pixels, widened by 0.4 to 1.6.
    assert np.hypot(3, 0.4) - 0.1 < min(spreads) < np.hypot(3, 0.8)
    assert np.hypot(3, 1.4) - 0.1 < max(spreads) < np.hypot(3, 1.6) + 0.05


def test_stored_pictures_are_as_bad_as_their_quality_says():
    noise = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    image = tv_tensors.Image(torch.from_numpy(noise).permute(2, 0, 1).contiguous())

    def error(stored):
        return float(np.abs(stored.astype(float) - noise).mean())

    def at(quality):
        stream = io.BytesIO()
        PIL.Image.fromarray(noise).save(stream, "JPEG", quality=quality)
        return error(np.asarray(PIL.Image.open(stream)))

    errors = []
    for seed in range(60):
        config = AugmentConfig(**STILL, jpeg=1)
        moved = train_preset(Item(image, torch.tensor(0)), FREE, config, np.random.default_rng(seed)).image
        errors.append(error(moved.permute(1, 2, 0).numpy()))
    assert at(59) - 0.5 < min(errors) < at(50)
    assert at(22) < max(errors) < at(15) + 0.5


def moves(config, count=600, rules=FREE):
    """What happened to images: a set of `flip`, `rotation`, `zoom` for each."""
    happened = []
    for seed in range(count):
        across, down = (lambda c: (c[1] - c[0], c[3] - c[0]))(corners(config, seed, rules))
        angle = float(torch.rad2deg(torch.atan2(down[0], down[1])))  # a flip leaves the vertical where it is
        flipped = float(across[0] * down[1] - across[1] * down[0]) < 0
        zoomed = abs(float(down.norm()) / 16 - 1) > 1e-4
        happened.append(frozenset(
            name for name, is_so in (("flip", flipped), ("rotation", abs(angle) > 1e-3), ("zoom", zoomed)) if is_so
        ))  # fmt: skip
    return happened


def shares(happened):
    return {name: sum(name in one for one in happened) / len(happened) for name in ("flip", "rotation", "zoom")}


PUBLISHED = {**STILL, "hflip": 0.5, "geometry": 1, "rotation": 0.5, "min_scale": 0.8, "max_scale": 1.2, "max_shift": 0}


def test_a_flipped_image_is_not_rotated_and_every_image_is_zoomed():
    happened = moves(AugmentConfig(**PUBLISHED, exclusive="rotation"))
    assert not any({"flip", "rotation"} <= one for one in happened)
    assert shares(happened) == pytest.approx({"flip": 0.5, "rotation": 0.25, "zoom": 1.0}, abs=0.08)


def test_an_image_gets_at_most_one_of_flip_rotation_and_zoom():
    happened = moves(AugmentConfig(**PUBLISHED, zoom=0.5, exclusive="all"))
    assert max(map(len, happened)) == 1
    assert shares(happened) == pytest.approx({"flip": 0.5, "rotation": 0.25, "zoom": 0.125}, abs=0.08)


def test_without_exclusion_all_three_are_independent():
    happened = moves(AugmentConfig(**PUBLISHED, zoom=0.5))
    assert shares(happened) == pytest.approx({"flip": 0.5, "rotation": 0.5, "zoom": 0.5}, abs=0.1)
    assert {frozenset(), frozenset({"flip", "rotation", "zoom"})} <= set(happened)


def test_a_task_that_must_not_be_rotated_is_zoomed_instead():
    happened = moves(AugmentConfig(**PUBLISHED, zoom=0.5, exclusive="all"), rules=TaskRules(max_rotation=0.0))
    assert shares(happened) == pytest.approx({"flip": 0.5, "rotation": 0, "zoom": 0.25}, abs=0.08)
