"""Draws a data folder: a sheet of examples with their truth for each task, and an overview."""

import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from challenge import targets
from challenge.class_names import ClassNames
from challenge.errors import ManifestError
from challenge.host.progress import progress
from challenge.imaging.decode import read_image
from challenge.manifest import Sample
from challenge.paths import find_image
from challenge.predictions import ClassPrediction, MaskPrediction, Prediction
from challenge.tasks import TaskKind, TaskSpec
from evaluate.pages.overlays import class_colour, overlay
from evaluate.pages.rows import read_truth
from training.data.row_files import FileSet, Key, key_of, masks_of, read_masks
from training.data.usable import faulty
from training.figures import distinct, literal, new_figure, patch, rgb
from training.inspection.checks import Inspection
from training.inspection.near_copy_findings import Alike, Pair

_SHEET = 12
_SIDE = 320
"""Pixels of an example's longer side."""


def draw(inspection: Inspection, output: Path, names: ClassNames | None = None) -> list[Path]:
    """Write `output/overview.png`, `output/TASK.png` for every task and `output/near_copies.png`; return the paths.

    There is no picture of a task without usable rows, and none of near-copies where there are none. `names` are what
    the classes are called. Raises UserError if they do not fit the data.
    """
    names = names or ClassNames()
    names.check(_spec(samples[0]) for samples in inspection.by_task.values())
    output.mkdir(parents=True, exist_ok=True)
    lost = faulty(inspection.findings)
    paths = [output / "overview.png"]
    _overview(inspection, names, paths[0])
    for task_id, samples in progress(sorted(inspection.by_task.items()), label="pictures"):
        good = [sample for sample in samples if sample not in lost]
        if good:
            paths.append(output / f"{task_id}.png")
            _sheet(inspection.data_root, good, masks_of(samples), names.of(_spec(good[0])), paths[-1])
    (output / "near_copies.png").unlink(missing_ok=True)  # of an inspection before
    if _pairs(inspection.alike):
        paths.append(output / "near_copies.png")
        _near_copies(inspection.alike, paths[-1])
    return paths


def _pairs(alike: Alike) -> list[Pair]:
    return [*alike.across, *alike.named, *alike.joined][:_SHEET]


def _near_copies(alike: Alike, path: Path) -> None:
    """Draw the closest pairs side by side, three in a row; those of two folders come first."""
    pairs = _pairs(alike)
    rows = math.ceil(len(pairs) / 3)
    figure = new_figure(14, 2.8 * rows + 0.4)
    figure.suptitle(f"near-copies: {len(alike.across)} in both folders, {len(alike.named)} in two groups that have a "
                    f"name, {len(alike.joined)} joined into a group")  # fmt: skip
    places = figure.subplots(rows, 6, squeeze=False)
    for axes in places.flat:
        axes.axis("off")
    shown = [(pair, side) for pair in pairs for side in (0, 1)]
    for axes, (pair, side) in zip(places.flat, shown, strict=False):
        sample = (pair.one, pair.other)[side]
        axes.imshow(read_image(find_image(pair.roots[side], sample.image_path)).pixels, aspect="auto")
        name = Path(sample.image_path).name[-30:]
        axes.set_title(literal(name if side else f"{pair.correlation:.3f}  {name}"), fontsize=6)
    figure.savefig(path, dpi=90)


def _spec(sample: Sample) -> TaskSpec:
    return TaskSpec(sample.task_id, sample.kind, sample.num_classes)


def _sheet(
    root: Path, samples: Sequence[Sample], masks: Mapping[Key, FileSet], names: Sequence[str], path: Path
) -> None:
    chosen = np.linspace(0, len(samples) - 1, min(_SHEET, len(samples))).round().astype(int)
    examples = [_example(root, samples[index], masks, names) for index in chosen]
    columns = min(4, len(examples))
    rows = math.ceil(len(examples) / columns)
    tallest = max(picture.height / picture.width for picture, _ in examples)
    figure = new_figure(3.2 * columns, (3 * min(tallest, 1.4) + 0.35) * rows + 0.8)
    figure.suptitle(literal(f"{samples[0].task_id} ({samples[0].kind}), {len(samples)} rows"))
    places = figure.subplots(rows, columns, squeeze=False)
    for axes in places.flat:
        axes.axis("off")
    for axes, (picture, title) in zip(places.flat, examples, strict=False):
        axes.imshow(np.asarray(picture))
        axes.set_title(literal(title), fontsize=7)
    if keys := _keys(samples[0].kind, names):
        figure.legend(handles=keys, loc="outside lower center", ncols=min(5, len(keys)), frameon=False)
    figure.savefig(path, dpi=90)


