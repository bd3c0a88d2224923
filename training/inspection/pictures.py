"""Draws a data folder: a sheet of examples with their truth for each task, and an overview."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from challenge import targets
from challenge.errors import ManifestError
from challenge.host.progress import progress
from challenge.imaging.decode import read_image
from challenge.manifest import Sample
from challenge.paths import find_image
from challenge.tasks import TaskKind
from training.data.row_files import FileSet, Key, key_of, masks_of, read_masks
from training.data.usable import faulty
from training.figures import literal, new_figure
from training.inspection.checks import Inspection
from training.inspection.near_copies import Alike, Pair

_SHEET = 12


def draw(inspection: Inspection, output: Path) -> list[Path]:
    """Write `output/overview.png`, `output/TASK.png` for every task and `output/near_copies.png`; return the paths.

    There is no picture of a task without usable rows, and none of near-copies where there are none.
    """
    output.mkdir(parents=True, exist_ok=True)
    lost = faulty(inspection.findings)
    paths = [output / "overview.png"]
    _overview(inspection, paths[0])
    for task_id, samples in progress(sorted(inspection.by_task.items()), label="pictures"):
        good = [sample for sample in samples if sample not in lost]
        if good:
            paths.append(output / f"{task_id}.png")
            _sheet(inspection.data_root, good, masks_of(samples), paths[-1])
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


def _sheet(root: Path, samples: Sequence[Sample], masks: Mapping[Key, FileSet], path: Path) -> None:
    chosen = [samples[i] for i in np.linspace(0, len(samples) - 1, min(_SHEET, len(samples))).round().astype(int)]
    columns = min(4, len(chosen))
    rows = math.ceil(len(chosen) / columns)
    figure = new_figure(3.2 * columns, 3.2 * rows + 0.4)
    figure.suptitle(literal(f"{samples[0].task_id} ({samples[0].kind}), {len(samples)} rows"))
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.axis("off")
        if chosen:
            _example(axes, root, chosen.pop(0), masks)
    figure.savefig(path, dpi=90)


def _example(axes: Any, root: Path, sample: Sample, masks: Mapping[Key, FileSet]) -> None:
    pixels = read_image(find_image(root, sample.image_path)).pixels
    height, width = pixels.shape[:2]
    axes.imshow(pixels, extent=(0, width, height, 0))
    axes.set_title(literal(Path(sample.image_path).name[-40:]), fontsize=6)
    match sample.kind:
        case TaskKind.SEGMENTATION:
            mask = read_masks(root, masks[key_of(sample)]).labels
            for value in np.unique(mask[mask > 0]):
                axes.contour(mask == value, [0.5], colors=f"C{value}", linewidths=1, extent=(0, width, 0, height))
        case TaskKind.CLASSIFICATION:
            axes.set_title(f"class {targets.label(sample)}", fontsize=9)
        case TaskKind.DETECTION:
            if box := targets.box(sample):
                x0, y0, x1, y1 = box
                axes.plot((x0, x1, x1, x0, x0), (y0, y0, y1, y1, y0), color="C1", linewidth=1)
        case TaskKind.REGRESSION:
            for number, point in enumerate(targets.points(sample), 1):
                if point:
                    axes.plot(*point, "+", color=f"C{number}")
                    axes.annotate(str(number), point, color=f"C{number}", xytext=(3, 3), textcoords="offset points")


def _overview(inspection: Inspection, path: Path) -> None:
    by_task = sorted(inspection.by_task.items(), key=lambda item: (item[1][0].kind, item[0]))
    figure = new_figure(13, 1.5 + 0.28 * len(by_task))
    counts, sizes = figure.subplots(1, 2)
    names = [literal(task_id) for task_id, _ in by_task]
    for place, (_, samples) in enumerate(by_task):
        left = 0
        for number, count in enumerate(_parts(samples)):
            counts.barh(place, count, left=left, color=f"C{number % 10}")
            left += count
        known = [size for s in samples if (size := inspection.facts[s].size)]
        sizes.plot([w for w, _ in known], [h for _, h in known], ".", markersize=3, label=names[place])
    counts.set_yticks(range(len(names)), names, fontsize=7)
    counts.invert_yaxis()
    counts.set(title="Rows per task (colours: classes)", xlabel="rows")
    sizes.set(title="Image sizes", xlabel="width", ylabel="height")
    sizes.legend(fontsize=5, ncols=2)
    figure.savefig(path, dpi=100)


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
