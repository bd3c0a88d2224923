"""A data folder and a folder of predictions -> one case per manifest row. Masks are compared in parallel."""

import logging
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from challenge.errors import ImageError, PathError
from challenge.host.limits import available_cpus
from challenge.host.progress import progress
from challenge.imaging.decode import read_size
from challenge.manifest import Manifest, Sample, read_manifest
from challenge.paths import JSON_FILES, find_image
from challenge.predictions import ClassPrediction, PointsPrediction
from challenge.readers import (
    Entry,
    Submission,
    SubmissionError,
    open_submission,
    unknown_entries,
)
from challenge.targets import box, label
from challenge.tasks import TaskKind, TaskSpec
from evaluate.metrics.segmentation import diagonal
from evaluate.scores.cases import CASE_TYPES, BoxCase, Case, LabelCase, MaskCase, Outcome, PointsCase
from evaluate.scores.mask_cases import mask_case
from evaluate.scores.one_case import absent_points, measure_one

logger = logging.getLogger(__name__)

# A new process must first import numpy and SimpleITK; that pays off only for many masks.
_MASKS_PER_PROCESS = 24
_CELLS = ("group", "mask_path")
_SIZE_UNKNOWN = (256, 256)
_NO_TRUTH = {
    TaskKind.CLASSIFICATION: "the csv has no label, and the official script fails on such a row",
    TaskKind.DETECTION: "the csv has no box",
}


@dataclass(frozen=True)
class Measured:
    """All measured cases: the tasks in manifest order, one case per row, and general remarks.

    The official script leaves out the tasks in `skipped`, because of their `task_name`, and the kinds in `absent`,
    which have no answer file.
    """

    tasks: tuple[TaskSpec, ...]
    cases: tuple[Case, ...]
    remarks: tuple[str, ...] = ()
    skipped: frozenset[str] = frozenset()
    absent: frozenset[TaskKind] = frozenset()


def default_jobs() -> int:
    """Return the number of processors that this process may use."""
    return available_cpus()


def measure(data_root: Path, predictions: Path, jobs: int | None = None) -> Measured:
    """Compare every row's prediction with its truth, masks in `jobs` processes.

    Raises ManifestError or SubmissionError, with file and row or entry, for folders that cannot be scored.
    """
    manifest = read_manifest(data_root, truth=True)
    samples, remarks = scored_samples(manifest)
    skipped = skipped_tasks(samples)
    remarks += skipped.values()
    submission = open_submission(predictions)
    # The JSON kinds first: a malformed entry is reported before the slow masks start.
    of_json = iter(
        [_json_case(sample, submission, data_root) for sample in samples if sample.kind is not TaskKind.SEGMENTATION]
    )
    masks = [sample for sample in samples if sample.kind is TaskKind.SEGMENTATION]
    of_masks = _mask_cases(masks, data_root, predictions, jobs or default_jobs())
    cases = tuple(next(of_masks if sample.kind is TaskKind.SEGMENTATION else of_json) for sample in samples)
    cases = tuple(replace(case, official=False) if case.task_id in skipped else case for case in cases)
    for kind, answers in submission.answers.items():
        if unknown := unknown_entries(answers, samples):
            remarks.append(
                f"{JSON_FILES[kind]}: {len(unknown)} entries name an image and task that no csv row has; "
                f"they are not counted (the first: {unknown[0].place})"
            )
    specs = {sample.task_id: TaskSpec(sample.task_id, sample.kind, sample.num_classes) for sample in samples}
    absent = frozenset(JSON_FILES) - frozenset(submission.answers)
    return Measured(tuple(specs.values()), cases, tuple(remarks), frozenset(skipped), absent)


def scored_samples(manifest: Manifest) -> tuple[list[Sample], list[str]]:
    """Return the rows as the official script counts them, and remarks on what is odd about them.

    It scores repeated rows every time (here they come last), and takes a task's `num_classes` from its first csv row.
    """
    remarks = []
    counts: dict[str, int] = {}
    for sample in manifest.samples:
        if sample.task_id not in counts:
            counts[sample.task_id] = number = _csv_num_classes(sample)
            if number != sample.num_classes:
                remarks.append(
                    f"{sample.row}: num_classes of {sample.task_id} is {number}, the catalogue says "
                    f"{sample.num_classes}; the csv counts, as in the official script"
                )
    if manifest.repeated:
        remarks.append(f"{len(manifest.repeated)} csv rows repeat another; each is counted, as in the official script")
    rows = (*manifest.samples, *manifest.repeated)
    return [replace(sample, num_classes=counts[sample.task_id]) for sample in rows], remarks


