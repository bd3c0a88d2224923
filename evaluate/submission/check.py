"""Is a folder of predictions ready for upload? Finds what the organisers' script skips or fails on without a word."""

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from challenge.errors import ImageError, PathError
from challenge.host.progress import progress
from challenge.imaging.decode import read_size
from challenge.manifest import Sample, read_manifest, superseded
from challenge.paths import JSON_FILES, find_image
from challenge.predictions import BoxPrediction, ClassPrediction, PointsPrediction
from challenge.readers import (
    Entry,
    SubmissionError,
    mask_path,
    read_answers,
    read_stored_mask,
)
from challenge.tasks import TaskKind
from evaluate.scores.mask_cases import mask_cell, official_answer
from evaluate.scores.scoring import scored_samples
from evaluate.submission.csv_check import csv_problems

# scikit-learn refuses a sum of probabilities that is off by more than 1e-5; the contract asks for 1e-6.
_SUM_REFUSED, _SUM_ALLOWED = 1e-5, 1e-6
# Normalised and pixel coordinates of one answer may differ by this many pixels before they contradict each other.
_AGREEMENT = 1.0
_ELSEWHERE = (
    'the official script looks for the mask elsewhere, because it only removes every "../" from mask_path; give the '
    "mask another path in the csv"
)


@dataclass
class Findings:
    """Errors and warnings, each problem with its places, and the files that the zip must contain."""

    errors: dict[str, list[str]] = field(default_factory=dict)
    warnings: dict[str, list[str]] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    rows: int = 0

    def error(self, problem: str, place: str) -> None:
        """Add a problem that makes the submission invalid or lowers its score."""
        self.errors.setdefault(problem, []).append(place)

    def warn(self, problem: str, place: str) -> None:
        """Add an oddity that the organisers' script accepts."""
        self.warnings.setdefault(problem, []).append(place)


def check(data_root: Path, predictions: Path) -> Findings:
    """Compare an output folder with the manifests of `data_root`, of which only csv files and images are needed.

    Raises ManifestError for unusable manifests and SubmissionError if there is no such folder.
    """
    manifest = read_manifest(data_root)
    every, _ = scored_samples(manifest)
    samples = every[: len(manifest.samples)]
    if not predictions.is_dir():
        raise SubmissionError(f"there is no folder {predictions}; give the folder that inference.py wrote")
    findings = Findings(rows=len(samples))
    for problem, place in csv_problems(data_root, every):
        findings.error(problem, place)
    sizes = _Sizes(data_root)
    for kind in JSON_FILES:
        _check_json(kind, [sample for sample in samples if sample.kind is kind], predictions, sizes, findings)
    masks = [sample for sample in samples if sample.kind is TaskKind.SEGMENTATION]
    for sample in progress(masks, label="masks"):
        _check_mask(sample, predictions, sizes, findings)
    for sample in superseded(samples):
        findings.warn("a later row overwrites the mask of this row; give each row its own mask_path", str(sample.row))
    findings.files = sorted({*JSON_FILES.values(), *(str(sample.mask_file) for sample in masks)})
    _check_leftovers(predictions, findings)
    return findings


class _Sizes:
    """Native sizes of images by their csv cell, each header read once."""

    def __init__(self, data_root: Path) -> None:
        self._root = data_root
        self.of = lru_cache(maxsize=None)(self._of)

    def _of(self, image_path: str) -> tuple[int, int] | None:
        try:
            return read_size(find_image(self._root, image_path))
        except (ImageError, PathError):
            return None


def _check_json(
    kind: TaskKind, samples: Sequence[Sample], predictions: Path, sizes: _Sizes, findings: Findings
) -> None:
    name = JSON_FILES[kind]
    try:
        answers = read_answers(predictions, kind)
    except SubmissionError as error:
        findings.error(str(error), name)
        return
    if answers is None:
        findings.error("the file is missing; write all three JSON files, even if the list is empty", name)
        return
    for sentence in answers.malformed:
        place, _, problem = sentence.partition(": ")
        findings.error(problem, place)
    for sample in samples:
        if answers.of(sample) is None:
            findings.error(f"the row has no entry in {name}; answer every row", _place(sample))
    by_key = {(sample.image_path, sample.task_id): sample for sample in samples}
    for entry in answers.entries:
        known = by_key.get((entry.image_path, entry.task_id))
        if known is None:
            findings.error("no csv row has this image_path and task_id; copy the csv's cells exactly", _named(entry))
        elif answers.of(known) is not entry:
            findings.error(
                "a later entry answers the same row, and only the last counts; answer each row once", _named(entry)
            )
        else:
            _check_entry(entry, known, sizes, findings)


def _check_entry(entry: Entry, sample: Sample, sizes: _Sizes, findings: Findings) -> None:
    match entry.prediction:
        case ClassPrediction() as answer:
            _check_class(answer, sample, _named(entry), findings)
        case BoxPrediction() as answer:
            _check_box(answer, sample, _named(entry), sizes, findings)
        case PointsPrediction() as answer:
            _check_points(answer, sample, _named(entry), sizes, findings)


