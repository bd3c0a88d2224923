"""The two presets, side by side: what an image and its truth go through in training and in evaluation.

torchvision's tv_tensors move image, mask, box and points together. Every random number comes from the generator that
is handed in, so that a row looks the same whichever process prepares it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from training.augmentation.appearance import Donor
from training.augmentation.painting import Painting, draw_painting, painted
from training.augmentation.point_order import in_order
from training.augmentation.resample import Resampling
from training.augmentation.settings import AugmentConfig
from training.augmentation.task_rules import TaskRules

_TRIES = 5
_LEAST_VISIBLE = 0.6  # of a box's area; less, and the object may no longer be what the label says


@dataclass(frozen=True)
class Item:
    """A row on the network's grid of S x S pixels.

    `image` is (3, S, S) uint8, not always contiguous. `target` is a Mask (S, S) uint8, a BoundingBoxes (1, 4) XYXY, a
    KeyPoints (M, 2) with NaN for missing points (both float32, in continuous grid pixels: the first pixel is 0..1), or
    a class, () int64. `also` are the same image's targets for other tasks, which move with it. `aspect` is how much
    wider than high a square of the grid is in native pixels; rotations need it.
    """

    image: tv_tensors.Image
    target: Tensor
    also: tuple[Tensor, ...] = ()
    aspect: float = 1.0

    def moved(self, image: tv_tensors.Image, move: Callable[[Tensor], Tensor]) -> "Item":
        """Return the moved image with every target moved; a class stays what it is."""
        first, *others = (
            move(target) if isinstance(target, tv_tensors.TVTensor) else target for target in (self.target, *self.also)
        )
        return Item(image, first, tuple(others), self.aspect)


def _black(rng: np.random.Generator) -> Tensor:
    """Return an image without a style."""
    return torch.zeros(3, 8, 8, dtype=torch.uint8)


def train_preset(
    item: Item, rules: TaskRules, config: AugmentConfig, rng: np.random.Generator, donor: Donor = _black
) -> Item:
    """Move (as far as the task allows), change the grey values, put the points into their order."""
    item, painting = drawn_preset(item, rules, config, rng, donor)
    image = painted(item.image.as_subclass(Tensor)[None], [painting])[0]
    return replace(item, image=tv_tensors.Image(image.expand(3, -1, -1)))


def drawn_preset(
    item: Item, rules: TaskRules, config: AugmentConfig, rng: np.random.Generator, donor: Donor = _black
) -> tuple[Item, Painting]:
    """Do as `train_preset`, but return what is to be painted, for `painted` to do it later.

    A grey picture is worked on as one channel, which takes a third of the time: the item's image has one then.
    """
    if _is_grey(item.image):
        item = replace(item, image=tv_tensors.Image(item.image[:1].contiguous()))
    item = _moved(item, rules, config, rng)
    painting = draw_painting(config, rng, (item.image.shape[0], item.image.shape[-1]), donor)
    return replace(item, target=in_order(item.target, rules.pairs)), painting


def _is_grey(image: Tensor) -> bool:
    return torch.equal(image[0], image[1]) and torch.equal(image[0], image[2])


def eval_preset(item: Item, rules: TaskRules) -> Item:
    """Put the points into their order; nothing is random."""
    return replace(item, target=in_order(item.target, rules.pairs))


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(B, 3, S, S) uint8 or 0..255 float -> float32, by the `mean` and `std` (one per channel) of the weights."""
    means, deviations = (torch.tensor(values, device=images.device).view(1, -1, 1, 1) for values in (mean, std))
    return (images.float() / 255 - means) / deviations


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
    rotates, zooms = _parts(config, rules, rng, flipped=hflip or vflip)
    if not (rotates or zooms or config.max_shift):
        return item
    limit = min(config.max_rotation, rules.max_rotation) if rotates else 0.0
    for _ in range(_TRIES):
        angle = rng.uniform(-limit, limit)
        scale = float(np.exp(rng.uniform(np.log(config.min_scale), np.log(config.max_scale)))) if zooms else 1.0
        shift = rng.uniform(-config.max_shift, config.max_shift, 2)
        motion = _Motion.of(item, angle, scale, shift)
        moved = item.moved(item.image, motion.target)
        if all(_is_visible(target) for target in (moved.target, *moved.also)):
            return moved.moved(motion.resampled(item.image), _clamped)
    return item


def _parts(config: AugmentConfig, rules: TaskRules, rng: np.random.Generator, *, flipped: bool) -> tuple[bool, bool]:
    """Return whether an image is rotated and whether it is zoomed, by `config.exclusive`.

    UltraUPConvNet (arXiv 2509.11108) flips or else rotates, and always zooms. PerceptGuide (Medical Image Analysis 104,
    103639) does one of the three at most.
    """
    rotates = rules.max_rotation > 0 and not (flipped and config.exclusive != "none") and _happens(config.rotation, rng)
    zooms = not ((flipped or rotates) and config.exclusive == "all") and _happens(config.zoom, rng)
    return rotates, zooms


def _happens(probability: float, rng: np.random.Generator) -> bool:
    """Return whether an event happens. A certain one takes no random number: older recipes draw what they drew."""
    return probability >= 1 or rng.random() < probability


@dataclass(frozen=True)
class _Motion:
    """p -> matrix @ p + offset, in continuous grid pixels x, y, on a grid of `size` pixels."""

    matrix: npt.NDArray[np.float64]
    offset: npt.NDArray[np.float64]
    size: int

    @classmethod
    def of(cls, item: Item, degrees: float, scale: float, shift: npt.NDArray[np.float64]) -> "_Motion":
        """Rotate (clockwise) and zoom about the centre, in native proportions; shift by parts of the image's sides.

        The grid may be a stretched image. Rotating that would distort it: right angles would not stay right.
        """
        cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        matrix = scale * np.array([[cosine, -sine / item.aspect], [sine * item.aspect, cosine]])
        size = item.image.shape[-1]
        centre = np.full(2, size / 2)
        return cls(matrix, centre - matrix @ centre + size * shift, size)

    def target(self, target: Tensor) -> Tensor:
        """Move a mask, box or points."""
        if isinstance(target, tv_tensors.Mask):
            return self.resampled(target)
        matrix = torch.from_numpy(self.matrix).to(target.dtype)
        offset = torch.from_numpy(self.offset).to(target.dtype)
        plain = target.as_subclass(Tensor)
        if isinstance(target, tv_tensors.BoundingBoxes):
            # What is in a box is rather the ellipse that it holds than its corners.
            centre = (plain[:, :2] + plain[:, 2:]) / 2 @ matrix.T + offset
            half = (((plain[:, 2:] - plain[:, :2]) / 2) ** 2 @ (matrix**2).T).sqrt()
            plain = torch.cat([centre - half, centre + half], dim=1)
        else:
            plain = plain @ matrix.T + offset
        wrapped: Tensor = tv_tensors.wrap(plain, like=target)
        return wrapped

    def resampled(self, image: Tensor) -> Tensor:
        """Move an image or a mask; what comes from outside is 0."""
        plain = image.as_subclass(Tensor)
        sampled = self._resampling.mask(plain) if isinstance(image, tv_tensors.Mask) else self._resampling.image(plain)
        moved: Tensor = tv_tensors.wrap(sampled, like=image)
        return moved

    @cached_property
    def _resampling(self) -> Resampling:
        return Resampling(self.matrix, self.offset, self.size)


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
