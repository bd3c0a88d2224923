"""Pictures of poorer quality: noise, gain, blur, compression, contrast, a cut edge. All occur in augmentation too.

Each takes (S, S, 3) uint8 and a generator.
"""

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from training.augmentation import ultrasound_effects
from training.data.pixels import Pixels

Change = Callable[[Pixels, np.random.Generator], Pixels]


def on_tensors(effect: Callable[[Tensor, np.random.Generator], Tensor]) -> Change:
    """Return an effect on (3, S, S) float32 in 0..1 as a change of pixels."""

    def change(pixels: Pixels, rng: np.random.Generator) -> Pixels:
        x = effect(torch.from_numpy(pixels).permute(2, 0, 1).float() / 255, rng)
        painted: Pixels = (x.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        return painted

    return change


speckle = on_tensors(ultrasound_effects.speckle)
gain = on_tensors(ultrasound_effects.depth_gain)


def blur(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Blur of 1.5 pixels."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(1.5)))


def jpeg(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """JPEG of quality 15."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=15)
    return np.asarray(Image.open(stream))


def contrast(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Half the contrast on a grey veil."""
    return (pixels * 0.5 + 40).astype(np.uint8)


def crop(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """The outer 8 % black."""
    edge = pixels.shape[0] * 8 // 100
    kept = np.zeros_like(pixels)
    kept[edge:-edge, edge:-edge] = pixels[edge:-edge, edge:-edge]
    return kept
