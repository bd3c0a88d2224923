"""A batch that is painted at once looks as its images painted one by one, for the same seed."""

import numpy as np
import pytest
import torch
from unit.training.recipes import tiny_config

from training.augmentation.painting import draw_painting, painted
from training.augmentation.settings import AugmentConfig
from training.data.rows import DataSource, load_parts
from training.data.sampling import Draw
from training.distributed import Ranks
from training.loop.parts import dataset_of

SIZE = 64
EFFECTS = ("style", "grey_curve", "brightness_contrast", "gamma", "depth_gain", "shadow", "haze", "speckle", "noise",
           "blur", "resolution", "marks", "jpeg")  # fmt: skip
COARSE = ("style", "jpeg")
"""Rounding decides a level of a histogram or a coefficient: a few pixels differ by more than one grey level."""


def grey_images(count):
    places = torch.linspace(0, 9, SIZE)
    waves = [120 + 60 * torch.sin(places * (1 + n / 3))[:, None] * torch.cos(places)[None] for n in range(count)]
    return torch.stack(waves).round().to(torch.uint8)[:, None]


def donor(_):
    return grey_images(1)[0].expand(3, -1, -1) // 2


def difference(config, count=6):
    """Grey levels between both ways: images of one channel alone, of three in a batch."""
    images = grey_images(count)
    paintings = [draw_painting(config, np.random.default_rng(seed), (1, SIZE), donor) for seed in range(count)]
    alone = torch.stack([painted(image[None], [p])[0].expand(3, -1, -1) for image, p in zip(images, paintings)])  # noqa: B905
    together = painted(images.expand(-1, 3, -1, -1).contiguous(), paintings)
    assert together.dtype == torch.uint8
    return (alone.int() - together.int()).abs(), [set(painting) for painting in paintings]


@pytest.mark.parametrize("name", EFFECTS)
def test_each_effect_is_the_same_alone_and_in_a_batch(name):
    config = AugmentConfig(**{"brightness_contrast": 0, "noise": 0, name: 1})
    apart, names = difference(config)
    assert names == [{name}] * 6
    assert apart.float().mean() < 0.02
    assert apart.max() <= (16 if name in COARSE else 1)


def test_effects_reach_only_the_images_that_got_them():
    config = AugmentConfig(**{"brightness_contrast": 0.5, "noise": 0.5, "blur": 0.5, "speckle": 0.5, "gamma": 0.5})
    apart, names = difference(config, 12)
    assert len({frozenset(each) for each in names}) > 4
    assert apart.max() <= 1
    still = grey_images(2)
    assert torch.equal(painted(still, [{}, {}]), still)


def test_the_loader_hands_out_the_same_images_either_way(four_kinds, tmp_path):
    augment = {"noise": 0.5, "speckle": 0.5, "geometry": 1.0, "blur": 0.5, "haze": 0.5, "hflip": 0.5}
    whole, later = (tiny_config(augment=augment, runtime={"augment_on": place}) for place in ("workers", "device"))
    train, _ = load_parts(DataSource(four_kinds, tmp_path), whole.data, whole.runtime, Ranks())
    draw = Draw("breast_lesion", (0, 1, 2), ((0, 0), (0, 1), (0, 2)))
    done, drawn = dataset_of(whole, train)[draw], dataset_of(later, train)[draw]
    assert not done.paintings
    assert len(drawn.paintings) == 3
    assert torch.equal(done.targets["breast_lesion"], drawn.targets["breast_lesion"])
    assert not torch.equal(done.images, drawn.images)
    assert (painted(drawn.images, drawn.paintings).int() - done.images.int()).abs().max() <= 1
