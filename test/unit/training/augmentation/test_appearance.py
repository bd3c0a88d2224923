"""Looks of other machines: grey curves rise, a style is the donor's, resolution and marks change what they should."""

import numpy as np
import pytest
import torch

from training.augmentation import appearance

SIZE = 96


@pytest.fixture
def picture():
    """Grey values with structure in a frame of black."""
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    grey = 0.4 + 0.25 * torch.sin(rows / 5.0) * torch.cos(columns / 7.0)
    grey[:8], grey[-8:] = 0, 0
    return grey.repeat(3, 1, 1)


def styled(x, donor, rng):
    return appearance.style(lambda _: (donor * 255).round().to(torch.uint8))(x, rng)


EFFECTS = {
    "grey_curve": appearance.grey_curve,
    "style": lambda x, rng: styled(x, x * 0.5, rng),
    "resolution": appearance.resolution,
    "marks": appearance.marks,
}


@pytest.mark.parametrize("name", EFFECTS)
def test_an_effect_keeps_shape_and_type_and_depends_on_the_generator_alone(name, picture):
    first, again, other = (EFFECTS[name](picture, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first.shape == picture.shape
    assert first.dtype == torch.float32
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (first - picture).abs().mean() > 0.001


@pytest.mark.parametrize("name", ["grey_curve", "style"])
def test_curves_rise_and_black_stays_black(name, picture):
    for seed in range(8):
        changed = EFFECTS[name](picture, np.random.default_rng(seed))
        assert not changed[picture == 0].any()
        order = picture.flatten().argsort()
        assert (changed.flatten()[order].diff() >= -0.005).all()


def test_the_style_is_that_of_the_donor(picture, monkeypatch):
    class Whole:
        def uniform(self, least, most):
            return most

    donor = (picture * 0.3 + 0.6) * (picture > 0)
    changed = styled(picture, donor, Whole())
    bright = picture > 0
    torch.testing.assert_close(changed[bright].quantile(0.5), donor[bright].quantile(0.5), atol=0.02, rtol=0)
    torch.testing.assert_close(changed[bright].std(), donor[bright].std(), atol=0.02, rtol=0)


def test_a_black_donor_has_no_style(picture):
    assert torch.equal(styled(picture, torch.zeros(3, 8, 8), np.random.default_rng(0)), picture)


def test_a_lower_resolution_has_less_detail_in_the_same_place(picture):
    for seed in range(4):
        coarse = appearance.resolution(picture, np.random.default_rng(seed))
        assert coarse.diff(dim=2).abs().mean() < picture.diff(dim=2).abs().mean() * 1.05
        assert (coarse.mean() - picture.mean()).abs() < 0.02


def test_marks_cover_little_of_the_picture(picture):
    for seed in range(4):
        touched = ((appearance.marks(picture, np.random.default_rng(seed)) - picture).abs() > 0.01).any(dim=0)
        assert 0 < touched.float().mean() < 0.2
