"""Writes a data folder without the faults: cleaned manifests, and links to the original images."""

import csv
from collections import defaultdict
from pathlib import Path

from challenge import targets
from challenge.errors import UserError
from challenge.manifest import Sample
from challenge.paths import MANIFEST_FOLDER
from challenge.tasks import TaskKind
from training.data.usable import faulty
from training.inspection.checks import Inspection

_BOX = ("x_min", "y_min", "x_max", "y_max")


def write_clean_folder(inspection: Inspection, output: Path) -> int:
    """Write `output` as a separate data folder and return the number of rows kept.

    Rows with an error and repeated rows are left out, and boxes are clipped to their image. The csv files keep their
    names and columns. Images and masks are links to the original folder. Raises UserError if `output` has manifests.
    """
    manifests = output / MANIFEST_FOLDER
    if manifests.exists():
        raise UserError(f"{manifests} exists; remove it or write to another folder")
    lost = faulty(inspection.findings)
    kept: dict[str, list[dict[str, str]]] = defaultdict(list)
    for sample in inspection.manifest.samples:
        if sample not in lost:
            kept[sample.row.file].append(_cells(sample, inspection))
    manifests.mkdir(parents=True)
    for name, rows in kept.items():
        columns = list(dict.fromkeys(column for row in rows for column in row))
        with (manifests / name).open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, columns, restval="")
            writer.writeheader()
            writer.writerows(rows)
    for entry in sorted(inspection.data_root.resolve().iterdir()):
        link = output / entry.name
        if entry.name != MANIFEST_FOLDER and not link.exists():
            link.symlink_to(entry, target_is_directory=entry.is_dir())
    return sum(map(len, kept.values()))


def _cells(sample: Sample, inspection: Inspection) -> dict[str, str]:
    cells = dict(sample.cells)
    size = inspection.facts[sample].size
    if sample.kind is TaskKind.DETECTION and size and (box := targets.box(sample)):
        clipped = [min(max(value, 0.0), float(limit)) for value, limit in zip(box, (*size, *size), strict=True)]
        if tuple(clipped) != box:
            cells.update(zip(_BOX, (f"{value:g}" for value in clipped), strict=True))
    return cells
