"""One segmentation row's files -> its case: strict scores, and official ones where the official script differs.

The official script (contract, section 1.5) looks for the true mask at `mask_path`, and for the predicted one at
`mask_path` without any "../". It compares the grey values that OpenCV reads from the two files.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from challenge.errors import ImageError, MaskError
from challenge.imaging.decode import PIXEL_LIMIT
from challenge.manifest import Sample
from challenge.masks.opencv_grey import GreyReading, read_grey
from challenge.masks.true_masks import TrueMask
from challenge.paths import MANIFEST_FOLDER, official_path
from challenge.readers import StoredMask, mask_path, read_stored_mask
from evaluate.metrics.segmentation import diagonal
from evaluate.scores.cases import MaskCase, Outcome
from evaluate.scores.one_case import MaskScores, mask_scores, measure_mask
from evaluate.scores.true_masks import find_true_mask

Labels = npt.NDArray[np.uint8]

RESIZED = "the mask has another size than the true one; resized with nearest neighbour"


@dataclass(frozen=True)
class _Files:
    """What a row's files contain, or a text that says why nothing could be read.

    `their_truth` and `their_answer` are what the official script reads.
    """

    truth: TrueMask | str
    answer: StoredMask | str
    their_truth: GreyReading
    their_answer: StoredMask | str


def mask_case(sample: Sample, data_root: Path, predictions: Path) -> MaskCase:
    """Compare a row's predicted mask with its true one, strictly and as the official script does."""
    files = _read(sample, data_root, predictions)
    case = _strict_case(sample, files)
    official = _official_scores(sample, files, case)
    if official is None:
        case = replace(case, official=False if case.outcome is Outcome.ANSWERED else None)
    elif official != (case.dice, case.hausdorff):
        case = replace(case, official=True, official_dice=official[0], official_hausdorff=official[1])
    return replace(case, remark="; ".join(dict.fromkeys(_remarks(sample, files, case.remark))))


def mask_cell(sample: Sample) -> str:
    """Return the row's `mask_path`, unchanged; empty if there is none, as the official script then leaves it out."""
    cell = sample.cells.get("mask_path", "")
    return "" if cell.strip().casefold() in ("", "nan") else cell


def official_truth(data_root: Path, cell: str) -> Path:
    """Return where the official script looks for the true mask of a `mask_path` cell."""
    return Path(os.path.normpath(data_root / MANIFEST_FOLDER / cell))


def official_answer(predictions: Path, cell: str) -> Path | None:
    """Return where the official script looks for the predicted mask; None if that is outside of the folder."""
    path = Path(os.path.normpath(predictions / official_path(cell)))
    return path if path.is_relative_to(os.path.normpath(predictions)) else None


def stored_mask(path: Path, shape: tuple[int, ...]) -> StoredMask | str:
    """Return the predicted mask at `path` for a true one of `shape` (height, width), or why there is none."""
    if not path.is_file():
        return "no mask file"
    try:
        return read_stored_mask(path, (shape[1], shape[0]))
    except ImageError as error:
        return f"the mask file is {str(error).removeprefix(f'{path.name}: ')}"


def mask_oddities(answer: StoredMask, truth: Labels) -> Iterator[str]:
    """Yield what is odd about a predicted mask, one phrase each."""
    if answer.fault:
        yield answer.fault
    if answer.labels.shape != truth.shape:
        yield RESIZED


def _read(sample: Sample, data_root: Path, predictions: Path) -> _Files:
    cell = mask_cell(sample)
    theirs = read_grey(official_truth(data_root, cell), PIXEL_LIMIT) if cell else GreyReading(None)
    try:
        truth: TrueMask | str = find_true_mask(data_root, str(sample.mask_file), sample.num_classes)
    except MaskError as error:
        truth = f"the true mask cannot be used ({error})"
    if isinstance(truth, TrueMask):
        shape: tuple[int, ...] = truth.labels.shape
    elif theirs.values is not None:
        shape = theirs.values.shape
    else:
        return _Files(truth, "", theirs, "")
    path = mask_path(predictions, sample)
    their_path = official_answer(predictions, cell) if cell else path
    answer = stored_mask(path, shape)
    if their_path is None or their_path == Path(os.path.normpath(path)):
        return _Files(truth, answer, theirs, answer if their_path else "no mask file")
    return _Files(truth, answer, theirs, stored_mask(their_path, shape))


def _strict_case(sample: Sample, files: _Files) -> MaskCase:
    if isinstance(files.truth, str):
        return MaskCase.of(sample, Outcome.NO_TRUTH, files.truth)
    truth = files.truth.labels
    if isinstance(files.answer, str):
        return MaskCase.of(sample, Outcome.MISSING, files.answer, diagonal=diagonal(truth.shape))
    case = measure_mask(sample, files.answer.labels, truth)
    return replace(case, remark="; ".join(mask_oddities(files.answer, truth)))


def _official_scores(sample: Sample, files: _Files, strict: MaskCase) -> MaskScores | None:
    truth, answer = files.their_truth.values, files.their_answer
    if truth is None or isinstance(answer, str):
        return None
    if answer is files.answer and isinstance(files.truth, TrueMask) and np.array_equal(truth, files.truth.labels):
        return strict.dice, strict.hausdorff
    return mask_scores(answer.labels, truth, sample.num_classes)


def _remarks(sample: Sample, files: _Files, strict: str) -> Iterator[str]:
    if strict:
        yield strict
    theirs = files.their_truth
    if isinstance(files.truth, TrueMask):
        yield from (f"the true mask: {note}" for note in files.truth.notes)
        if not mask_cell(sample):
            yield "the csv has no mask_path, so the official script leaves the row out"
        elif theirs.values is None:
            yield "the official script cannot read the true mask at its mask_path"
        elif not np.array_equal(theirs.values, files.truth.labels):
            yield "the official script compares the true mask's grey values, which are not its classes"
    if theirs.doubt:
        yield f"the true mask may read otherwise in the official script ({theirs.doubt})"
    if isinstance(files.their_answer, StoredMask) and files.their_answer.doubt:
        yield f"the mask may read otherwise in the official script ({files.their_answer.doubt})"
    if files.their_answer is not files.answer:
        yield "the official script looks for the mask elsewhere"
