"""Image -> network grid: the methods that weights may record. Training and inference use the same code."""

from collections.abc import Callable
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]


class Resampling(StrEnum):
    """How an image is resized to the network's grid; recorded in `weights.json`."""

    ANTIALIASED = "antialiased-bilinear"
    OPENCV = "opencv-bilinear"


def antialiased_bilinear(pixels: Pixels, width: int, height: int) -> Pixels:
    """Pillow's bilinear filter, which widens when it shrinks. (H, W, 3) uint8 -> (height, width, 3) uint8."""
    if _is_grey(pixels):
        grey = _antialiased(np.ascontiguousarray(pixels[..., 0]), width, height)
        return np.repeat(grey[..., None], 3, axis=2)
    return _antialiased(pixels, width, height)


def _is_grey(pixels: Pixels) -> bool:
    """Whether all channels share one block of memory, as the decoder makes them for a grey image."""
    return pixels.strides[2] == 0


def _antialiased(pixels: Pixels, width: int, height: int) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR), dtype=np.uint8)


def opencv_bilinear(pixels: Pixels, width: int, height: int) -> Pixels:
    """Bit-equal to OpenCV's `resize(..., INTER_LINEAR)` on uint8: half-pixel, fixed-point, no antialiasing.

    (H, W, 3) uint8 -> (height, width, 3) uint8. The official baseline was trained on images resized this way.
    """
    rows, columns = pixels.shape[:2]
    if (rows, columns) == (height, width):
        return pixels.copy()
    if _is_grey(pixels):
        return np.repeat(_opencv_bilinear(pixels[..., :1], width, height), 3, axis=2)
    return _opencv_bilinear(pixels, width, height)


def _opencv_bilinear(pixels: Pixels, width: int, height: int) -> Pixels:
    rows, columns = pixels.shape[:2]
    left, right, x_weights = _columns(columns, width)
    upper, lower, y_weights = _rows(rows, height)
    # Only the needed rows, each once; most of a large image is skipped.
    needed, where = np.unique(np.concatenate([upper, lower]), return_inverse=True)
    source = pixels[needed]
    across = source[:, left] * x_weights[0][:, None] + source[:, right] * x_weights[1][:, None]
    above, below = across[where[:height]] >> 4, across[where[height:]] >> 4
    mixed = ((above * y_weights[0][:, None, None]) >> 16) + ((below * y_weights[1][:, None, None]) >> 16)
    resized: Pixels = np.clip((mixed + 2) >> 2, 0, 255).astype(np.uint8)
    return resized


_Index = npt.NDArray[np.int64]
_Weight = npt.NDArray[np.int32]


def _taps(source: int, target: int) -> tuple[_Index, npt.NDArray[np.float32]]:
    scale = source / target
    position = ((np.arange(target) + 0.5) * scale - 0.5).astype(np.float32)
    index = np.floor(position).astype(np.int64)
    return index, position - index.astype(np.float32)


def _weights(fraction: npt.NDArray[np.float32]) -> tuple[_Weight, _Weight]:
    one = np.float32(2048)
    return np.rint((1 - fraction) * one).astype(np.int32), np.rint(fraction * one).astype(np.int32)


def _columns(source: int, target: int) -> tuple[_Index, _Index, tuple[_Weight, _Weight]]:
    index, fraction = _taps(source, target)
    fraction[(index < 0) | (index >= source - 1)] = 0  # horizontally the fraction is dropped at the border
    index = np.clip(index, 0, source - 1)
    return index, np.minimum(index + 1, source - 1), _weights(fraction)


def _rows(source: int, target: int) -> tuple[_Index, _Index, tuple[_Weight, _Weight]]:
    index, fraction = _taps(source, target)  # vertically it is kept, and the indices are clipped
    return np.clip(index, 0, source - 1), np.clip(index + 1, 0, source - 1), _weights(fraction)


RESAMPLERS: dict[Resampling, Callable[[Pixels, int, int], Pixels]] = {
    Resampling.ANTIALIASED: antialiased_bilinear,
    Resampling.OPENCV: opencv_bilinear,
}
