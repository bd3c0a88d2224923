"""What makes a training row unusable: one list, by which `inspect` reports, `--fix` leaves out and `train` refuses.

| fault | rows |
|---|---|
| unreadable image | the image is missing or cannot be decoded |
| unreadable mask | a mask is missing, cannot be decoded, does not tell the classes (`challenge.masks.true_masks`), or contradicts another of the same image |
| mask of another size | the mask has not the image's size |
| malformed truth | a label, box or point that is no class or no number |
| box or points not in pixels | all numbers lie in 0..1, or close to it |
| empty or upside-down box; box, point outside the image | |
| two truths for one row | two rows of one image and task with different labels, boxes or points |
| same image, other label | two rows of one task with copies of one image and different labels |

A row without a truth (`no truth`) is no error: there is nothing in it to learn from. A task whose rows are of two kinds,
or of two numbers of classes, ends the run, because no row of it says which is right.
"""  # noqa: E501

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from challenge import targets
from challenge.errors import ManifestError
from challenge.manifest import Manifest, Sample, read_manifest
from challenge.tasks import TaskKind
from training.data.row_files import Key, Reading, Size, Unread, key_of

NO_TRUTH = "no truth"

_NORMALISED = 1.5
"""Boxes and points of smaller numbers are shares of the image, with some room for what reaches out of it."""


class Level(StrEnum):
    """An error keeps a row from being trained on (`--fix` leaves it out); a warning does not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """One thing that is odd. `fault` names its kind, `detail` what it is here; `sample` is None for a whole task."""

    level: Level
    fault: str
    detail: str
    sample: Sample | None = None

    def __str__(self) -> str:
        """Where, what and why, in one line."""
        place = f"{self.sample.row}: " if self.sample else ""
        return f"{place}{self.fault}: {self.detail}"


def read_rows(root: Path) -> Manifest:
    """Read a data folder's rows to learn from. Raises ManifestError, also where rows of a task contradict each other.

    A task has one kind and one number of classes.
    """
    manifest = read_manifest(root, truth=True)
    first: dict[str, Sample] = {}
    for sample in (*manifest.samples, *manifest.repeated):
        other = first.setdefault(sample.task_id, sample)
        for column, here, there in (
            ("task_name", sample.kind, other.kind),
            ("num_classes", sample.num_classes, other.num_classes),
        ):
            if here != there:
                raise ManifestError(
                    f"{sample.row}: the task {sample.task_id!r} has the {column} {here}, but {there} in {other.row}; "
                    "give all of its rows the same"
                )
    return manifest


def errors(manifest: Manifest, readings: Mapping[Sample, Reading]) -> list[Finding]:
    """Return every error of the rows, by the list above. `readings` are those of `manifest.samples`."""
    of_rows = [error for sample, reading in readings.items() for error in _of_row(sample, reading)]
    return [*of_rows, *_two_truths(manifest), *_other_labels(readings)]


def faulty(findings: Iterable[Finding]) -> set[Sample]:
    """Return the rows that have an error."""
    return {f.sample for f in findings if f.level is Level.ERROR and f.sample}


def has_truth(sample: Sample) -> bool:
    """Return whether a row has a label, a box or at least one point; a mask is a file. Raises ManifestError."""
    match sample.kind:
        case TaskKind.SEGMENTATION:
            return True
        case TaskKind.CLASSIFICATION:
            return targets.label(sample) is not None
        case TaskKind.DETECTION:
            return targets.box(sample) is not None
        case TaskKind.REGRESSION:
            return any(targets.points(sample))


def _of_row(sample: Sample, reading: Reading) -> Iterator[Finding]:
    for fault, detail in _faults(sample, reading):
        yield Finding(Level.ERROR, fault, detail, sample)


def _faults(sample: Sample, reading: Reading) -> Iterator[tuple[str, str]]:
    if isinstance(reading.image, Unread):
        yield "unreadable image", reading.image.reason
    elif isinstance(reading.mask, Unread):
        yield "unreadable mask", reading.mask.reason
    elif reading.mask and reading.mask != reading.image:
        yield "mask of another size", "{}x{}, the image has {}x{} pixels".format(*reading.mask, *reading.image)
    else:
        try:
            yield from _of_cells(sample, reading.image)
        except ManifestError as error:
            yield "malformed truth", str(error).removeprefix(f"{sample.row}: ")


def _of_cells(sample: Sample, size: Size) -> Iterator[tuple[str, str]]:
    match sample.kind:
        case TaskKind.CLASSIFICATION:
            targets.label(sample)
        case TaskKind.DETECTION:
            if box := targets.box(sample):
                yield from _of_box(box, size)
        case TaskKind.REGRESSION:
            yield from _of_points([point for point in targets.points(sample) if point], size)


def _of_box(box: targets.Box, size: Size) -> Iterator[tuple[str, str]]:
    x0, y0, x1, y1 = box
    if max(map(abs, box)) <= _NORMALISED:
        yield "box not in pixels", f"{box}; write boxes in pixels of the image, not as shares of it"
    elif x1 <= x0 or y1 <= y0:
        yield "empty or upside-down box", f"{box}"
    elif x1 <= 0 or y1 <= 0 or x0 >= size[0] or y0 >= size[1]:
        yield "box outside the image", f"{box} in {size[0]}x{size[1]} pixels"


def _of_points(points: Sequence[targets.Point], size: Size) -> Iterator[tuple[str, str]]:
    if points and max(abs(number) for point in points for number in point) <= _NORMALISED:
        yield "points not in pixels", f"{points[0]}; write points in pixels of the image, not as shares of it"
        return
    outside = [point for point in points if not (0 <= point[0] <= size[0] and 0 <= point[1] <= size[1])]
    if outside:
        yield "point outside the image", f"{outside[0]} in {size[0]}x{size[1]} pixels"


def _two_truths(manifest: Manifest) -> Iterator[Finding]:
    """Rows that name an image and a task again: harmless where they say the same."""
    kept: dict[Key, list[Sample]] = defaultdict(list)
    for sample in manifest.samples:
        kept[key_of(sample)].append(sample)
    for sample in manifest.repeated:
        first = kept[key_of(sample)]
        if all(_truth(other) != _truth(sample) for other in first):
            detail = f"{_truth(first[0])}, but {_truth(sample)} in {sample.row}; remove one of the two"
            yield Finding(Level.ERROR, "two truths for one row", detail, first[0])


def _other_labels(readings: Mapping[Sample, Reading]) -> Iterator[Finding]:
    """Copies of an image with different labels: none of them can be trusted."""
    copies: dict[Key, list[Sample]] = defaultdict(list)
    for sample, reading in readings.items():
        if sample.kind is TaskKind.CLASSIFICATION and reading.content:
            copies[reading.content, sample.task_id].append(sample)
    for samples in copies.values():
        for sample in samples:
            if other := next((s for s in samples if _truth(s) != _truth(sample)), None):
                detail = f"{_truth(sample)}, but {_truth(other)} in {other.row}"
                yield Finding(Level.ERROR, "same image, other label", detail, sample)


def _truth(sample: Sample) -> str:
    """What a row says is true, in words that are equal where the truth is."""
    try:
        match sample.kind:
            case TaskKind.SEGMENTATION:
                return f"mask {sample.mask_file}"
            case TaskKind.CLASSIFICATION:
                return f"label {targets.label(sample)}"
            case TaskKind.DETECTION:
                return f"box {targets.box(sample)}"
            case TaskKind.REGRESSION:
                return f"points {targets.points(sample)}"
    except ManifestError:
        return "a malformed truth"
