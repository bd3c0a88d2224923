"""Soft masks: the probabilities of a mask's classes on the native grid, before the arg max."""

import numpy as np
import numpy.typing as npt

from challenge.imaging.geometry import Floats, Pixels, Resize
from model.frozen.outputs.second_look import Look, planes_of, softmax

Halves = npt.NDArray[np.float16]


def soft_mask(raw: Floats, resize: Resize, look: Look | None = None) -> Halves:
    """(K, s, s) logits -> (K - 1, H, W) probabilities of the classes 1, 2, ... in native pixels.

    Logits are resized, then become probabilities, as before the arg max of a mask. Inside the window of a second look
    it is the mean of both looks' probabilities. Pixels that the network does not see (`Resize.crop`) are 0.
    """
    soft = np.zeros((len(raw) - 1, resize.height, resize.width), np.float16)
    shown = soft[:, *resize.shown.slices]
    for rows, planes in resize.planes_to_native(planes_of(raw), resize.shown):
        shown[:, rows] = _probabilities(planes)
    if look:
        inside = soft[:, *look.window.slices]
        first = resize.planes_to_native(planes_of(raw), look.window)
        for (rows, one), (_, two) in zip(first, look.planes(), strict=True):
            inside[:, rows] = (_probabilities(one) + _probabilities(two)) / 2
    return soft


def follow(soft: Halves, before: Pixels, after: Pixels) -> None:
    """Exchange, in place, the probabilities of the two classes where labels (H, W) changed from one to the other."""
    moved = before != after
    foreground = soft[:, moved].astype(np.float32)
    background = np.maximum(1 - foreground.sum(axis=0, keepdims=True), 0)
    whole = np.concatenate([background, foreground])
    pixels = np.arange(whole.shape[1])
    was, now = before[moved], after[moved]
    whole[was, pixels], whole[now, pixels] = whole[now, pixels], whole[was, pixels]
    soft[:, moved] = whole[1:]


def _probabilities(planes: list[Floats]) -> Floats:
    """Return the probabilities (K - 1, ...) of all classes but the background, for the planes of `planes_of`."""
    if len(planes) > 1:
        return softmax(planes)[1:]
    with np.errstate(over="ignore"):  # a probability of 0
        return np.asarray(1 / (1 + np.exp(-planes[0])), np.float32)[None]
