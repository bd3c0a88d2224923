"""The worst, median and best cases of a task, drawn with prediction and truth for the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from challenge.errors import ImageError, MaskError, UserError
from challenge.manifest import Sample
from challenge.predictions import ClassPrediction
from challenge.readers import Submission
from challenge.tasks import TaskKind
from evaluate.pages.case_text import described, goodness
from evaluate.pages.overlays import data_uri, overlay
from evaluate.pages.rows import read_row
from evaluate.scores.cases import Case, Outcome

_EACH = 3


@dataclass(frozen=True)
class Picture:
    """A case as data URIs: `drawn` with prediction and truth, `plain` without (None for classification)."""

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
        """Bytes that the picture takes in the page."""
        return len(self.drawn) + len(self.plain or "")


@dataclass(frozen=True)
class Encoding:
    """Longer side in pixels and WebP quality of the drawn and the plain pictures."""

    side: int
    quality: int
    plain_side: int
    plain_quality: int


ENCODINGS = (Encoding(640, 68, 448, 55), Encoding(480, 62, 320, 50), Encoding(320, 55, 240, 45))
"""From best to smallest. The first one that keeps the page small enough is used."""


def selected(cases: Sequence[Case]) -> list[tuple[str, Case]]:
    """Return the answered cases to show, each with its rank: the three worst, median and best, or all if few."""
    ordered = sorted((case for case in cases if case.outcome is Outcome.ANSWERED), key=goodness)
    if len(ordered) <= 3 * _EACH:
        return [("worst to best", case) for case in ordered]
    middle = (len(ordered) - _EACH) // 2
    return [
        *(("worst", case) for case in ordered[:_EACH]),
        *(("median", case) for case in ordered[middle : middle + _EACH]),
        *(("best", case) for case in ordered[-_EACH:]),
    ]


def draw(
    rank: str, case: Case, samples: Mapping[str, Sample], submission: Submission, data_root: Path, encoding: Encoding
) -> Picture | None:
    """Draw one case. Returns None if its files are no longer readable."""
    try:
        sample = samples[case.row]
        image, prediction, truth = read_row(sample, data_root, submission)
    except (KeyError, OSError, ImageError, MaskError, UserError):
        return None
    drawn = overlay(image, prediction, truth, side=encoding.side)
    plain = None
    if sample.kind is not TaskKind.CLASSIFICATION and not isinstance(prediction, ClassPrediction):
        plain = data_uri(_fitted(image, encoding.plain_side), encoding.plain_quality)
    return Picture(case, rank, *described(case), data_uri(drawn, encoding.quality), plain, *drawn.size)


def _fitted(image: Image.Image, side: int) -> Image.Image:
    factor = side / max(image.size)
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    return image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
