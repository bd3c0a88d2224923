"""A generated data folder of the challenge's size: its tasks, their rows, groups of 1 to 8 images, all true answers.

Every image is drawn from a seed of its own, so the same options give the same bytes, however many processes draw.
"""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import click
import numpy as np
from PIL import Image

from bench.training.pictures import Scene
from challenge.cli import FOLDER
from challenge.errors import UserError
from challenge.host.limits import available_cpus
from challenge.host.progress import progress
from challenge.paths import MANIFEST_FOLDER
from challenge.tasks import CATALOGUE, TaskKind, TaskSpec

ROWS = 40_388
"""Rows of the challenge's training set."""

COUNTS: Mapping[str, int] = {
    "breast_lesion": 2220, "cardiac_multi": 1200, "carotid_artery": 660, "cervix": 327, "cervix_multi": 260,
    "fetal_abdomen_multi": 953, "fetal_head": 2313, "fetal_heart": 180, "head_symphysis_multi": 3060, "lung": 1853,
    "ovary_tumor": 880, "thyroid_nodule": 2093, "breast_2cls": 555, "breast_3cls": 875, "fetal_head_pos_cls": 2547,
    "fetal_plane_cls": 7440, "fetal_sacral_pos_cls": 480, "liver_lesion_2cls": 3280, "lung_2cls": 327,
    "lung_disease_3cls": 635, "organ_cls": 219, "spinal_cord_injury_loc": 820, "thyroid_nodule_det": 3000,
    "uterine_fibroid_det": 513, "FUGC": 260, "IUGC": 2820, "fetal_femur": 618,
}  # fmt: skip
"""Rows of each task, estimated from a public stratified part of the training set; together they are `ROWS`."""

HOSTS: Mapping[str, str] = {"breast_2cls": "breast_lesion", "breast_3cls": "breast_lesion", "lung_2cls": "lung"}
"""Tasks that use images of another task (docs/reference/contract.md, 1.2)."""

_LARGEST_GROUP = 8
_COLUMNS = ("image_path", "task_id", "task_name", "num_classes", "group", "mask_path", "mask",
            "x_min", "y_min", "x_max", "y_max", "point_1_xy", "point_2_xy", "point_3_xy")  # fmt: skip
_CHUNK = 32  # groups that a process draws at a time

Row = dict[str, str]


@dataclass(frozen=True)
class Group:
    """One patient's images: the number of the first, and the tasks of each."""

    task_id: str
    number: int
    first: int
    tasks: tuple[tuple[str, ...], ...]


def counts(rows: int) -> dict[str, int]:
    """Return the rows of each task in a folder of `rows` rows, by largest remainders. Raises UserError for too few."""
    if rows < len(COUNTS):
        raise UserError(f"{rows} rows are fewer than the {len(COUNTS)} tasks; ask for more")
    spare = rows - len(COUNTS)  # every task has one row
    exact = {task_id: spare * count / ROWS for task_id, count in COUNTS.items()}
    found = {task_id: 1 + int(share) for task_id, share in exact.items()}
    by_remainder = sorted(exact, key=lambda task_id: int(exact[task_id]) - exact[task_id])
    for task_id in by_remainder[: rows - sum(found.values())]:
        found[task_id] += 1
    return found


def groups(rows: int, seed: int) -> Iterator[Group]:
    """Yield the groups of a folder of `rows` rows, 1 to 8 images each."""
    wanted = counts(rows)
    for number, (task_id, count) in enumerate(wanted.items()):
        if task_id in HOSTS:
            continue
        guests = [guest for guest, host in HOSTS.items() if host == task_id]
        tasks = ((task_id, *(guest for guest in guests if image < wanted[guest])) for image in range(count))
        rng, first = np.random.default_rng((seed, number)), 0
        while members := tuple(islice(tasks, int(rng.integers(1, _LARGEST_GROUP, endpoint=True)))):
            yield Group(task_id, number, first, members)
            first += len(members)


