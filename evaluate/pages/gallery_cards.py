"""One manifest row as a card of the gallery: its picture, the answer in words, and its score."""

import math
from collections.abc import Sequence
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
from evaluate.pages.case_text import class_bars, class_name, goodness, said_and_is, score_words
from evaluate.pages.overlays import data_uri, overlay, shrunk
from evaluate.pages.rows import read_picture, read_truth
from evaluate.scores.cases import Case, LabelCase
from evaluate.scores.one_case import measure_one

_QUALITY = 78
_PLAIN_SIDE, _PLAIN_QUALITY = 448, 60
_UNREADABLE = (38, 43, 52)


@dataclass(frozen=True)
class Card:
    """One picture with its texts.

    `drawn` is a data URI of `width` x `height` pixels, `plain` one without the overlay (None if nothing is drawn).
    `bars` is the HTML of class probabilities. `verdict` says how good the answer is, `good` is larger for better ones;
    without a truth they are empty and None. `problem` says why the image or the answer is missing.
    """

    sample: Sample
    drawn: str
    plain: str | None
    width: int
    height: int
    answer: str
    bars: str
    verdict: str
    good: float | None
    is_prior: bool
    problem: str | None = None


def make_card(
    sample: Sample, data_root: Path, submission: Submission, names: Sequence[str], *, with_truth: bool
) -> Card:
    """Read one row's image, prediction and truth, and draw them. An unreadable row gets a card with its problem.

    `names` are those of the task's classes or points.
    """
    prediction = truth = None
    try:
        image = read_picture(sample, data_root)
    except (ImageError, UserError) as error:
        # Do not read its mask either: it may be as large as the damaged image claims to be.
        return _card(sample, Image.new("RGB", (256, 192), _UNREADABLE), None, None, names, str(error))
    problem = None
    try:
        prediction = submission.find(sample, image.size)
        problem = None if prediction else "no answer"
        truth = read_truth(sample, data_root, image.size) if with_truth else None
    except (ImageError, MaskError, OSError, UserError) as error:
        problem = str(error)
    return _card(sample, image, prediction, truth, names, problem)


def _card(
    sample: Sample,
    image: Image.Image,
    prediction: Prediction | None,
    truth: Prediction | None,
    names: Sequence[str],
    problem: str | None,
) -> Card:
    case = _measured(sample, prediction, truth)
    is_label = isinstance(prediction, ClassPrediction)
    drawn = overlay(image, None if is_label else prediction, truth)
    has_overlay = not isinstance(prediction or truth, ClassPrediction | None)
    return Card(
        sample,
        data_uri(drawn, _QUALITY),
        data_uri(shrunk(image, _PLAIN_SIDE), _PLAIN_QUALITY) if has_overlay else None,
        *drawn.size,
        answer=describe(prediction, names),
        bars=_bars(prediction, truth, names),
        verdict=_verdict(sample, case, names) if case else "",
        good=goodness(case) if case else None,
        is_prior=prediction is not None and looks_like_prior(prediction),
        problem=problem,
    )


def describe(prediction: Prediction | None, names: Sequence[str]) -> str:
    """Return the answer in a few words; lengths in native pixels."""
    match prediction:
        case MaskPrediction(labels):
            shares = np.bincount(labels.ravel(), minlength=2) / labels.size
            found = [
                f"{class_name(names, index)}: {share:.1%}" for index, share in enumerate(shares) if index and share
            ]
            return ", ".join(found) or "nothing found"
        case ClassPrediction(probabilities, predicted):
            known = predicted < len(probabilities)
            return class_name(names, predicted) + (f" ({probabilities[predicted]:.0%})" if known else "")
        case BoxPrediction(pixels):
            x0, y0, x1, y1 = pixels
            return f"{x1 - x0:.0f} x {y1 - y0:.0f} px at ({x0:.0f}, {y0:.0f})"
        case PointsPrediction(pixels):
            points = np.reshape(pixels, (-1, 2))
            pairs = [(first, math.dist(*points[first : first + 2])) for first in range(0, len(points) - 1, 2)]
            return ", ".join(f"{names[first]} to {names[first + 1]}: {length:.0f} px" for first, length in pairs)
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


def _bars(prediction: Prediction | None, truth: Prediction | None, names: Sequence[str]) -> str:
    if not isinstance(prediction, ClassPrediction):
        return ""
    true = truth.predicted_class if isinstance(truth, ClassPrediction) else None
    return class_bars(prediction.probabilities, prediction.predicted_class, true, names)


def _measured(sample: Sample, prediction: Prediction | None, truth: Prediction | None) -> Case | None:
    """Compare the answer with the truth; None without one of them, or for another number of points."""
    if prediction is None or truth is None:
        return None
    if isinstance(prediction, PointsPrediction) and len(prediction.pixels) != 2 * sample.num_classes:
        return None
    return measure_one(sample, prediction, truth.labels if isinstance(truth, MaskPrediction) else None)


def _verdict(sample: Sample, case: Case, names: Sequence[str]) -> str:
    """Return `Dice 0.853`, `right`, `said benign, is malignant`, `IoU 0.700` or `error 12.4 px`."""
    if isinstance(case, LabelCase):
        return "right" if case.predicted == case.true else said_and_is(case, names)
    return score_words(sample.kind, abs(goodness(case)))
