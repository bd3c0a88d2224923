"""One manifest row as a card of the gallery: the drawn picture, the answer in words, and how far it is off."""

import base64
import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from challenge import targets
from challenge.errors import ImageError, MaskError, UserError
from challenge.imaging.decode import read_image
from challenge.manifest import Sample
from challenge.masks.true_masks import read_true_mask
from challenge.paths import find_image
from challenge.predictions import (
    BlankMask,
    BoxPrediction,
    ClassPrediction,
    MaskPrediction,
    PointsPrediction,
    Prediction,
)
from challenge.readers import Submission
from challenge.tasks import TaskKind
from evaluate.metrics.detection import iou
from evaluate.metrics.regression import radial_errors
from evaluate.metrics.segmentation import dice, on_grid_of
from evaluate.pages.overlays import overlay

_QUALITY = 78
_UNREADABLE = (38, 43, 52)


@dataclass(frozen=True)
class Card:
    """`picture` is a data URI of `width` x `height` pixels; `problem` says why image or answer are missing."""

    sample: Sample
    picture: str
    width: int
    height: int
    answer: str
    score: float | None
    is_prior: bool
    problem: str | None = None


def make_card(sample: Sample, data_root: Path, submission: Submission, with_truth: bool) -> Card:
    """Read one row's image, prediction and truth, and draw them. A row that cannot be read becomes a card too."""
    prediction = truth = None
    try:
        image = Image.fromarray(read_image(find_image(data_root, sample.image_path)).pixels)
    except (ImageError, UserError) as error:
        # Its mask stays unread as well: it may be as large as the image's header claims.
        return _card(sample, Image.new("RGB", (256, 192), _UNREADABLE), None, None, str(error))
    problem = None
    try:
        prediction = submission.find(sample, image.size)
        problem = None if prediction else "no answer"
        truth = read_truth(sample, data_root, image.size) if with_truth else None
    except (ImageError, MaskError, OSError, UserError) as error:
        problem = str(error)
    return _card(sample, overlay(image, prediction, truth), prediction, truth, problem)


def _card(
    sample: Sample, drawn: Image.Image, prediction: Prediction | None, truth: Prediction | None, problem: str | None
) -> Card:
    return Card(
        sample,
        _data_uri(drawn),
        *drawn.size,
        answer=describe(prediction),
        score=_score(sample, prediction, truth),
        is_prior=prediction is not None and looks_like_prior(prediction),
        problem=problem,
    )


def read_truth(sample: Sample, data_root: Path, size: tuple[int, int]) -> Prediction | None:
    """Return what the manifest says is true, as a prediction would say it; None if it says nothing.

    `size` is the image's native (width, height). Missing points are NaN. Raises MaskError for a mask that does not tell
    its classes and ManifestError for a malformed cell.
    """
    match sample.kind:
        case TaskKind.SEGMENTATION:
            return _true_mask(sample, data_root)
        case TaskKind.CLASSIFICATION:
            label = targets.label(sample)
            if label is None:
                return None
            return ClassPrediction(tuple(float(index == label) for index in range(sample.num_classes)), label)
        case TaskKind.DETECTION:
            box = targets.box(sample)
            width, height = size
            if box is None:
                return None
            return BoxPrediction(box, (box[0] / width, box[1] / height, box[2] / width, box[3] / height))
        case TaskKind.REGRESSION:
            points = np.array([point or (math.nan, math.nan) for point in targets.points(sample)], np.float64)
            if np.isnan(points).all():
                return None
            return PointsPrediction(tuple(points.ravel().tolist()), tuple((points / size).ravel().tolist()))


def _true_mask(sample: Sample, data_root: Path) -> MaskPrediction | None:
    try:
        path = find_image(data_root, str(sample.mask_file))
    except ImageError:
        return None
    return MaskPrediction(read_true_mask(path, sample.num_classes).labels)


def describe(prediction: Prediction | None) -> str:
    """Return the answer in a few words; lengths in native pixels."""
    match prediction:
        case MaskPrediction(labels):
            shares = np.bincount(labels.ravel(), minlength=2) / labels.size
            found = [f"class {index}: {share:.1%}" for index, share in enumerate(shares) if index and share]
            return ", ".join(found) or "nothing found"
        case ClassPrediction(probabilities, predicted):
            known = predicted < len(probabilities)
            return f"class {predicted}" + (f" ({probabilities[predicted]:.0%})" if known else "")
        case BoxPrediction(pixels):
            x0, y0, x1, y1 = pixels
            return f"{x1 - x0:.0f} x {y1 - y0:.0f} px at ({x0:.0f}, {y0:.0f})"
        case PointsPrediction(pixels):
            points = np.reshape(pixels, (-1, 2))
            lengths = [math.dist(*points[first : first + 2]) for first in range(0, len(points) - 1, 2)]
            return ", ".join(f"{2 * n + 1} to {2 * n + 2}: {length:.0f} px" for n, length in enumerate(lengths))
        case _:
            return ""


def looks_like_prior(prediction: Prediction) -> bool:
    """Whether the answer is what an untrained head gives to every image (contract, section 1.3c)."""
    match prediction:
        case MaskPrediction(labels):
            return not labels.any()
        case BlankMask():
            return True
        case ClassPrediction(probabilities):
            return len(probabilities) > 0 and max(probabilities) - min(probabilities) < 1e-6
        case BoxPrediction():
            return bool(np.allclose(prediction.normalized, (0.25, 0.25, 0.75, 0.75), atol=1e-6))
        case PointsPrediction():
            return bool(np.allclose(prediction.normalized, 0.5, atol=1e-6))


def _score(sample: Sample, prediction: Prediction | None, truth: Prediction | None) -> float | None:
    """Mean Dice of the classes but background, 1 or 0 for the class, IoU, or mean error of the known points."""
    match prediction, truth:
        case MaskPrediction(labels), MaskPrediction(true):
            return float(dice(on_grid_of(labels, true), true, sample.num_classes)[1:].mean())
        case ClassPrediction(predicted_class=ours), ClassPrediction(predicted_class=theirs):
            return float(ours == theirs)
        case BoxPrediction(ours), BoxPrediction(theirs):
            return float(iou(ours, theirs))
        case PointsPrediction(pixels), PointsPrediction(true_pixels) if len(pixels) == len(true_pixels):
            return float(np.nanmean(radial_errors(np.reshape(pixels, (-1, 2)), np.reshape(true_pixels, (-1, 2)))))
        case _:
            return None


def _data_uri(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
