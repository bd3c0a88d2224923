"""Raw outputs of one image -> predictions in native pixels; priors and fallbacks (docs/reference/contract.md)."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from challenge.imaging.geometry import Resize
from challenge.predictions import (
    PRIOR_BOX,
    PRIOR_COORDINATE,
    BlankMask,
    BoxPrediction,
    ClassPrediction,
    MaskPrediction,
    PointsPrediction,
    Prediction,
)
from challenge.tasks import TaskKind, TaskSpec
from model.frozen.outputs.confidence import peaks_of, soft_dice
from model.frozen.outputs.postprocess import Postprocessing
from model.frozen.outputs.second_look import Look, best_box, join_boxes, join_masks
from model.frozen.outputs.soft_masks import follow, soft_mask

Floats = npt.NDArray[np.float32]

NO_POSTPROCESSING = Postprocessing()


def answer(
    raw: Floats,
    spec: TaskSpec,
    resize: Resize,
    *,
    maps: Floats | None = None,
    look: Look | None = None,
    postprocessing: Postprocessing = NO_POSTPROCESSING,
    mean: tuple[float, ...] | None = None,
    mask_resize: str = "logits",
    tidy_coordinates: bool = True,
    soft_masks: bool = False,
) -> tuple[Prediction, str | None]:
    """Clean up and decode one image's raw output. Return the prediction, and a reason if it is only the fallback.

    `look` is joined to the output. `mean` is for `fallback`, the other arguments are for `decode`.
    """
    if spec.kind is TaskKind.SEGMENTATION and look is None:
        raw = postprocessing.clean_mask(raw)
    try:
        prediction = decode(raw, spec, resize, maps=maps, look=look, mask_resize=mask_resize,
                            tidy_coordinates=tidy_coordinates, soft_masks=soft_masks)  # fmt: skip
    except ValueError as error:
        return fallback(spec, resize.width, resize.height, mean), str(error)
    if isinstance(prediction, MaskPrediction) and look is not None:
        before = prediction.labels.copy() if prediction.soft is not None else prediction.labels
        postprocessing.clean_labels(prediction.labels)
        if prediction.soft is not None:
            follow(prediction.soft, before, prediction.labels)
    return prediction, None


def decode(
    raw: Floats,
    spec: TaskSpec,
    resize: Resize,
    *,
    maps: Floats | None = None,
    look: Look | None = None,
    mask_resize: str = "logits",
    tidy_coordinates: bool = True,
    soft_masks: bool = False,
) -> Prediction:
    """Return the prediction in native pixels for one image's raw output (no batch axis; shapes as in `System`).

    `maps` are the logits (M, s, s) that a box or points were read from, if known. `look` is the second look of a mask
    or box, if there was one. `mask_resize` is `logits` (resize, then arg max) or `labels` (arg max, then resize).
    `tidy_coordinates` sorts box corners and clips boxes and points to the image; without it they stay as the network
    gives them. `soft_masks` adds the probabilities to a mask. Raises ValueError if the output holds NaN or infinity.
    """
    if not np.isfinite(raw).all():
        raise ValueError("the network's output is not finite")
    match spec.kind:
        case TaskKind.SEGMENTATION:
            labels = _mask(raw, resize, mask_resize)
            if look:
                join_masks(labels, raw, resize, look)
            return MaskPrediction(labels, soft_mask(raw, resize, look) if soft_masks else None, soft_dice(raw))
        case TaskKind.CLASSIFICATION:
            return _classes(raw)
        case TaskKind.DETECTION:
            corners = _to_native(best_box(raw), resize)
            box = _box(join_boxes(corners, look) if look else corners, resize, tidy_coordinates)
            if maps is None and raw.shape[-1] > 1:  # a grid of boxes has its map with it
                maps = raw[4:]
            peaks = peaks_of(maps, resize) if maps is not None else None
            return replace(box, peak=peaks[0]) if peaks else box
        case TaskKind.REGRESSION:
            points = _points(raw.reshape(-1, 2), resize, tidy_coordinates)
            return replace(points, peaks=peaks_of(maps, resize)) if maps is not None else points


def prior(spec: TaskSpec, width: int, height: int) -> Prediction:
    """Return the answer of a head without training data for an image of this native size."""
    return fallback(spec, width, height, None)


def fallback(spec: TaskSpec, width: int, height: int, mean: tuple[float, ...] | None) -> Prediction:
    """Return the answer for an unreadable image: the prior, or the training set's `mean` box or points (in 0..1)."""
    whole = Resize.of(width, height, 1)
    match spec.kind:
        case TaskKind.SEGMENTATION:
            return BlankMask(width, height)
        case TaskKind.CLASSIFICATION:
            return ClassPrediction((1 / spec.num_classes,) * spec.num_classes, 0)
        case TaskKind.DETECTION:
            return _box(_to_native(np.array(mean or PRIOR_BOX).reshape(2, 2), whole), whole, tidy=True)
        case TaskKind.REGRESSION:
            points = mean or (PRIOR_COORDINATE,) * 2 * spec.num_classes
            return _points(np.array(points).reshape(-1, 2), whole, tidy=True)


def _mask(raw: Floats, resize: Resize, mask_resize: str) -> npt.NDArray[np.uint8]:
    if mask_resize == "logits":
        return resize.logits_to_native(raw)
    if raw.shape[-1] != resize.size:
        raise ValueError(f"labels are resized from {resize.size} pixels, the network gives {raw.shape[-1]}")
    return resize.labels_to_native(raw.argmax(axis=0).astype(np.uint8))


def _classes(raw: Floats) -> ClassPrediction:
    logits = raw.astype(np.float64)
    odds = np.exp(logits - logits.max())
    probabilities = odds / odds.sum()
    return ClassPrediction(tuple(map(float, probabilities)), int(probabilities.argmax()))


def _box(corners: npt.NDArray[np.float64], resize: Resize, tidy: bool) -> BoxPrediction:
    points = np.sort(_clipped(corners, resize), axis=0) if tidy else corners
    (x0, y0), (x1, y1) = points.tolist()
    width, height = resize.width, resize.height
    return BoxPrediction((x0, y0, x1, y1), (x0 / width, y0 / height, x1 / width, y1 / height))


def _points(points: npt.NDArray[np.floating], resize: Resize, tidy: bool) -> PointsPrediction:
    native = _to_native(points, resize)
    native = _clipped(native, resize) if tidy else native
    normalized = native / (resize.width, resize.height)
    return PointsPrediction(tuple(native.ravel().tolist()), tuple(normalized.ravel().tolist()))


def _to_native(points: npt.NDArray[np.floating], resize: Resize) -> npt.NDArray[np.float64]:
    """(N, 2) in 0..1 of the grid -> native pixels."""
    return resize.to_native(points.astype(np.float64) * resize.size)


def _clipped(native: npt.NDArray[np.float64], resize: Resize) -> npt.NDArray[np.float64]:
    clip: Callable[..., npt.NDArray[np.float64]] = np.clip
    return clip(native, 0, (resize.width, resize.height))
