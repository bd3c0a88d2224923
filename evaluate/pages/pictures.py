"""The worst, median and best cases of a task, drawn with prediction and truth for the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from challenge.class_names import ClassNames
from challenge.errors import ImageError, MaskError, UserError
from challenge.manifest import Sample
from challenge.readers import Submission
from challenge.tasks import TaskSpec
from evaluate.pages.case_text import class_bars, described, goodness
from evaluate.pages.overlays import data_uri, overlay, shrunk
from evaluate.pages.rows import read_row
from evaluate.scores.cases import Case, LabelCase, Outcome

_EACH = 3


@dataclass(frozen=True)
class Picture:
    """A case as data URIs: `drawn` with prediction and truth, `plain` without (None for classification).

    `bars` is the HTML of class probabilities, empty for the other kinds.
    """

    case: Case
    rank: str
    score: str
    detail: str
    drawn: str
    plain: str | None
    bars: str
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
    rank: str,
    case: Case,
    samples: Mapping[str, Sample],
    submission: Submission,
    data_root: Path,
    encoding: Encoding,
    names: ClassNames,
) -> Picture | None:
    """Draw one case. Returns None if its files are no longer readable."""
    try:
        sample = samples[case.row]
        image, prediction, truth = read_row(sample, data_root, submission)
    except (KeyError, OSError, ImageError, MaskError, UserError):
        return None
    own_names = names.of(TaskSpec(sample.task_id, sample.kind, sample.num_classes))
    plain, bars = None, ""
    if isinstance(case, LabelCase):
        drawn = shrunk(image, encoding.side)
        bars = class_bars(case.probabilities, case.predicted, case.true, own_names)
    else:
        drawn = overlay(image, prediction, truth, side=encoding.side)
        plain = data_uri(shrunk(image, encoding.plain_side), encoding.plain_quality)
    return Picture(case, rank, *described(case, own_names), data_uri(drawn, encoding.quality), plain, bars, *drawn.size)
