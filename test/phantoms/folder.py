"""The challenge's data folder: images, masks and manifests of different columns, encodings and line ends."""

import csv
import io
import json
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from challenge.errors import UserError
from challenge.paths import MANIFEST_FOLDER
from challenge.tasks import TaskKind, check_task_names
from phantoms.anatomy.picture import Picture
from phantoms.families import FAMILIES, TASKS, Family
from phantoms.formats import ENCODINGS, encode_mask

_ROW = ("image_path", "task_id", "task_name", "num_classes")
_BOX = ("x_min", "y_min", "x_max", "y_max")
_POINTS = ("point_1_xy", "point_2_xy", "point_3_xy", "point_4_xy")
_TRUTH = {"mask", *_BOX, *_POINTS}


@dataclass(frozen=True)
class Csv:
    """One manifest: its tasks, its columns, and how it is written down."""

    name: str
    tasks: tuple[str, ...]
    columns: tuple[str, ...]
    encoding: str = "utf-8"
    newline: str = "\n"


CSVS = (
    Csv("Cls-Eight, Six.csv", ("fetal_head_pos_cls", "fetal_sacral_pos_cls", "fetal_plane_cls"),
        ("mask", *_ROW), newline="\r\n"),
    Csv("Cls-Six_organ_cls part1.csv", ("organ_cls",), (*_ROW, "mask", "group")),
    Csv("Cls-Six_organ_cls part2.csv", ("organ_cls",), (*_ROW, "mask")),
    Csv("Cls-Two_Three.csv", ("breast_2cls", "breast_3cls", "lung_2cls", "lung_disease_3cls"),
        ("image_path", "mask", "task_id", "task_name", "num_classes", "group")),
    Csv("Det-One.csv", ("breast_lesion_det", "spinal_cord_injury_loc", "uterine_fibroid_det"),
        ("image_path", *_BOX, "task_id", "task_name", "num_classes", "group")),
    Csv("Mixed.csv", ("carotid_artery", "liver_lesion_2cls", "thyroid_nodule_det", "fetal_femur"),
        (*_ROW, "mask_path", "mask", *_BOX, *_POINTS[:2], "group")),
    Csv("Reg.csv", ("FUGC", "IUGC", "fetal_head_biometry"), ("image_path", *_POINTS, *_ROW[1:])),
    Csv("Seg-Multi.csv", ("cardiac_multi", "cervix_multi", "fetal_abdomen_multi", "head_symphysis_multi"),
        ("image_path", "mask_path", *_ROW[1:], "group")),
    Csv("Seg-Two.csv",
        ("breast_lesion", "cervix", "fetal_head", "fetal_heart", "lung", "ovary_tumor", "thyroid_nodule"),
        ("image_path", "mask_path", *_ROW[1:]), encoding="utf-8-sig"),
)  # fmt: skip


def write_folder(
    output: Path,
    seed: int = 0,
    per_task: int = 3,
    with_truth: bool = True,
    only: Collection[str] = (),
) -> int:
    """Write a data folder with `per_task` rows for each task (or for `only` these); return the number of rows.

    The same arguments give the same bytes, and a task's pictures do not depend on which others are written. Without
    truth, masks and the columns of labels, boxes and points are left out, as in a folder to be scored.
    Raises UserError if `output` holds manifests already, or for an unknown task.
    """
    check_task_names(only, TASKS)
    manifests = output / MANIFEST_FOLDER
    if manifests.exists():
        raise UserError(f"{manifests} exists; remove it or write to another folder")
    rows = [row for family in FAMILIES for row in _write_family(output, family, seed, per_task, with_truth, set(only))]
    manifests.mkdir(parents=True)
    for file in CSVS:
        chosen = [row for row in rows if row["csv"] == file.name]
        if chosen:
            columns = [name for name in file.columns if with_truth or name not in _TRUTH]
            (manifests / file.name).write_bytes(_csv_bytes(file, columns, chosen))
    return len(rows)


def _write_family(
    output: Path, family: Family, seed: int, per_task: int, with_truth: bool, only: set[str]
) -> Iterator[dict[str, str]]:
    tasks = [task for task in family.tasks if not only or task in only]
    if not tasks:
        return
    for case in range(per_task // family.every):
        rng = np.random.default_rng([seed, zlib.crc32(family.name.encode()), case])
        picture = family.paint(rng, *family.sizes[case % len(family.sizes)], case)
        place = family.places[case % len(family.places)]
        names = {"word": family.words[case % len(family.words)], "number": family.first + case}
        encoding = ENCODINGS[place.encoding]
        image = f"{place.folder}/{place.image}{encoding.ending}".format(**names)
        mask = f"{place.folder}/{place.mask}".format(**names)
        _write(output / image, encoding.encode(picture.grey))
        for task in tasks:
            if with_truth and task in picture.masks:
                _write(output / mask, encode_mask(picture.masks[task]))
            yield {
                "csv": _csv_name(task, case),
                "image_path": f"../{image}",
                "mask_path": f"../{mask}" if task in picture.masks else "",
                "task_id": task,
                "task_name": _task_name(TASKS[task].kind),
                "num_classes": str(TASKS[task].num_classes),
                "group": f"{family.name} {family.first + case}",
                **_truth_cells(picture, task),
            }


def _truth_cells(picture: Picture, task: str) -> dict[str, str]:
    cells = {}
    if task in picture.labels:
        cells["mask"] = str(picture.labels[task])
    if task in picture.boxes:
        cells |= dict(zip(_BOX, map(str, picture.boxes[task]), strict=True))
    for column, (x, y) in zip(_POINTS, picture.points.get(task, ()), strict=False):
        cells[column] = json.dumps([round(x, 2), round(y, 2)])
    return cells


def _csv_name(task: str, case: int) -> str:
    """A task of two files takes them in turn."""
    names = [file.name for file in CSVS if task in file.tasks]
    return names[case % len(names)]


def _task_name(kind: TaskKind) -> str:
    return "Regression" if kind is TaskKind.REGRESSION else kind.value


def _csv_bytes(file: Csv, columns: list[str], rows: list[dict[str, str]]) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, columns, extrasaction="ignore", lineterminator=file.newline)
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode(file.encoding)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
