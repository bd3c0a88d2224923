"""One manifest row as a card of the gallery: its picture, the answer in words, and its score."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from challenge.errors import ImageError, MaskError, UserError
from challenge.manifest import Sample
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
from challenge.readers import Submission
from evaluate.pages.case_text import goodness
from evaluate.pages.overlays import data_uri, overlay
from evaluate.pages.rows import read_picture, read_truth
from evaluate.scores.cases import LabelCase
from evaluate.scores.one_case import measure_one

_QUALITY = 78
_UNREADABLE = (38, 43, 52)


@dataclass(frozen=True)
class Card:
    """`picture` is a data URI of `width` x `height` pixels; `problem` says why the image or the answer is missing."""

    sample: Sample
    picture: str
    width: int
    height: int
    answer: str
    score: float | None
    is_prior: bool
    problem: str | None = None


def make_card(sample: Sample, data_root: Path, submission: Submission, with_truth: bool) -> Card:
    """Read one row's image, prediction and truth, and draw them. An unreadable row gets a card with its problem."""
    prediction = truth = None
    try:
        image = read_picture(sample, data_root)
    except (ImageError, UserError) as error:
        # Do not read its mask either: it may be as large as the damaged image claims to be.
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
        data_uri(drawn, _QUALITY),
        *drawn.size,
        answer=describe(prediction),
        score=_score(sample, prediction, truth),
        is_prior=prediction is not None and looks_like_prior(prediction),
        problem=problem,
    )


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
    """Whether this is the answer that an untrained head gives to every image (contract, section 1.3c)."""
    match prediction:
        case MaskPrediction(labels):
            return not labels.any()
        case BlankMask():
            return True
        case ClassPrediction(probabilities):
            return len(probabilities) > 0 and max(probabilities) - min(probabilities) < 1e-6
        case BoxPrediction():
            return bool(np.allclose(prediction.normalized, PRIOR_BOX, atol=1e-6))
        case PointsPrediction():
            return bool(np.allclose(prediction.normalized, PRIOR_COORDINATE, atol=1e-6))


def _score(sample: Sample, prediction: Prediction | None, truth: Prediction | None) -> float | None:
    """Mean Dice of the foreground classes, 1 or 0 for a class, IoU, or mean error of the known points."""
    if prediction is None or truth is None:
        return None
    if isinstance(prediction, PointsPrediction) and len(prediction.pixels) != 2 * sample.num_classes:
        return None
    case = measure_one(sample, prediction, truth.labels if isinstance(truth, MaskPrediction) else None)
    return float(case.predicted == case.true) if isinstance(case, LabelCase) else abs(goodness(case))
