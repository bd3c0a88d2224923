"""Every row of a data folder is read as training would read it; what is odd becomes a finding."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from challenge import targets
from challenge.errors import ImageError, ManifestError, PathError
from challenge.images import read_image
from challenge.manifest import Manifest, Sample, read_manifest
from challenge.paths import find_image
from challenge.tasks import TaskKind, TaskSpec
from training.groups import group_of
from training.pixels import content_hash, in_parallel
from training.point_order import follows
from training.task_rules import rules_of

_MANY_PIECES, _CRUMBS = 10, 0.02
_MASK_ERRORS = (ImageError, PathError, OSError, SyntaxError, ValueError, EOFError)


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


@dataclass(frozen=True)
class RowFacts:
    """What reading a row gave. `size` is the image's (width, height); `classes` are those that a mask holds."""

    findings: tuple[Finding, ...]
    size: tuple[int, int] | None = None
    content: str | None = None
    classes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Inspection:
    """A data folder, its rows with what reading them gave, and all findings."""

    data_root: Path
    manifest: Manifest
    facts: Mapping[Sample, RowFacts]
    findings: tuple[Finding, ...]

    @property
    def has_errors(self) -> bool:
        """Whether any finding is an error."""
        return any(finding.level is Level.ERROR for finding in self.findings)

    @property
    def by_task(self) -> Mapping[str, list[Sample]]:
        """Rows by task."""
        rows: dict[str, list[Sample]] = defaultdict(list)
        for sample in self.manifest.samples:
            rows[sample.task_id].append(sample)
        return rows


def inspect_folder(data_root: Path, val_root: Path | None = None) -> Inspection:
    """Read everything below `data_root`; with `val_root`, find what both hold. Raises ManifestError."""
    manifest, facts = _read(data_root)
    findings = [finding for row in facts.values() for finding in row.findings]
    findings += _of_manifest(manifest, facts)
    if val_root:
        findings += _shared(facts, _read(val_root)[1])
    return Inspection(data_root, manifest, facts, tuple(findings))


def _read(root: Path) -> tuple[Manifest, dict[Sample, RowFacts]]:
    manifest = read_manifest(root)
    rows = in_parallel(partial(_read_row, root), manifest.samples, f"rows of {root.name}")
    return manifest, dict(zip(manifest.samples, rows, strict=True))


def _read_row(root: Path, sample: Sample) -> RowFacts:
    try:
        path = find_image(root, sample.image_path)
        content = content_hash(path)
        image = read_image(path)
    except (ImageError, PathError, OSError) as error:
        return RowFacts((Finding(Level.ERROR, "unreadable image", str(error), sample),))
    findings = [Finding(Level.WARNING, "odd image file", note, sample) for note in image.notes]
    classes: tuple[int, ...] = ()
    try:
        if sample.kind is TaskKind.SEGMENTATION:
            classes, faults = _check_mask(root, sample, image.size)
        else:
            faults = list(_check_cells(sample, image.size))
    except ManifestError as error:
        faults = [Finding(Level.ERROR, "malformed truth", str(error), sample)]
    return RowFacts((*findings, *faults), image.size, content, classes)


def _check_mask(root: Path, sample: Sample, size: tuple[int, int]) -> tuple[tuple[int, ...], list[Finding]]:
    def error(fault: str, detail: str) -> list[Finding]:
        return [Finding(Level.ERROR, fault, detail, sample)]

    try:
        mask = targets.read_mask(find_image(root, str(sample.mask_file)))
    except _MASK_ERRORS as problem:
        return (), error("unreadable mask", str(problem))
    classes = tuple(int(value) for value in np.unique(mask))
    height, width = mask.shape
    if (width, height) != size:
        return classes, error("mask of another size", f"{width}x{height}, the image has {size[0]}x{size[1]}")
    if classes[-1] >= sample.num_classes:
        return classes, error("mask value beyond the classes", f"{classes[-1]} of {sample.num_classes} classes")
    empty = [Finding(Level.WARNING, "empty mask", "background alone", sample)] if classes == (0,) else []
    return classes, [*empty, *_scattered(mask, classes, sample)]


def _scattered(mask: npt.NDArray[np.uint8], classes: Sequence[int], sample: Sample) -> Iterator[Finding]:
    """Say which classes are crumbs around one piece: the trace of masks that were compressed or redrawn."""
    for number in filter(None, classes):
        pieces = sitk.ConnectedComponent(sitk.GetImageFromArray((mask == number).astype(np.uint8)))
        sizes = np.bincount(sitk.GetArrayViewFromImage(pieces).ravel())[1:]
        outside = 1 - sizes.max() / sizes.sum()
        if len(sizes) > _MANY_PIECES and outside > _CRUMBS:
            detail = f"class {number} lies in {len(sizes)} pieces, {outside:.1%} of it outside the largest"
            yield Finding(Level.WARNING, "scattered class", detail, sample)