def _check_class(answer: ClassPrediction, sample: Sample, place: str, findings: Findings) -> None:
    classes, values = sample.num_classes, answer.probabilities
    if len(values) != classes:
        findings.error(f"{len(values)} probabilities for {classes} classes; write one per class", place)
        return
    if not 0 <= answer.predicted_class < classes:
        findings.error(f"predicted_class is outside 0..{classes - 1}; write a class index", place)
    elif values[answer.predicted_class] < max(values):
        findings.warn("predicted_class is not the most probable class", place)
    if min(values) < 0 or max(values) > 1:
        findings.error("a probability is outside 0..1", place)
    off = abs(math.fsum(values) - 1)
    if off > _SUM_REFUSED:
        findings.error("the probabilities do not sum to 1, so the official AUC becomes 0; write them unrounded", place)
    elif off > _SUM_ALLOWED:
        findings.warn("the sum of the probabilities is off by more than 1e-6; write them unrounded", place)


def _check_box(answer: BoxPrediction, sample: Sample, place: str, sizes: _Sizes, findings: Findings) -> None:
    for values in (answer.pixels, answer.normalized):
        x0, y0, x1, y1 = values
        if x0 > x1 or y0 > y1:
            findings.error("the box is upside down, which scores 0; write x0 <= x1 and y0 <= y1", place)
            return
    if answer.pixels[0] == answer.pixels[2] or answer.pixels[1] == answer.pixels[3]:
        findings.warn("the box has no area, which scores 0", place)
    if min(answer.normalized) < -_SUM_ALLOWED or max(answer.normalized) > 1 + _SUM_ALLOWED:
        findings.error("bbox_normalized is outside 0..1; divide by the original image's width and height", place)
    _check_agreement(answer, sample, place, sizes, findings)


def _check_points(answer: PointsPrediction, sample: Sample, place: str, sizes: _Sizes, findings: Findings) -> None:
    if len(answer.pixels) != 2 * sample.num_classes:
        findings.error(f"{len(answer.pixels)} numbers for {sample.num_classes} points; write x and y of each", place)
        return
    if min(answer.normalized) < 0 or max(answer.normalized) > 1:
        findings.warn("a point lies outside the image", place)
    _check_agreement(answer, sample, place, sizes, findings)


def _check_agreement(
    answer: BoxPrediction | PointsPrediction, sample: Sample, place: str, sizes: _Sizes, findings: Findings
) -> None:
    size = sizes.of(sample.image_path)
    if size is None:
        findings.warn("the image is not readable, so its size could not be compared", _place(sample))
        return
    scaled = [value * size[index % 2] for index, value in enumerate(answer.normalized)]
    if any(abs(ours - theirs) > _AGREEMENT for ours, theirs in zip(scaled, answer.pixels, strict=True)):
        findings.error(
            "normalised and pixel coordinates contradict each other; give pixels of the original image", place
        )


def _check_mask(sample: Sample, predictions: Path, sizes: _Sizes, findings: Findings) -> None:
    path, place = mask_path(predictions, sample), f"{sample.mask_file} ({sample.row})"
    cell = mask_cell(sample)
    if cell and official_answer(predictions, cell) != Path(os.path.normpath(path)):
        findings.error(_ELSEWHERE, place)
    if not path.is_file():
        findings.error("the mask is missing; answer every row", place)
        return
    size = sizes.of(sample.image_path)
    try:
        stored = read_stored_mask(path, size)
    except ImageError as error:
        problem = str(error).removeprefix(f"{path.name}: ")
        findings.error(f"the mask is {problem}; write it again, at the size of the image", place)
        return
    if stored.fault:
        findings.error(stored.fault, place)
        return
    if size is None:
        findings.warn("the image is not readable, so its size could not be compared", _place(sample))
    elif (stored.labels.shape[1], stored.labels.shape[0]) != size:
        findings.error("the mask does not have the size of the original image; write it at that size", place)
    if int(stored.labels.max(initial=0)) >= sample.num_classes:
        findings.error(
            f"the mask holds values above {sample.num_classes - 1}, the last class; write class indices", place
        )


def _check_leftovers(predictions: Path, findings: Findings) -> None:
    expected = set(findings.files)
    for path in sorted(_files(predictions)):
        relative = path.relative_to(predictions)
        if relative.parts[0] == ".journal":
            findings.error(
                "the run did not finish, as its journal is still there; run inference.py again", str(relative)
            )
        elif relative.as_posix() not in expected:
            findings.warn("the file does not belong to any csv row and is left out of the zip", relative.as_posix())


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _place(sample: Sample) -> str:
    return f"{sample.row} ({sample.image_path})"


def _named(entry: Entry) -> str:
    return f"{entry.place} ({entry.task_id}, {entry.image_path})"
