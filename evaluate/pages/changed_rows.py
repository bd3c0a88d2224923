"""The rows whose answers changed most between two runs, drawn side by side for the comparison page."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from challenge.class_names import ClassNames
from challenge.manifest import Sample, read_manifest
from challenge.paths import MANIFEST_FOLDER
from challenge.readers import Submission, open_submission
from challenge.tasks import TaskKind
from evaluate.pages.case_text import goodness
from evaluate.pages.pictures import Encoding, Picture, draw
from evaluate.scores.cases import Case, Outcome
from evaluate.scores.compare import Comparison
from evaluate.scores.result import Result

_EACH = 4
_ENCODING = Encoding(480, 62, 320, 50)


@dataclass(frozen=True)
class Change:
    """One row in the first run and in another."""

    before: Picture
    after: Picture


@dataclass(frozen=True)
class Changes:
    """The rows of a kind that are most worse and most better in the run `name` than in the first."""

    name: str
    kind: TaskKind
    worse: Sequence[Change]
    better: Sequence[Change]


def unreachable(comparison: Comparison) -> str | None:
    """Return the first folder that a result file names and that is not here; pictures need all of them."""
    for result in comparison.results:
        if not result.data_root or not (Path(result.data_root) / MANIFEST_FOLDER).is_dir():
            return result.data_root or "the data folder"
        if not result.predictions or not Path(result.predictions).is_dir():
            return result.predictions or "the folder of predictions"
    return None


def changed_rows(comparison: Comparison, names: ClassNames) -> Iterator[Changes]:
    """Yield what changed, by run and kind. The folders that the result files name must be reachable.

    Raises UserError if a manifest or a submission cannot be read.
    """
    first, *others = comparison.results
    data_root = Path(first.data_root)
    samples = {str(sample.row): sample for sample in read_manifest(data_root).samples}
    before = open_submission(Path(first.predictions))
    for name, result in zip(comparison.names[1:], others, strict=True):
        after = open_submission(Path(result.predictions))
        for kind in comparison.lines:
            ordered = sorted(_pairs(first, result, kind, samples), key=_change)
            worse = [pair for pair in ordered[:_EACH] if _change(pair) < 0]
            better = [pair for pair in ordered[: -_EACH - 1 : -1] if _change(pair) > 0]

            def drawn(pairs: Sequence[tuple[Case, Case]], after: Submission = after) -> list[Change]:
                found = (_drawn(pair, samples, before, after, data_root, names) for pair in pairs)
                return [change for change in found if change]

            if worse or better:
                yield Changes(name, kind, drawn(worse), drawn(better))


def _pairs(first: Result, other: Result, kind: TaskKind, samples: Mapping[str, Sample]) -> Iterator[tuple[Case, Case]]:
    """Yield the cases of rows that both runs answered and that the manifest still has."""
    known = {(case.row, case.image_path, case.task_id): case for case in other.cases}
    for case in first.cases:
        match = known.get((case.row, case.image_path, case.task_id))
        sample = samples.get(case.row)
        if match is None or sample is None or sample.image_path != case.image_path or sample.kind is not kind:
            continue
        if case.outcome is match.outcome is Outcome.ANSWERED:
            yield case, match


def _change(pair: tuple[Case, Case]) -> float:
    return goodness(pair[1]) - goodness(pair[0])


def _drawn(
    pair: tuple[Case, Case],
    samples: Mapping[str, Sample],
    before: Submission,
    after: Submission,
    data_root: Path,
    names: ClassNames,
) -> Change | None:
    pictures = [
        draw("", case, samples, submission, data_root, _ENCODING, names)
        for case, submission in zip(pair, (before, after), strict=True)
    ]
    left, right = pictures
    return Change(left, right) if left and right else None
