"""How sure the network is of an answer, in one number, and how widely a map spreads around a place."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from challenge.imaging.geometry import Resize
from challenge.predictions import (
    BoxPrediction,
    ClassPrediction,
    MaskPrediction,
    Peak,
    PointsPrediction,
    Prediction,
)

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Confidence:
    """`value` in 0..1, larger is surer. `spread` is that of the map in native pixels, None for masks and classes.

    The value is the Soft Dice Confidence of a mask, the largest probability of classes, the map's maximum of a box, and
    the mean over the points of their maps' maxima; the spread of points is their mean too.
    """

    value: float
    spread: float | None = None

    @classmethod
    def of(cls, prediction: Prediction) -> "Confidence | None":
        """Return that of an answer of the network, None if the network gives no map for it."""
        match prediction:
            case MaskPrediction(confidence=float(value)):
                return cls(value)
            case ClassPrediction(probabilities):
                return cls(max(probabilities))
            case BoxPrediction(peak=Peak(maximum, spread)):
                return cls(maximum, spread)
            case PointsPrediction(peaks=tuple(peaks)):
                maximum, spread = (float(np.mean(values)) for values in zip(*map(_numbers, peaks), strict=True))
                return cls(maximum, spread)
            case _:
                return None


def soft_dice(logits: Floats) -> float:
    """(K, s, s) mask logits -> the Dice to be expected of their arg max, in 0..1: the mean over the classes 1, 2, ...

    Soft Dice Confidence (Borges et al. 2024, arXiv 2402.10665): the Dice of a class' probabilities and its arg max,
    here on the cells of the network's grid. A class without a cell gets 0.
    """
    odds = np.exp(logits - logits.max(axis=0), dtype=np.float32)
    probabilities = (odds / odds.sum(axis=0))[1:]
    found = logits.argmax(axis=0) == np.arange(1, len(logits))[:, None, None]
    both = (probabilities * found).sum(axis=(1, 2))
    sizes = probabilities.sum(axis=(1, 2)) + found.sum(axis=(1, 2))
    return float(np.mean(2 * both / np.maximum(sizes, np.finfo(np.float32).tiny)))


def peaks_of(maps: Floats, resize: Resize) -> tuple[Peak, ...] | None:
    """(M, s, s) logits on any grid over the square -> the peak of each map; None if one is not finite."""
    if not np.isfinite(maps).all():
        return None
    size = maps.shape[-1]
    cells = (np.arange(size) + 0.5) * resize.size / size
    x, y = resize.to_native(np.stack([cells, cells], axis=-1)).T
    peaks = []
    for logits in maps.astype(np.float64):
        odds = np.exp(logits - logits.max())
        weights = odds / odds.sum()
        variance = _variance(weights.sum(axis=0), x) + _variance(weights.sum(axis=1), y)
        peaks.append(Peak(float(weights.max()), float(np.sqrt(variance))))
    return tuple(peaks)


def _variance(weights: npt.NDArray[np.float64], places: npt.NDArray[np.float64]) -> float:
    return float(weights @ (places - weights @ places) ** 2)


def _numbers(peak: Peak) -> tuple[float, float]:
    return peak.maximum, peak.spread