def _keys(kind: TaskKind, names: Sequence[str]) -> list[Any]:
    """The entries of a sheet's legend: the colour of every class, box or pair of points."""
    match kind:
        case TaskKind.SEGMENTATION:
            labels = list(names[1:])
        case TaskKind.CLASSIFICATION:
            labels = []
        case TaskKind.DETECTION:
            labels = ["true box"]
        case TaskKind.REGRESSION:
            labels = [" and ".join(names[first : first + 2]) for first in range(0, len(names), 2)]
    return [patch(label, class_colour(index)) for index, label in enumerate(labels, start=1)]


def _example(root: Path, sample: Sample, masks: Mapping[Key, FileSet], names: Sequence[str]) -> tuple[Image.Image, str]:
    """Return a row's image with its truth, and its title: the file's name, and the class of a label."""
    image = Image.fromarray(read_image(find_image(root, sample.image_path)).pixels)
    truth = _truth(sample, root, masks, image.size)
    title = textwrap.fill(Path(sample.image_path).name, 46)
    # Outlines run inside their shapes, so that those of neighbours do not hide each other.
    if isinstance(truth, ClassPrediction):
        return overlay(image, None, side=_SIDE), f"{names[truth.predicted_class]}\n{title}"
    return overlay(image, truth, side=_SIDE), title


def _truth(sample: Sample, root: Path, masks: Mapping[Key, FileSet], size: tuple[int, int]) -> Prediction | None:
    """The row's truth as the pages draw it; masks as training joins them."""
    if sample.kind is TaskKind.SEGMENTATION:
        return MaskPrediction(read_masks(root, masks[key_of(sample)]).labels)
    return read_truth(sample, root, size)


def _overview(inspection: Inspection, names: ClassNames, path: Path) -> None:
    by_task = sorted(inspection.by_task.items(), key=lambda item: (item[1][0].kind, item[0]))
    figure = new_figure(13, 2.2 + 0.3 * len(by_task))
    counts, sizes = figure.subplots(1, 2)
    labels = [literal(task_id) for task_id, _ in by_task]
    looks = distinct(len(by_task))
    largest = max(len(samples) for _, samples in by_task)
    for place, (_, samples) in enumerate(by_task):
        _bar(counts, place, samples, names, largest)
        known = Counter(size for s in samples if (size := inspection.facts[s].size))
        sizes.scatter(
            [width for width, _ in known],
            [height for _, height in known],
            [12 + 40 * math.log10(number) for number in known.values()],
            color=looks[place].colour,
            marker=looks[place].marker,
            label=labels[place],
            alpha=0.7,
            linewidths=0,
        )
    counts.set_yticks(range(len(labels)), labels, fontsize=8)
    counts.set(xlim=(0, 1.1 * largest), ylim=(len(labels) - 0.4, -0.6), xlabel="rows")
    counts.set(title="Rows per task, and of each class (grey: without a label)")
    counts.xaxis.get_major_locator().set_params(integer=True)
    sizes.set(title="Image sizes (larger marks: more images)", xlabel="width", ylabel="height")
    figure.legend(*sizes.get_legend_handles_labels(), loc="outside right center", fontsize=8, markerscale=0.9)
    figure.savefig(path, dpi=100)


def _bar(axes: Any, place: int, samples: Sequence[Sample], names: ClassNames, largest: int) -> None:
    """Draw a task's rows as a bar; the parts are the classes of a label. A name without room stands behind the bar."""
    spec, left = _spec(samples[0]), 0
    parts = _parts(samples)
    behind = [f"{sum(parts):,}"]
    for index, count in enumerate(parts):
        unlabelled = spec.kind is TaskKind.CLASSIFICATION and index == spec.num_classes
        colour = (150, 150, 150) if unlabelled else class_colour(index + 1)
        axes.barh(place, count, left=left, color=rgb(colour), edgecolor="white", linewidth=0.8)
        name = names.get(spec, index) if len(parts) > 1 and not unlabelled else ""
        if name and count / largest > 0.0135 * len(name):
            axes.text(left + count / 2, place, literal(name), ha="center", va="center", fontsize=7)
        elif name and count:
            behind.append(f"{name} {count:,}")
        left += count
    text = ": ".join([behind[0], *filter(None, [", ".join(behind[1:])])])
    axes.text(left + 0.01 * largest, place, literal(text), va="center", fontsize=7)


def _parts(samples: Sequence[Sample]) -> list[int]:
    """Rows per class for classification, all rows for the other kinds."""
    if samples[0].kind is not TaskKind.CLASSIFICATION:
        return [len(samples)]
    counts = [0] * (samples[0].num_classes + 1)
    for sample in samples:
        try:
            label = targets.label(sample)
        except ManifestError:
            label = None
        counts[-1 if label is None else label] += 1
    return counts
