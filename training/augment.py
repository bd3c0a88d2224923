"""The two presets, side by side: what an image and its truth go through in training and in evaluation.

torchvision's tv_tensors move image, mask, box and points together. Every random number comes from the generator that
is handed in, so that a row looks the same whichever process prepares it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from training import ultrasound_effects as ultrasound
from training.config import AugmentConfig, DataConfig
from training.point_order import in_order
from training.task_rules import TaskRules

_TRIES = 5
_LEAST_VISIBLE = 0.6  # of a box's area; less, and the object may no longer be what the label says
_GAMMA = (0.7, 1.4)
_NOISE = 0.08


@dataclass(frozen=True)
class Item:
    """A row on the network's grid of S x S pixels.

    `image` is (3, S, S) uint8. `target` is a Mask (S, S) uint8, a BoundingBoxes (1, 4) XYXY, a KeyPoints (M, 2) with
    NaN for missing points (both float32, in continuous grid pixels: the first pixel is 0..1), or a class, () int64.
    `also` are the same image's targets for other tasks, which move with it.
    """

    image: tv_tensors.Image
    target: Tensor
    also: tuple[Tensor, ...] = ()

    def moved(self, image: tv_tensors.Image, move: Callable[[Tensor], Tensor]) -> "Item":
        """Return the moved image with every target moved; a class stays what it is."""
        first, *others = (
            move(target) if isinstance(target, tv_tensors.TVTensor) else target for target in (self.target, *self.also)
        )
        return Item(image, first, tuple(others))


def train_preset(item: Item, rules: TaskRules, config: AugmentConfig, rng: np.random.Generator) -> Item:
    """Move (as far as the task allows), change the grey values, put the points into their order."""
    item = _moved(item, rules, config, rng)
    item = replace(item, image=_repainted(item.image, config, rng))
    return replace(item, target=in_order(item.target, rules.pairs))


def eval_preset(item: Item, rules: TaskRules) -> Item:
    """Put the points into their order; nothing is random."""
    return replace(item, target=in_order(item.target, rules.pairs))


def normalise(images: Tensor, config: DataConfig) -> Tensor:
    """(B, 3, S, S) uint8 or 0..255 float -> float32, by the mean and std that the weights record."""
    mean = torch.tensor(config.mean, device=images.device).view(1, -1, 1, 1)
    std = torch.tensor(config.std, device=images.device).view(1, -1, 1, 1)
    return (images.float() / 255 - mean) / std


def _moved(item: Item, rules: TaskRules, config: AugmentConfig, rng: np.random.Generator) -> Item:
    """Flip, rotate, zoom and shift; drawn again if the target would leave the image."""
    hflip = rng.random() < config.hflip and rules.hflip
    vflip = rng.random() < config.vflip and rules.vflip
    if hflip:
        item = item.moved(F.horizontal_flip(item.image), partial(_flipped, axis=0))
    if vflip:
        item = item.moved(F.vertical_flip(item.image), partial(_flipped, axis=1))
    if rng.random() >= config.geometry:
        return item
    size = item.image.shape[-1]
    limit = min(config.max_rotation, rules.max_rotation)
    for _ in range(_TRIES):
        angle = rng.uniform(-limit, limit)
        scale = float(np.exp(rng.uniform(np.log(config.min_scale), np.log(config.max_scale))))
        shift = [round(size * rng.uniform(-config.max_shift, config.max_shift)) for _ in range(2)]
        moved = item.moved(item.image, partial(_turned, angle=angle, shift=shift, scale=scale))
        if all(_is_visible(target) for target in (moved.target, *moved.also)):
            image = F.affine(item.image, angle, shift, scale, [0.0, 0.0], interpolation=InterpolationMode.BILINEAR)
            return moved.moved(image, _clamped)
    return item


def _turned(target: Tensor, angle: float, shift: list[int], scale: float) -> Tensor:
    if isinstance(target, tv_tensors.BoundingBoxes):
        # What is cut off at the image's edge has lost its centre; `_clamped` cuts in the end.
        target = tv_tensors.wrap(target.as_subclass(Tensor), like=target, clamping_mode=None)
    turned: Tensor = F.affine(target, angle, shift, scale, [0.0, 0.0])
    if isinstance(target, tv_tensors.BoundingBoxes):
        # torchvision returns the box around the turned box; what is in it is rather the ellipse that it holds.
        width, height = (target[:, 2:] - target[:, :2]).as_subclass(Tensor).unbind(dim=1)
        cosine, sine = scale * math.cos(math.radians(angle)), scale * math.sin(math.radians(angle))
        across, down = torch.hypot(width * cosine, height * sine), torch.hypot(width * sine, height * cosine)
        plain = turned.as_subclass(Tensor)
        centre, half = (plain[:, :2] + plain[:, 2:]) / 2, torch.stack([across, down], dim=1) / 2
        turned = tv_tensors.wrap(torch.cat([centre - half, centre + half], dim=1), like=target)
    return turned


def _flipped(target: Tensor, axis: int) -> Tensor:
    flipped: Tensor = (F.horizontal_flip, F.vertical_flip)[axis](target)
    if isinstance(target, tv_tensors.KeyPoints):
        # torchvision flips points as pixel numbers, x -> S - 1 - x; ours are continuous like its boxes, x -> S - x.
        flipped[:, axis] += 1
    return flipped


def _area(target: Tensor) -> float:
    return float((target[:, 2:] - target[:, :2]).prod())


def _is_visible(target: Tensor) -> bool:
    if isinstance(target, tv_tensors.KeyPoints):
        known = target[~target.isnan()]
        return bool(((known >= 0) & (known <= target.canvas_size[0])).all())
    if isinstance(target, tv_tensors.BoundingBoxes):
        box = _clamped(target)
        return bool((box[:, 2:] - box[:, :2] >= 1).all()) and _area(box) >= _LEAST_VISIBLE * _area(target)
    return True


def _clamped(target: Tensor) -> Tensor:
    if not isinstance(target, tv_tensors.BoundingBoxes):
        return target
    clamped: Tensor = F.clamp_bounding_boxes(target, clamping_mode="hard")
    return clamped


def _repainted(image: tv_tensors.Image, config: AugmentConfig, rng: np.random.Generator) -> tv_tensors.Image:
    """Grey values. Brightness, contrast and noise are the official recipe's (arXiv 2602.01055)."""
    effects: list[tuple[float, ultrasound.Effect]] = [
        (config.brightness_contrast, lambda x, rng: _brightness_contrast(x, config.change, rng)),
        (config.gamma, lambda x, rng: x ** rng.uniform(*_GAMMA)),
        (config.depth_gain, ultrasound.depth_gain),
        (config.shadow, ultrasound.shadow),
        (config.haze, ultrasound.haze),
        (config.speckle, ultrasound.speckle),
        (config.noise, _noise),
    ]
    chosen = [effect for probability, effect in effects if rng.random() < probability]
    if not chosen:
        return image
    x = image.as_subclass(Tensor).float() / 255
    for effect in chosen:
        x = effect(x, rng).clamp(0, 1)
    return tv_tensors.Image((x * 255).round().to(torch.uint8))


def _brightness_contrast(x: Tensor, change: float, rng: np.random.Generator) -> Tensor:
    contrast, brightness = map(float, rng.uniform(-change, change, 2))
    return x * (1 + contrast) + brightness


def _noise(x: Tensor, rng: np.random.Generator) -> Tensor:
    amplitude = rng.uniform(0, _NOISE)
    return x + amplitude * torch.from_numpy(rng.standard_normal(x.shape, np.float32))