def _check_cells(sample: Sample, size: tuple[int, int]) -> Iterator[Finding]:
    """Label, box and points. Raises ManifestError for what is malformed."""
    width, height = size
    if sample.kind is TaskKind.CLASSIFICATION and targets.label(sample) is None:
        yield Finding(Level.WARNING, "no truth", "no label", sample)
    if sample.kind is TaskKind.DETECTION:
        box = targets.box(sample)
        if box is None:
            yield Finding(Level.WARNING, "no truth", "no box", sample)
            return
        x0, y0, x1, y1 = box
        if x1 <= x0 or y1 <= y0:
            yield Finding(Level.ERROR, "empty or upside-down box", f"{box}", sample)
        elif x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
            yield Finding(Level.ERROR, "box outside the image", f"{box} in {width}x{height}", sample)
        elif x0 < 0 or y0 < 0 or x1 > width or y1 > height:
            yield Finding(Level.WARNING, "box reaches out of the image", f"{box} in {width}x{height}", sample)
    if sample.kind is TaskKind.REGRESSION:
        points = targets.points(sample)
        absent = [number for number, point in enumerate(points, 1) if point is None]
        if absent:
            fault = "no truth" if len(absent) == len(points) else "missing points"
            yield Finding(Level.WARNING, fault, f"point {', '.join(map(str, absent))}", sample)
        outside = [p for p in points if p and not (0 <= p[0] <= width and 0 <= p[1] <= height)]
        if outside:
            yield Finding(Level.ERROR, "point outside the image", f"{outside[0]} in {width}x{height}", sample)
        rules = rules_of(TaskSpec(sample.task_id, sample.kind, sample.num_classes))
        if not follows(points, rules.pairs):
            yield Finding(Level.WARNING, "points out of order", f"the rule is {rules.point_order}", sample)


def _of_manifest(manifest: Manifest, facts: Mapping[Sample, RowFacts]) -> Iterator[Finding]:
    for sample in manifest.repeated:
        yield Finding(Level.WARNING, "repeated row", "counts once", sample)
    masks: dict[PurePosixPath, Sample] = {}
    for sample in manifest.samples:
        if sample.mask_file and (other := masks.setdefault(sample.mask_file, sample)).image_path != sample.image_path:
            yield Finding(Level.WARNING, "one mask for two images", f"{sample.mask_file}, see {other.row}", sample)
    seen: dict[tuple[str, str], Sample] = {}
    labels: dict[str, Counter[int]] = defaultdict(Counter)
    for sample, row in facts.items():
        if sample.kind is TaskKind.CLASSIFICATION and (label := _label(sample)) is not None:
            labels[sample.task_id][label] += 1
        if row.content is None:
            continue
        first = seen.setdefault((sample.task_id, row.content), sample)
        if first is sample:
            continue
        if sample.kind is TaskKind.CLASSIFICATION and _label(first) != _label(sample):
            detail = f"labels {_label(first)} and {_label(sample)}, see {first.row}"
            yield Finding(Level.ERROR, "same image, other label", detail, sample)
        else:
            yield Finding(Level.WARNING, "same image twice in a task", f"see {first.row}", sample)
    for task_id, counts in labels.items():
        number = next(s.num_classes for s in facts if s.task_id == task_id)
        if absent := [label for label in range(number) if not counts[label]]:
            yield Finding(Level.WARNING, "class without rows", f"{task_id}: {', '.join(map(str, absent))}")


def _shared(facts: Mapping[Sample, RowFacts], held_out: Mapping[Sample, RowFacts]) -> Iterator[Finding]:
    contents = {row.content: sample for sample, row in held_out.items() if row.content}
    groups = {group_of(sample): sample for sample in held_out}
    for sample, row in facts.items():
        if twin := contents.get(row.content or ""):
            yield Finding(Level.ERROR, "image in both folders", f"the other is {twin.row}", sample)
        elif relative := groups.get(group_of(sample)):
            yield Finding(Level.ERROR, "group in both folders", f"{group_of(sample)}, see {relative.row}", sample)


def _label(sample: Sample) -> int | None:
    try:
        return targets.label(sample)
    except ManifestError:
        return None


def faulty(findings: Sequence[Finding]) -> set[Sample]:
    """Return the rows that have an error."""
    return {f.sample for f in findings if f.level is Level.ERROR and f.sample}