def write_group(folder: Path, seed: int, group: Group) -> list[Row]:
    """Draw and write the images and masks of a group. Return the rows of its manifest."""
    scene = Scene.draw(np.random.default_rng((seed, group.number, group.first)))
    rows = []
    for number, tasks in enumerate(group.tasks, group.first):
        rng = np.random.default_rng((seed, group.number, group.first, number))
        frame = scene.moved(rng)
        name = f"{CATALOGUE[group.task_id].kind.capitalize()}/{group.task_id}/images/{number:05d}"
        labels = [frame.label(CATALOGUE[t].num_classes) for t in tasks if CATALOGUE[t].kind is TaskKind.CLASSIFICATION]
        ending, data = _encoded(frame.picture(rng, 1 + labels[0] if labels else 0), rng)
        (folder / f"{name}{ending}").write_bytes(data)
        for task_id in tasks:
            spec = CATALOGUE[task_id]
            row = {"image_path": f"../{name}{ending}", "group": f"{group.task_id} {group.first}"}
            rows.append(row | _cells(folder, frame, spec, f"{number:05d}"))
    return rows


def _cells(folder: Path, frame: Scene, spec: TaskSpec, name: str) -> Row:
    """Return what a task's row says; a mask is written."""
    task_name = "Regression" if spec.kind is TaskKind.REGRESSION else spec.kind.value
    row = {"task_id": spec.task_id, "task_name": task_name, "num_classes": str(spec.num_classes)}
    match spec.kind:
        case TaskKind.SEGMENTATION:
            path = f"Segmentation/{spec.task_id}/masks/{name}.png"
            Image.fromarray(frame.mask(spec.num_classes)).save(folder / path, compress_level=1)
            return row | {"mask_path": f"../{path}"}
        case TaskKind.CLASSIFICATION:
            return row | {"mask": str(frame.label(spec.num_classes))}
        case TaskKind.DETECTION:
            corners = (f"{value:.1f}" for value in frame.box())
            return row | dict(zip(("x_min", "y_min", "x_max", "y_max"), corners, strict=True))
        case TaskKind.REGRESSION:
            points = enumerate(frame.points(spec.num_classes), 1)
            return row | {f"point_{number}_xy": json.dumps([round(x, 1), round(y, 1)]) for number, (x, y) in points}


def _encoded(picture: Image.Image, rng: np.random.Generator) -> tuple[str, bytes]:
    """Return ending and bytes: mostly JPEG of three channels, some of one, some PNG."""
    stream, kind = io.BytesIO(), rng.random()
    if kind < 0.75:
        (picture.convert("RGB") if kind < 0.5 else picture).save(stream, "JPEG", quality=90)
        return ".jpg", stream.getvalue()
    picture.save(stream, "PNG", compress_level=1)
    return ".png", stream.getvalue()


def write_challenge_folder(folder: Path, rows: int = ROWS, seed: int = 0, processes: int | None = None) -> None:
    """Write a data folder of `rows` rows. Raises UserError if `folder` holds manifests already, or for too few rows."""
    if (folder / MANIFEST_FOLDER).exists():
        raise UserError(f"{folder} holds a data folder already; give another folder")
    drawn = list(groups(rows, seed))
    for spec in (CATALOGUE[task_id] for task_id in COUNTS if task_id not in HOSTS):
        for part in ("images", "masks")[: 1 + (spec.kind is TaskKind.SEGMENTATION)]:
            (folder / spec.kind.capitalize() / spec.task_id / part).mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(processes or available_cpus()) as pool:
        found = pool.map(partial(write_group, folder, seed), drawn, chunksize=_CHUNK)
        by_kind: dict[str, list[Row]] = defaultdict(list)
        for row in (row for rows in progress(found, len(drawn), "groups") for row in rows):
            by_kind[row["task_name"]].append(row)
    _write_manifests(folder, by_kind)


def _write_manifests(folder: Path, by_kind: Mapping[str, Sequence[Row]]) -> None:
    """Write one manifest per kind, with the columns that it needs, the rows of a task together."""
    (folder / MANIFEST_FOLDER).mkdir()
    for kind, rows in by_kind.items():
        known = {column for row in rows for column in row}
        with (folder / MANIFEST_FOLDER / f"{kind}.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, [column for column in _COLUMNS if column in known])
            writer.writeheader()
            writer.writerows(sorted(rows, key=lambda row: row["task_id"]))


@click.command("challenge-folder")
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option("--rows", default=ROWS, show_default=True, type=click.IntRange(1), help="Rows of all tasks together.")
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0), help="The same seed gives the same bytes."
)
@click.option("--processes", type=click.IntRange(1), help="Processes that draw.  [default: one per core]")
def challenge_folder(folder: Path, rows: int, seed: int, processes: int | None) -> None:
    """Write a data folder of the challenge's size and mix, all of it drawn: about 2 GB."""
    write_challenge_folder(folder, rows, seed, processes)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    click.echo(f"{rows:,} rows, {size / 1e9:.2f} GB in {folder}")
