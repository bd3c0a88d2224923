"""Reads every row of a data folder as training would.

`training.data.usable` says which rows cannot be used for training. This module finds what else is unusual.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from challenge import targets
from challenge.imaging.decode import read_image
from challenge.manifest import Manifest, Sample
from challenge.masks.true_masks import TrueMask
from challenge.paths import find_image
from challenge.tasks import TaskKind, TaskSpec
from training.augmentation.point_order import follows
from training.augmentation.task_rules import rules_of
from training.data.groups import group_of
from training.data.pixels import in_parallel
from training.data.row_files import (
    FileSet,
    Key,
    Reading,
    Size,
    Unread,
    attempt,
    content_of,
    image_of,
    key_of,
    masks_of,
    read_masks,
)
from training.data.thumbnails import Thumbnail, thumbnail
from training.data.usable import NO_TRUTH, Finding, Level, errors, faulty, has_truth, read_rows
from training.inspection import near_copy_findings

_MANY_PIECES, _CRUMBS = 10, 0.02


@dataclass(frozen=True)
class RowFacts:
    """What reading a row found: `warnings` about its files, and the `classes` in its mask.

    `thumbnail` is the image's, None if it cannot be read.
    """

    reading: Reading
    warnings: tuple[Finding, ...] = ()
    classes: tuple[int, ...] = ()
    thumbnail: Thumbnail | None = field(default=None, repr=False, compare=False)

    @property
    def size(self) -> Size | None:
        """The image's (width, height), None if it cannot be read."""
        return None if isinstance(self.reading.image, Unread) else self.reading.image


@dataclass(frozen=True)
class Inspection:
    """A data folder, the facts of its rows, all findings, and which images are nearly the same."""

    data_root: Path
    manifest: Manifest
    facts: Mapping[Sample, RowFacts]
    findings: tuple[Finding, ...]
    alike: near_copy_findings.Alike = field(default_factory=near_copy_findings.Alike)

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
    """Read everything below `data_root`; with `val_root`, also find what both contain. Raises ManifestError."""
    manifest, facts = _read(data_root)
    findings = errors(manifest, {sample: row.reading for sample, row in facts.items()})
    findings += _warnings(manifest, facts, faulty(findings))
    held_out = _read(val_root)[1] if val_root else {}
    findings += _shared(facts, held_out)
    pictures = _pictures(data_root, facts, faulty(findings))
    alike = near_copy_findings.find_alike(pictures, _pictures(val_root, held_out) if val_root else None)
    findings += near_copy_findings.findings(alike, pictures)
    return Inspection(data_root, manifest, facts, tuple(findings), alike)


def _read(root: Path) -> tuple[Manifest, dict[Sample, RowFacts]]:
    manifest = read_rows(root)
    masks = masks_of(manifest.samples)
    rows = in_parallel(partial(_read_row, root, masks), manifest.samples, f"rows of {root.name}")
    return manifest, dict(zip(manifest.samples, rows, strict=True))


def _pictures(
    root: Path, facts: Mapping[Sample, RowFacts], lost: Set[Sample] = frozenset()
) -> near_copy_findings.Pictures:
    """Return the images of a folder's rows, but for those that are lost."""
    rows: dict[str, list[Sample]] = defaultdict(list)
    thumbnails: dict[str, Thumbnail] = {}
    for sample, row in facts.items():
        if sample not in lost and row.reading.content and row.thumbnail is not None:
            rows[row.reading.content].append(sample)
            thumbnails[row.reading.content] = row.thumbnail
    return near_copy_findings.Pictures(root, rows, thumbnails)


def _read_row(root: Path, masks: Mapping[Key, FileSet], sample: Sample) -> RowFacts:
    content = attempt(partial(content_of, root, image_of(sample)))
    if isinstance(content, Unread):
        return RowFacts(Reading(content))
    image = attempt(lambda: read_image(find_image(root, sample.image_path)))
    if isinstance(image, Unread):
        return RowFacts(Reading(image, content=content))
    notes = [Finding(Level.WARNING, "odd image file", note, sample) for note in image.notes]
    small = thumbnail(image.pixels)
    if sample.kind is not TaskKind.SEGMENTATION:
        return RowFacts(Reading(image.size, content=content), tuple(notes), thumbnail=small)
    mask = attempt(partial(read_masks, root, masks[key_of(sample)]))
    if isinstance(mask, Unread):
        return RowFacts(Reading(image.size, mask, content), tuple(notes), thumbnail=small)
    classes = tuple(int(value) for value in np.unique(mask.labels))
    height, width = mask.labels.shape
    warnings = (*notes, *_mask_warnings(mask, classes, sample))
    return RowFacts(Reading(image.size, (width, height), content), warnings, classes, small)


def _mask_warnings(mask: TrueMask, classes: Sequence[int], sample: Sample) -> Iterator[Finding]:
    for note in mask.notes:
        yield Finding(Level.WARNING, "mask read by a rule", note, sample)
    if classes == (0,):
        yield Finding(Level.WARNING, "empty mask", "background only", sample)
    yield from _scattered(mask.labels, classes, sample)


