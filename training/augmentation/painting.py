"""The effects on grey values that a recipe asks for, in their order: drawn for one image, painted on many."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.augmentation import appearance, exposure
from training.augmentation import ultrasound_effects as ultrasound
from training.augmentation.appearance import Donor
from training.augmentation.effect import Effect, Paint
from training.augmentation.settings import AugmentConfig

Painting = Mapping[str, Any]
"""What was drawn for one image, by the effect's name in the recipe; effects that it does not get are absent."""


def _effects(config: AugmentConfig, donor: Donor) -> dict[str, Effect]:
    """Return all effects in the order in which they are painted."""
    return {
        "style": appearance.style(donor),
        "grey_curve": appearance.grey_curve,
        "brightness_contrast": exposure.brightness_contrast(config.change),
        "gamma": exposure.gamma,
        "depth_gain": ultrasound.depth_gain,
        "shadow": ultrasound.shadow,
        "haze": ultrasound.haze,
        "speckle": ultrasound.speckle,
        "noise": exposure.noise,
        "blur": exposure.blur,
        "resolution": appearance.resolution,
        "marks": appearance.marks,
        "jpeg": exposure.jpeg,
    }


def _no_donor(_: np.random.Generator) -> Tensor:
    """Stand in where nothing is drawn: painting uses the donor that was drawn before."""
    raise AssertionError("an effect drew a donor image while it was painted")


_PAINTS: Mapping[str, Paint] = {name: effect.paint for name, effect in _effects(AugmentConfig(), _no_donor).items()}


def draw_painting(config: AugmentConfig, rng: np.random.Generator, shape: tuple[int, int], donor: Donor) -> Painting:
    """Draw which effects an image of `shape` (channels, side) gets, and how."""
    effects = _effects(config, donor)
    chosen = [name for name in effects if (chance := getattr(config, name)) and rng.random() < chance]
    return {name: effects[name].draw(rng, shape) for name in chosen}


def painted(images: Tensor, paintings: Sequence[Painting]) -> Tensor:
    """Paint a batch, (B, C, S, S) uint8, on the device where it is; each effect on the images that get it.

    C is 1 or 3; `marks` needs 3, or makes three channels of a batch that gets them throughout. Painted one by one or
    as a batch, on any device, images differ by 1 grey level in rounding, by a few where a curve is steep.
    """
    if not any(paintings):
        return images
    x = images.float() / 255
    for name, paint in _PAINTS.items():
        rows = [row for row, painting in enumerate(paintings) if name in painting]
        drawn = [paintings[row][name] for row in rows]
        if len(rows) == len(images):
            x = paint(x, drawn).clamp(0, 1)
        elif rows:
            x[rows] = paint(x[rows], drawn).clamp(0, 1)
    return (x * 255).round().to(torch.uint8)
