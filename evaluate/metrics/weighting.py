"""Weighted means, and division with a chosen value where the denominator is 0."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def row_weights(weights: npt.ArrayLike | None, rows: int) -> Floats:
    """Return `weights` as (..., rows) float64; ones where there are none."""
    return np.ones(rows) if weights is None else np.asarray(weights, np.float64)


def weighted_mean(values: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Floats:
    """Return the mean of `values` (n,) under `weights` (..., n) as (...); NaN where no row counts."""
    numbers = np.asarray(values, np.float64)
    counts = row_weights(weights, len(numbers))
    return ratio(counts @ numbers, counts.sum(axis=-1), np.nan)


def ratio(numerator: npt.ArrayLike, denominator: npt.ArrayLike, otherwise: float) -> Floats:
    """Return `numerator / denominator`, element by element, and `otherwise` where the denominator is 0."""
    above, below = np.broadcast_arrays(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))
    return np.asarray(np.divide(above, below, out=np.full(above.shape, otherwise), where=below != 0))
