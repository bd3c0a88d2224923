"""The worst, median and best cases of a task, drawn with prediction and truth for the report."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from challenge.errors import ImageError, MaskError, UserError
from challenge.imaging.decode import read_image
from challenge.manifest import Sample
from challenge.paths import find_image
from challenge.predictions import ClassPrediction
from challenge.readers import Submission
from challenge.tasks import TaskKind
from evaluate.pages.gallery_cards import read_truth
from evaluate.pages.overlays import overlay
from evaluate.scores.cases import BoxCase, Case, LabelCase, MaskCase, Outcome, PointsCase

_EACH = 3


@dataclass(frozen=True)
class Picture:
    """A case as data URIs: `drawn` with both overlays, `plain` without (classification has no need of it)."""

    case: Case
    rank: str
    score: str
    detail: str
    drawn: str
    plain: str | None
    width: int
    height: int

    @property
    def size(self) -> int:
        """Bytes that it takes in the page."""
        return len(self.drawn) + len(self.plain or "")


@dataclass(frozen=True)
class Encoding:
    """Longer side in pixels and WebP quality of the drawn and the plain pictures."""

    side: int
    quality: int
    plain_side: int
    plain_quality: int


ENCODINGS = (Encoding(640, 68, 448, 55), Encoding(480, 62, 320, 50), Encoding(320, 55, 240, 45))
"""From the best on; the first that keeps the page small enough is taken."""


def selected(cases: Sequence[Case]) -> list[tuple[str, Case]]:
    """Return the answered cases to show, each with its rank: the three worst, middle and best; all if there are few."""
    ordered = sorted((case for case in cases if case.outcome is Outcome.ANSWERED), key=goodness)
    if len(ordered) <= 3 * _EACH:
        return [("worst to best", case) for case in ordered]
    middle = (len(ordered) - _EACH) // 2
    return [
        *(("worst", case) for case in ordered[:_EACH]),
        *(("median", case) for case in ordered[middle : middle + _EACH]),
        *(("best", case) for case in ordered[-_EACH:]),
    ]


def goodness(case: Case) -> float:
    """Return how good an answer is, the more the better: Dice, the true class's probability, IoU, minus the error."""
    match case:
        case MaskCase():
            return sum(case.dice[1:]) / max(1, len(case.dice) - 1)
        case LabelCase():
            return case.probabilities[case.true] if case.true is not None and case.probabilities else 0.0
        case BoxCase():
            return case.iou or 0.0
        case PointsCase():
            known = [error for index, error in enumerate(case.errors) if index not in case.absent]
            return -sum(known) / len(known) if known else 0.0
        case _:
            return 0.0


def described(case: Case) -> tuple[str, str]:
    """Return how good an answer is, in words, and a detail."""
    good = goodness(case)
    match case:
        case MaskCase():
            distance = sum(case.hausdorff[1:]) / max(1, len(case.hausdorff) - 1)
            return f"Dice {good:.3f}", f"HD {distance:.1f} px"
        case LabelCase():
            mark = "right" if case.predicted == case.true else "wrong"
            return f"{mark}, {good:.0%}", f"class {case.predicted}, true {case.true}"
        case BoxCase():
            return f"IoU {good:.3f}", ""
        case _:
            return f"error {-good:.1f} px", ""


def draw(
    rank: str, case: Case, samples: Mapping[str, Sample], submission: Submission, data_root: Path, encoding: Encoding
) -> Picture | None:
    """Draw one case, or return None if its image cannot be read any more."""
    try:
        sample = samples[case.row]
        image = Image.fromarray(read_image(find_image(data_root, sample.image_path)).pixels)
        prediction = submission.find(sample, image.size)
        truth = read_truth(sample, data_root, image.size)
    except (KeyError, OSError, ImageError, MaskError, UserError):
        return None
    drawn = overlay(image, prediction, truth, side=encoding.side)
    plain = None
    if sample.kind is not TaskKind.CLASSIFICATION and not isinstance(prediction, ClassPrediction):
        plain = _data_uri(_fitted(image, encoding.plain_side), encoding.plain_quality)
    return Picture(case, rank, *described(case), _data_uri(drawn, encoding.quality), plain, *drawn.size)


def _fitted(image: Image.Image, side: int) -> Image.Image:
    factor = side / max(image.size)
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    return image.convert("RGB").resize(size, Image.Resampling.BICUBIC)


def _data_uri(image: Image.Image, quality: int) -> str:
    stream = io.BytesIO()
    image.save(stream, format="WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
