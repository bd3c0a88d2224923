"""The recipe's section `[augment]`. Needs no torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from training.ranges import Fraction, Range


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentation. Each entry is a probability unless stated otherwise; `task_rules` says what a task allows.

    `change` is the largest relative change of brightness and contrast. `geometry` is the probability of one
    rotation (up to `max_rotation` degrees and the task's own limit), zoom (`min_scale`..`max_scale`) and shift (up to
    `max_shift` of the image's side), done in one resampling. Of the images that get it, `rotation` are rotated and
    `zoom` are zoomed. `exclusive` says what excludes what: with `rotation` a flipped image is not rotated, with `all`
    an image gets the first alone of flip, rotation and zoom. `blur`, `jpeg` and `resolution` remove details.
    `grey_curve` bends the grey values, `style` gives them the histogram of another training image, `marks` draws
    calipers and characters.
    """

    brightness_contrast: Fraction = 0.2
    change: Fraction = 0.2
    noise: Fraction = 0.1
    gamma: Fraction = 0.0
    hflip: Fraction = 0.0
    vflip: Fraction = 0.0
    geometry: Fraction = 0.0
    rotation: Fraction = 1.0
    zoom: Fraction = 1.0
    exclusive: Literal["none", "rotation", "all"] = "none"
    max_rotation: Annotated[float, Range(0, 180)] = 20.0
    min_scale: Annotated[float, Range(0.1, 10)] = 0.8
    max_scale: Annotated[float, Range(0.1, 10)] = 1.25
    max_shift: Fraction = 0.1
    blur: Fraction = 0.0
    jpeg: Fraction = 0.0
    speckle: Fraction = 0.0
    depth_gain: Fraction = 0.0
    shadow: Fraction = 0.0
    haze: Fraction = 0.0
    grey_curve: Fraction = 0.0
    style: Fraction = 0.0
    resolution: Fraction = 0.0
    marks: Fraction = 0.0
