"""Accuracy, F1, Matthews correlation coefficient and ROC AUC (contract, section 1.5; scikit-learn's definitions)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluate.metrics.weighting import Floats, ratio, row_weights

Classes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Confusion:
    """`counts` (..., L, L): how often class `labels[i]` was answered as `labels[j]`.

    `labels` (L,) are the classes that occur among the true or the predicted ones, ascending.
    """

    labels: Classes
    counts: Floats

    @property
    def true(self) -> Floats:
        """(..., L) rows of each class."""
        return np.asarray(self.counts.sum(axis=-1))

    @property
    def predicted(self) -> Floats:
        """(..., L) answers with each class."""
        return np.asarray(self.counts.sum(axis=-2))

    @property
    def correct(self) -> Floats:
        """(..., L) right answers of each class."""
        return np.diagonal(self.counts, axis1=-2, axis2=-1)


def confusion(true: npt.ArrayLike, predicted: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Confusion:
    """Count true (n,) against predicted (n,) classes under weights (..., n)."""
    rows = len(np.asarray(true))
    labels, indices = np.unique(np.concatenate([true, predicted]).astype(np.int64), return_inverse=True)
    cells = indices[:rows] * len(labels) + indices[rows:]
    table = np.zeros((rows, len(labels) ** 2))
    table[np.arange(rows), cells] = 1.0
    counts = row_weights(weights, rows) @ table
    return Confusion(labels, counts.reshape(*counts.shape[:-1], len(labels), len(labels)))


def accuracy(table: Confusion) -> Floats:
    """Return the share of right answers (...)."""
    return ratio(table.correct.sum(axis=-1), table.counts.sum(axis=(-2, -1)), np.nan)


def f1(table: Confusion) -> Floats:
    """Return 2 TP / (2 TP + FP + FN) of each label (..., L), 0 where undefined."""
    return ratio(2 * table.correct, table.true + table.predicted, 0.0)


def f1_macro(table: Confusion) -> Floats:
    """Return the unweighted mean F1 of the classes that occur, as true or as predicted ones (...)."""
    occurs = table.true + table.predicted > 0
    return ratio(np.where(occurs, f1(table), 0.0).sum(axis=-1), occurs.sum(axis=-1), np.nan)


def f1_weighted(table: Confusion) -> Floats:
    """Return the mean of the F1 of the classes, weighted by their true rows (...)."""
    return ratio((table.true * f1(table)).sum(axis=-1), table.true.sum(axis=-1), np.nan)


def matthews(table: Confusion, undefined: float = 0.0) -> Floats:
    """Return the Matthews correlation coefficient for any number of classes (...).

    It is `undefined` where only one class is true or predicted; the official script counts 0.
    """
    total, right = table.counts.sum(axis=(-2, -1)), table.correct.sum(axis=-1)
    true, predicted = table.true, table.predicted
    covariance = right * total - (true * predicted).sum(axis=-1)
    spread = (total**2 - (true**2).sum(axis=-1)) * (total**2 - (predicted**2).sum(axis=-1))
    return np.where(total > 0, ratio(covariance, np.sqrt(spread), undefined), np.nan)


def auc(scores: npt.ArrayLike, positive: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Floats:
    """Return the area under the ROC curve (...): how often a positive row scores above a negative one.

    `scores` (n,), `positive` (n,) bool; a tie counts half; NaN where there are no positive or no negative rows.
    """
    values, is_positive = np.asarray(scores, np.float64), np.asarray(positive, bool)
    counts = row_weights(weights, len(values))
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order], prepend=-np.inf))
    if not len(starts):
        return np.full(counts.shape[:-1], np.nan)
    above = np.add.reduceat((counts * is_positive)[..., order], starts, axis=-1)
    below = np.add.reduceat((counts * ~is_positive)[..., order], starts, axis=-1)
    won = (above * (below.cumsum(axis=-1) - below / 2)).sum(axis=-1)
    return ratio(won, above.sum(axis=-1) * below.sum(axis=-1), np.nan)


def auc_per_class(true: npt.ArrayLike, probabilities: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Floats:
    """Return the one-vs-rest AUC of each class (..., K) of probabilities (n, K); NaN where it is undefined."""
    labels, table = np.asarray(true), np.asarray(probabilities, np.float64)
    return np.stack([auc(table[:, index], labels == index, weights) for index in range(table.shape[1])], axis=-1)


def auc_official(true: npt.ArrayLike, probabilities: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Floats:
    """Return class 1's AUC of two classes, the mean one-vs-rest AUC of more; NaN unless every class has rows (...)."""
    each = auc_per_class(true, probabilities, weights)
    return each[..., 1] if each.shape[-1] == 2 else each.mean(axis=-1)


def auc_present(true: npt.ArrayLike, probabilities: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Floats:
    """Return `auc_official` over the classes that have rows; NaN only if fewer than two have any (...)."""
    each = auc_per_class(true, probabilities, weights)
    if each.shape[-1] == 2:
        return each[..., 1]
    defined = ~np.isnan(each)
    return ratio(np.where(defined, each, 0.0).sum(axis=-1), defined.sum(axis=-1), np.nan)


def auc_refusal(true: npt.ArrayLike, probabilities: npt.ArrayLike) -> str | None:
    """Return why scikit-learn's `roc_auc_score` refuses these rows, which makes the official AUC 0; else None."""
    labels, table = np.asarray(true), np.asarray(probabilities, np.float64)
    missing = sorted(set(range(table.shape[1])) - set(labels.tolist()))
    if missing:
        return f"no true row of class {', '.join(map(str, missing))}"
    sums = table.sum(axis=1)
    if table.shape[1] > 2 and not np.allclose(1, sums):
        worst = sums[np.argmax(np.abs(sums - 1))]
        return f"probabilities that do not sum to 1 (one row's sum is {worst:.6g})"
    return None
