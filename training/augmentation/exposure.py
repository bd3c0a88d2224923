"""What any camera, screen or file does to grey values: brightness, contrast, gamma, noise, blur, JPEG."""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from training.augmentation.effect import Effect, column, stacked

Floats = npt.NDArray[np.float32]
Shape = tuple[int, int]

_GAMMA = (0.7, 1.4)
_NOISE = 0.08
_BLUR = (0.4, 1.6)  # standard deviation in grid pixels
_JPEG = (15, 60)  # quality
_SIDE = 8  # of JPEG's blocks
_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
"""Steps of the coefficients of brightness at quality 50 (ITU-T T.81, table K.1)."""
_CHROMINANCE = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *(99,) * 32,
)  # fmt: skip
"""The same for colours (table K.2)."""
_BRIGHTNESS_AND_COLOURS = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
"""RGB -> Y, Cb, Cr (JFIF)."""
_MIDDLE = 128 / 255


def brightness_contrast(change: float) -> Effect:
    """Return the effect that changes both by up to `change`, as the official recipe does (arXiv 2602.01055)."""

    def draw(rng: np.random.Generator, _: Shape) -> tuple[float, float]:
        contrast, brightness = map(float, rng.uniform(-change, change, 2))
        return contrast, brightness

    return Effect(draw, _brightness_contrast)


def _brightness_contrast(x: Tensor, drawn: Sequence[tuple[float, float]]) -> Tensor:
    contrast, brightness = (column(values, x) for values in zip(*drawn, strict=True))
    return x * (1 + contrast) + brightness


def _gamma(x: Tensor, drawn: Sequence[float]) -> Tensor:
    return x.pow(column(drawn, x))


def _draw_noise(rng: np.random.Generator, shape: Shape) -> Floats:
    amplitude = np.float32(rng.uniform(0, _NOISE))
    return np.asarray(amplitude * rng.standard_normal((shape[0], shape[1], shape[1]), np.float32))


def _noise(x: Tensor, drawn: Sequence[Floats]) -> Tensor:
    # The noise of a grey picture is that of all three channels.
    return x + torch.cat([stacked([noise], x).expand(-1, x.shape[1], -1, -1) for noise in drawn])


def _blur(x: Tensor, drawn: Sequence[float]) -> Tensor:
    """Sums of shifted images: a convolution of one channel takes ten times as long."""
    kernels = [_kernel(sigma, max(map(_reach, drawn))) for sigma in drawn]
    weights = [column(weights, x) for weights in zip(*kernels, strict=True)]
    reach, size = len(weights) // 2, x.shape[-1]
    padded = pad(x, (reach,) * 4, mode="reflect")
    down = sum((weight * padded[:, :, i : i + size] for i, weight in enumerate(weights)), torch.zeros(()))
    return sum((weight * down[..., i : i + size] for i, weight in enumerate(weights)), torch.zeros(()))


def _reach(sigma: float) -> int:
    return math.ceil(2 * sigma)


def _kernel(sigma: float, reach: int) -> list[float]:
    """Return the weights at -reach..reach of a Gaussian that ends after two standard deviations."""
    own = _reach(sigma)
    heights = [math.exp(-0.5 * (at / sigma) ** 2) if abs(at) <= own else 0.0 for at in range(-reach, reach + 1)]
    return [height / sum(heights) for height in heights]


def _jpeg(x: Tensor, drawn: Sequence[int]) -> Tensor:
    """Store brightness and, at half the size, colours as the codec does, which runs on a CPU alone."""
    if x.shape[1] == 1:
        return _stored(x - _MIDDLE, drawn, _LUMINANCE) + _MIDDLE
    to_stored = torch.tensor(_BRIGHTNESS_AND_COLOURS, dtype=x.dtype, device=x.device)
    planes = torch.einsum("ij,bjhw->bihw", to_stored, x)
    small = _stored(avg_pool2d(planes[:, 1:], 2, ceil_mode=True), drawn, _CHROMINANCE)
    read = [
        _stored(planes[:, :1] - _MIDDLE, drawn, _LUMINANCE) + _MIDDLE,
        interpolate(small, scale_factor=2, mode="bilinear")[..., : x.shape[2], : x.shape[3]],
    ]
    return torch.einsum("ij,bjhw->bihw", to_stored.inverse(), torch.cat(read, dim=1))


def _stored(x: Tensor, drawn: Sequence[int], table: Sequence[int]) -> Tensor:
    """Round the cosine coefficients of blocks of 8 x 8 pixels to multiples of the steps of each image's quality."""
    height, width = x.shape[2:]
    padded = pad(x, (0, -width % _SIDE, 0, -height % _SIDE), mode="replicate") * 255
    cosines = torch.from_numpy(_cosines()).to(x)
    steps = stacked([np.tile(_steps(quality, table), padded.shape[3] // _SIDE) for quality in drawn], x)
    steps = steps[:, None, None]  # B, 1, 1, 8, W
    coefficients = (_transformed(padded, cosines) / steps).round() * steps
    read = _transformed(coefficients.flatten(2, 3), cosines.T).flatten(2, 3)
    return read[..., :height, :width] / 255


def _transformed(x: Tensor, matrix: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, H / 8, 8, W): `matrix` @ block @ its transpose, for every block of 8 x 8 pixels."""
    images, channels, height, width = x.shape
    rows = matrix @ x.reshape(images, channels, height // _SIDE, _SIDE, width)
    return (rows.reshape(-1, _SIDE) @ matrix.T).reshape(rows.shape)


@lru_cache(maxsize=1)
def _cosines() -> Floats:
    """Return the orthonormal cosine transform of 8 values, (8, 8)."""
    number, place = np.mgrid[:_SIDE, :_SIDE]
    rows = np.cos(np.pi * number * (2 * place + 1) / (2 * _SIDE)) * np.sqrt(2 / _SIDE)
    rows[0] /= np.sqrt(2)
    return np.asarray(rows, np.float32)


def _steps(quality: int, table: Sequence[int]) -> Floats:
    """Return the steps (8, 8) of a quality below 100, as the usual codec scales them."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    steps = (np.array(table).reshape(_SIDE, _SIDE) * scale + 50) // 100
    return np.asarray(steps.clip(1, 255), np.float32)


gamma = Effect(lambda rng, _: rng.uniform(*_GAMMA), _gamma)
noise = Effect(_draw_noise, _noise)
"""Noise of the receiver, the official recipe's (arXiv 2602.01055)."""
blur = Effect(lambda rng, _: float(rng.uniform(*_BLUR)), _blur)
"""Fewer details, as of a coarser probe or a picture that was scaled down once."""
jpeg = Effect(lambda rng, _: int(rng.integers(*_JPEG)), _jpeg)
"""The blocks of a picture that was stored small."""
