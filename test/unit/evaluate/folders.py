"""A small data folder, made in milliseconds: six tasks of all kinds, with groups. Test helper."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 64, 48

Rows = list[dict[str, Any]]


def write_data(root: Path, per_task: int = 12) -> Path:
    """Write a data folder below `root` and return it. Shapes, classes and points vary with the row."""
    rng = np.random.default_rng(7)
    tables: dict[str, Rows] = {}
    for task_id, classes in (("carotid_artery", 2), ("cardiac_multi", 4)):
        tables[task_id] = [_mask_row(root, task_id, classes, index, rng) for index in range(per_task)]
    for task_id, classes in (("breast_2cls", 2), ("breast_3cls", 3)):
        tables[task_id] = [
            _row(root, task_id, "classification", classes, index, rng) | {"mask": index % classes}
            for index in range(per_task)
        ]
    tables["thyroid_nodule_det"] = [
        _row(root, "thyroid_nodule_det", "detection", 1, index, rng)
        | dict(zip(("x_min", "y_min", "x_max", "y_max"), (5 + index % 12, 6, 30 + index % 12, 40), strict=True))
        for index in range(per_task)
    ]
    tables["FUGC"] = [
        _row(root, "FUGC", "Regression", 2, index, rng)
        | {"point_1_xy": json.dumps([3.5 + index % 12, 8]), "point_2_xy": json.dumps([40, 10 + index % 12])}
        for index in range(per_task)
    ]
    for task_id, rows in tables.items():
        write_csv(root / "csv_files" / f"{task_id}.csv", rows)
    return root


def write_csv(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path) -> Rows:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _row(root: Path, task_id: str, kind: str, classes: int, index: int, rng: np.random.Generator) -> dict[str, Any]:
    name = f"images/{task_id}/case ({index}).png"
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 255, (HEIGHT, WIDTH), np.uint8)).save(root / name)
    return {
        "image_path": f"../{name}",
        "task_id": task_id,
        "task_name": kind,
        "num_classes": classes,
        "group": f"patient {index // 2}",
    }


def _mask_row(root: Path, task_id: str, classes: int, index: int, rng: np.random.Generator) -> dict[str, Any]:
    row = _row(root, task_id, "segmentation", classes, index, rng)
    labels, left = np.zeros((HEIGHT, WIDTH), np.uint8), 6 + index % 12
    for label in range(1, classes):
        labels[8 * label : 8 * label + 10, left : left + 20 + 4 * label] = label
    name = f"masks/{task_id}/case ({index}).png"
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels).save(root / name)
    return row | {"mask_path": f"../{name}"}
