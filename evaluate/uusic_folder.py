"""An FMC_UIA data folder in UUSIC 2025's layout, to run and score the second profile on the same images.

It takes the rows that have a truth and whose task belongs to one of UUSIC's organs.
"""

import json
import logging
import shutil
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from challenge import targets
from challenge.errors import ImageError, MaskError
from challenge.manifest import Sample, read_manifest
from challenge.paths import find_image
from challenge.tasks import TaskKind
from challenge.uusic.heads import head_table
from evaluate.outputs import write_output
from evaluate.scores.true_masks import find_true_mask

logger = logging.getLogger(__name__)

LIST_FILE = "list.json"
_PRIVATE_SETS = ("Breast", "Breast_luminal", "Cardiac", "Thyroid", "Fetal_Head", "Kidney", "Appendix", "Liver")


def write_uusic_folder(data_root: Path, output: Path, split: str) -> Counter[str]:
    """Write images, true masks, `SPLIT.txt` per data set, `list.json` and, with the truth, `truth.json`.

    Return the rows per data set and kind. Raises ManifestError for unusable manifests.
    """
    sets = _sets()
    lists: dict[Path, list[str]] = defaultdict(list)
    truth: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    for sample in read_manifest(data_root).samples:
        if sample.task_id not in sets:
            continue
        dataset, organ = sets[sample.task_id]
        number = counts[f"{dataset}/{sample.kind}"]
        try:
            source = find_image(data_root, sample.image_path)
            name, found = _write(sample, data_root, source, output / sample.kind / dataset, number)
        except (ImageError, MaskError, OSError, ValueError) as error:
            logger.warning("%s: left out (%s)", sample.row, error)
            continue
        counts[f"{dataset}/{sample.kind}"] += 1
        below = f"{sample.kind}/{dataset}"
        lists[output / below / f"{split}.txt"].append(name)
        image = f"{below}/imgs/{name}" if sample.kind is TaskKind.SEGMENTATION else f"{below}/{name}"
        truth.append(
            {
                "img_path_relative": image,
                "task": sample.kind,
                "dataset_name": dataset,
                "organ": organ,
                "group": sample.group or sample.image_path,
                **found,
            }
        )
    for path, names in lists.items():
        path.write_text("\n".join(names) + "\n", encoding="utf-8")
    output.mkdir(parents=True, exist_ok=True)
    asked = [{key: row[key] for key in ("img_path_relative", "task", "dataset_name", "organ")} for row in truth]
    for file, rows in ((LIST_FILE, asked), ("truth.json", truth)):
        text = json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
        write_output(output / file, text.encode(errors="backslashreplace"))
    return counts


def _sets() -> dict[str, tuple[str, str]]:
    """Task id -> the private data set that contains this task, and its organ."""
    table = head_table()
    found: dict[str, tuple[str, str]] = {}
    for dataset in _PRIVATE_SETS:
        organ = table.datasets[dataset]
        for kind in table.organs[organ].heads:
            for spec in table.candidates(dataset, organ, TaskKind(kind)):
                found.setdefault(spec.task_id, (dataset, organ))
    return found


def _write(sample: Sample, data_root: Path, source: Path, folder: Path, number: int) -> tuple[str, dict[str, Any]]:
    """Copy the image, write the mask; return the name in the set's list, and the keys that hold the truth."""
    name = f"img_{number:04d}{source.suffix.lower()}"
    if sample.kind is TaskKind.SEGMENTATION:
        labels = find_true_mask(data_root, str(sample.mask_file), sample.num_classes).labels
        mask = folder / "masks" / name
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.where(labels > 0, np.uint8(255), np.uint8(0))).save(mask, format="PNG")
        _copy(source, folder / "imgs" / name)
        return name, {"mask_path_relative": f"segmentation/{folder.name}/masks/{name}"}
    label = targets.label(sample)
    if label is None:
        raise ValueError("no label")
    _copy(source, folder / str(label) / name)
    return f"{label}/{name}", {"label": label}


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
