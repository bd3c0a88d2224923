"""Bootstrap over images, or over the groups (patients, videos) that they come from."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def group_weights(groups: Sequence[str], draws: int, seed: int = 0) -> npt.NDArray[np.uint16]:
    """Return (draws, n): how often each of n rows counts when its groups are drawn with replacement.

    All rows of a group get the same count, whatever their task. One matrix for all tasks, and for all runs of a
    comparison, therefore keeps the correlation between them.
    """
    names, index = np.unique(np.asarray(groups, np.str_), return_inverse=True)
    if not len(names):
        return np.zeros((draws, 0), np.uint16)
    counts = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    return counts.astype(np.uint16)[:, index]


def interval(draws: npt.ArrayLike, level: float = 0.95) -> tuple[float, float] | None:
    """Return the percentile interval of the draws that are defined.

    None if fewer than half are defined, or if all are equal: such draws do not show the spread.
    """
    values = np.asarray(draws, np.float64)
    defined = values[~np.isnan(values)]
    if not len(values) or len(defined) * 2 < len(values) or np.ptp(defined) < 1e-12:
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def p_value(differences: npt.ArrayLike) -> float | None:
    """Return the two-sided p value of paired differences: twice the share of draws on the other side of 0.

    Never below 2 / (draws + 1), as the observed data counts as a draw; None if fewer than half are defined.
    """
    values = np.asarray(differences, np.float64)
    defined = values[~np.isnan(values)]
    if not len(values) or len(defined) * 2 < len(values):
        return None
    tail = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (len(defined) + 1))
