"""Joins the raw outputs of several networks, or of several views of an image, into one raw output."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from challenge.tasks import TaskKind

Floats = npt.NDArray[np.float32]

HOW: Mapping[TaskKind, str] = {
    TaskKind.SEGMENTATION: "mean of logits",
    TaskKind.CLASSIFICATION: "mean of probabilities",
    TaskKind.DETECTION: "mean of boxes and objectness",
    TaskKind.REGRESSION: "mean of points",
}
"""How the answers of each kind are joined, as `weights.json` records it.

Masks: the mean of the maps comes before the arg max. Boxes: every cell gets the mean of its boxes and of its
objectness, so that all choose the best cell together; the mean of boxes around different objects would show neither.
Points are joined as coordinates: some heads have no heatmaps.
"""


def join(kind: TaskKind, outputs: Sequence[Floats]) -> Floats:
    """Return one raw output for several of the same shape (B, ...); shapes are those of `System`.

    All count equally. Classes come back as logarithms of their mean probabilities, which a softmax turns into these.
    NaN and infinity stay, so that the answer becomes a fallback.
    """
    if len(outputs) == 1:
        return outputs[0]
    if kind is TaskKind.CLASSIFICATION:
        return _mean_probabilities(outputs)
    return np.asarray(sum(outputs[1:], outputs[0]) / len(outputs), outputs[0].dtype)


def join_maps(maps: Sequence[Floats | None]) -> Floats | None:
    """Return logits (B, M, s, s) whose softmax is the mean of the softmaxes of several maps.

    None if one of them is unknown, or if they differ in shape.
    """
    known = [one for one in maps if one is not None]
    if len(known) < len(maps) or len({one.shape for one in known}) != 1:
        return None
    shape = known[0].shape
    flat = [one.reshape(shape[0] * shape[1], -1) for one in known]
    return join(TaskKind.CLASSIFICATION, flat).reshape(shape)


def _mean_probabilities(logits: Sequence[Floats]) -> Floats:
    """(B, K) logits -> logarithms of mean probabilities, computed without leaving the logarithm: none becomes 0."""
    with np.errstate(invalid="ignore"):  # NaN is an answer too, see above
        logarithms = [_log_softmax(one.astype(np.float64)) for one in logits]
        return np.asarray(np.logaddexp.reduce(logarithms) - np.log(len(logits)), logits[0].dtype)


def _log_softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