def _scattered(mask: npt.NDArray[np.uint8], classes: Sequence[int], sample: Sample) -> Iterator[Finding]:
    """Find classes with many small components around one large one: a trace of compressed or redrawn masks."""
    for number in filter(None, classes):
        components = sitk.ConnectedComponent(sitk.GetImageFromArray((mask == number).astype(np.uint8)))
        sizes = np.bincount(sitk.GetArrayViewFromImage(components).ravel())[1:]
        outside = 1 - sizes.max() / sizes.sum()
        if len(sizes) > _MANY_PIECES and outside > _CRUMBS:
            detail = f"class {number} has {len(sizes)} connected components, {outside:.1%} of it outside the largest"
            yield Finding(Level.WARNING, "scattered class", detail, sample)


def _warnings(manifest: Manifest, facts: Mapping[Sample, RowFacts], lost: Set[Sample]) -> Iterator[Finding]:
    """Yield what is unusual in the rows without an error, and in the folder as a whole."""
    for sample, row in facts.items():
        if sample not in lost and row.size:
            yield from row.warnings
            yield from _of_cells(sample, row.size)
    left_out = set(map(key_of, lost))
    for sample in manifest.repeated:
        if key_of(sample) not in left_out:
            yield Finding(Level.WARNING, "repeated row", "counts once", sample)
    yield from _shared_masks(manifest.samples)
    yield from _copies(facts, lost)
    yield from _absent_classes(sample for sample in facts if sample not in lost)


def _of_cells(sample: Sample, size: Size) -> Iterator[Finding]:
    if not has_truth(sample):
        yield Finding(Level.WARNING, NO_TRUTH, f"a {sample.kind} row without one", sample)
    elif sample.kind is TaskKind.DETECTION:
        x0, y0, x1, y1 = targets.box(sample) or (0, 0, 0, 0)
        if x0 < 0 or y0 < 0 or x1 > size[0] or y1 > size[1]:
            detail = f"{(x0, y0, x1, y1)} in {size[0]}x{size[1]}"
            yield Finding(Level.WARNING, "box extends beyond the image", detail, sample)
    elif sample.kind is TaskKind.REGRESSION:
        yield from _of_points(sample)


def _of_points(sample: Sample) -> Iterator[Finding]:
    points = targets.points(sample)
    if absent := [number for number, point in enumerate(points, 1) if point is None]:
        yield Finding(Level.WARNING, "missing points", f"point {', '.join(map(str, absent))}", sample)
    rules = rules_of(TaskSpec(sample.task_id, sample.kind, sample.num_classes))
    if not follows(points, rules.pairs):
        yield Finding(Level.WARNING, "points out of order", f"the rule is {rules.point_order}", sample)


def _shared_masks(samples: Iterable[Sample]) -> Iterator[Finding]:
    masks: dict[PurePosixPath, Sample] = {}
    for sample in samples:
        if sample.mask_file and (other := masks.setdefault(sample.mask_file, sample)).image_path != sample.image_path:
            yield Finding(Level.WARNING, "one mask for two images", f"{sample.mask_file}, see {other.row}", sample)


def _copies(facts: Mapping[Sample, RowFacts], lost: Set[Sample]) -> Iterator[Finding]:
    seen: dict[Key, Sample] = {}
    for sample, row in facts.items():
        if row.reading.content and sample not in lost:
            first = seen.setdefault((row.reading.content, sample.task_id), sample)
            if first.image_path != sample.image_path:
                yield Finding(Level.WARNING, "same image twice in a task", f"see {first.row}", sample)


def _absent_classes(samples: Iterable[Sample]) -> Iterator[Finding]:
    labels: dict[tuple[str, int], Counter[int | None]] = defaultdict(Counter)
    for sample in samples:
        if sample.kind is TaskKind.CLASSIFICATION:
            labels[sample.task_id, sample.num_classes][targets.label(sample)] += 1
    for (task_id, number), counts in labels.items():
        if absent := [label for label in range(number) if not counts[label]]:
            yield Finding(Level.WARNING, "class without rows", f"{task_id}: {', '.join(map(str, absent))}")


def _shared(facts: Mapping[Sample, RowFacts], held_out: Mapping[Sample, RowFacts]) -> Iterator[Finding]:
    contents = {row.reading.content: sample for sample, row in held_out.items() if row.reading.content}
    groups = {group_of(sample): sample for sample in held_out}
    for sample, row in facts.items():
        if twin := contents.get(row.reading.content or ""):
            yield Finding(Level.ERROR, "image in both folders", f"the other is {twin.row}", sample)
        elif relative := groups.get(group_of(sample)):
            yield Finding(Level.ERROR, "group in both folders", f"{group_of(sample)}, see {relative.row}", sample)