def skipped_tasks(samples: Iterable[Sample]) -> dict[str, str]:
    """Return the tasks that the official script skips, each with a sentence.

    The script compares the `task_name` of a task's first csv row with its own spelling, in exact case.
    """
    first: dict[str, Sample] = {}
    for sample in samples:
        first.setdefault(sample.task_id, sample)
    return {
        task_id: f"{sample.row}: task_name {sample.cells.get('task_name', '')!r} of {task_id} is not "
        f"{_official_name(sample.kind)!r}, the official script's spelling, so it skips the task"
        for task_id, sample in first.items()
        if sample.cells.get("task_name") != _official_name(sample.kind)
    }


def _official_name(kind: TaskKind) -> str:
    return "Regression" if kind is TaskKind.REGRESSION else kind.value


def _csv_num_classes(sample: Sample) -> int:
    text = sample.cells.get("num_classes", "").strip()
    least = 2 if sample.kind in (TaskKind.SEGMENTATION, TaskKind.CLASSIFICATION) else 1
    return int(text) if text.isdecimal() and least <= int(text) <= 256 else sample.num_classes


def _mask_cases(samples: Sequence[Sample], data_root: Path, predictions: Path, jobs: int) -> Iterator[Case]:
    work = partial(mask_case, data_root=data_root, predictions=predictions)
    # Cells are a read-only mapping, which cannot be pickled for another process.
    lean = [replace(sample, cells={name: sample.cells.get(name, "") for name in _CELLS}) for sample in samples]
    yield from progress(_parallel(work, lean, jobs), len(lean), "masks")


def _parallel(work: Callable[[Sample], MaskCase], samples: Sequence[Sample], jobs: int) -> Iterable[MaskCase]:
    jobs = min(jobs, len(samples) // _MASKS_PER_PROCESS)
    if jobs < 2:
        yield from map(work, samples)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks of SimpleITK
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_one_thread) as pool:
        try:
            yield from pool.map(work, samples, chunksize=4)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _one_thread() -> None:
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def _json_case(sample: Sample, submission: Submission, data_root: Path) -> Case:
    if not _has_truth(sample):
        return CASE_TYPES["fmc"][sample.kind].of(sample, Outcome.NO_TRUTH, _NO_TRUTH[sample.kind])
    answers = submission.answers.get(sample.kind)
    entry = answers.of(sample) if answers else None
    if entry is None:
        return _missing_case(sample, data_root)
    _check_length(entry, sample)
    return measure_one(sample, entry.prediction)


def _has_truth(sample: Sample) -> bool:
    match sample.kind:
        case TaskKind.CLASSIFICATION:
            return label(sample) is not None
        case TaskKind.DETECTION:
            return box(sample) is not None
        case _:
            return True


def _missing_case(sample: Sample, data_root: Path) -> Case:
    why = f"no entry in {JSON_FILES[sample.kind]}"
    match sample.kind:
        case TaskKind.CLASSIFICATION:
            return LabelCase.of(sample, Outcome.MISSING, why, true=label(sample))
        case TaskKind.DETECTION:
            return BoxCase.of(sample, Outcome.MISSING, why)
        case _:
            worst = diagonal(_native_size(sample, data_root))
            return PointsCase.of(sample, Outcome.MISSING, why, absent=absent_points(sample), diagonal=worst)


def _check_length(entry: Entry, sample: Sample) -> None:
    classes = sample.num_classes
    match entry.prediction:
        case ClassPrediction(probabilities) if len(probabilities) != classes:
            what = f"'predicted_probs' must hold {classes} numbers, one per class"
        case PointsPrediction(pixels) if len(pixels) != 2 * classes:
            what = f"'predicted_points_pixels' must hold {2 * classes} numbers, x and y of {classes} points"
        case _:
            return
    raise SubmissionError(f"{entry.place}: {what} of {sample.task_id} ({sample.row})")


def _native_size(sample: Sample, data_root: Path) -> tuple[int, int]:
    try:
        return read_size(find_image(data_root, sample.image_path)) or _SIZE_UNKNOWN
    except (ImageError, PathError):
        return _SIZE_UNKNOWN
