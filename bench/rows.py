"""A generated data folder in the challenge's mix of tasks, image sizes and formats.

The same seed gives the same bytes. The pictures are phantoms of the tasks' anatomy, resized to native sizes and with
new grain, so that no two files are alike.
"""

import csv
import io
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice, product
from pathlib import Path

import numpy as np
from PIL import Image

from challenge.errors import UserError
from challenge.imaging.decode import read_image
from challenge.manifest import Sample, read_manifest
from challenge.paths import MANIFEST_FOLDER, find_image, inside_root
from challenge.tasks import TaskKind, TaskSpec
from model.frozen.metadata import read_metadata

ROOT = Path(__file__).resolve().parents[1]

SHARES: Mapping[TaskKind, float] = {
    TaskKind.SEGMENTATION: 0.40,
    TaskKind.CLASSIFICATION: 0.41,
    TaskKind.DETECTION: 0.11,
    TaskKind.REGRESSION: 0.08,
}
"""Shares of the rows, as in the challenge's training set (docs/reference/contract.md, 1.4)."""

SIDES = (256, 1100)
"""Smallest and largest native width and height, in pixels."""

# Shares of the rows: images with a mask task and a task of another kind. Of 1,000 rows these are 250 images with two
# tasks, beside 500 with one.
_SHARED = {TaskKind.CLASSIFICATION: 0.17, TaskKind.DETECTION: 0.06, TaskKind.REGRESSION: 0.02}
_HEADER = ("image_path", "task_id", "task_name", "num_classes", "mask_path")
_GRAIN = 0.06  # multiplicative, so that the black around the sector stays black

Case = tuple[str, ...]
"""The tasks asked of one image."""

Cells = tuple[str, str, str, int, str]


@dataclass(frozen=True)
class Phantoms:
    """Grey pictures by task, and the sets of tasks that share one."""

    by_task: Mapping[str, Sequence[Image.Image]]
    together: Collection[frozenset[str]]

    @classmethod
    def draw(cls) -> "Phantoms":
        """Draw a few phantoms of every task."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_phantoms(folder)
            by_image: dict[str, list[Sample]] = defaultdict(list)
            for sample in read_manifest(folder).samples:
                by_image[sample.image_path].append(sample)
            by_task: dict[str, list[Image.Image]] = defaultdict(list)
            for path, samples in by_image.items():
                picture = Image.fromarray(read_image(find_image(folder, path)).pixels).convert("L")
                for sample in samples:
                    by_task[sample.task_id].append(picture)
        return cls(by_task, {frozenset(sample.task_id for sample in samples) for samples in by_image.values()})


def answered_by(*weights: Path) -> dict[str, TaskSpec]:
    """Return the tasks that the networks of all these weights answer; priors cost nothing and would distort the times.

    Raises WeightsError for unusable weights, UserError if no task of some kind is left.
    """
    metadata = [read_metadata(folder) for folder in weights]
    tasks = {
        task_id: task.spec
        for task_id, task in metadata[0].tasks.items()
        if all(task_id in other.tasks and other.tasks[task_id].answers == "network" for other in metadata)
    }
    for kind in SHARES:
        if not any(spec.kind is kind for spec in tasks.values()):
            raise UserError(f"no {kind} task has a trained head in all of {', '.join(map(str, weights))}")
    return tasks


def mix(count: int, tasks: Mapping[str, TaskSpec], phantoms: Phantoms) -> list[Case]:
    """Return the cases of `count` rows of `tasks` in the challenge's mix; a third of the images have two tasks.

    Two tasks share images if their phantoms do.
    """
    left = {kind: round(share * count) for kind, share in SHARES.items()}
    left[TaskKind.CLASSIFICATION] += count - sum(left.values())
    of_kind = {kind: [task_id for task_id, spec in tasks.items() if spec.kind is kind] for kind in SHARES}
    cases: list[Case] = []
    for kind, share in _SHARED.items():
        pairs = list(product(of_kind[TaskKind.SEGMENTATION], of_kind[kind]))
        natural = [pair for pair in pairs if any(group.issuperset(pair) for group in phantoms.together)]
        shared = min(round(share * count), left[kind], left[TaskKind.SEGMENTATION])
        cases += islice(cycle(natural or pairs), shared)
        left[kind] -= shared
        left[TaskKind.SEGMENTATION] -= shared
    for kind, number in left.items():
        cases += ((task_id,) for task_id in islice(cycle(of_kind[kind]), number))
    return cases


def spread(images: int, per_image: int, tasks: Mapping[str, TaskSpec]) -> list[Case]:
    """Return the cases of `images` images with `per_image` tasks each, of as many kinds as possible."""
    of_kind = [cycle([task_id for task_id, spec in tasks.items() if spec.kind is kind]) for kind in SHARES]
    turns = cycle(of_kind)
    cases = []
    for _ in range(images):
        case: dict[str, None] = {}
        while len(case) < min(per_image, len(tasks)):
            case[next(next(turns))] = None
        cases.append(tuple(case))
    return cases


def write_rows(
    folder: Path,
    cases: Sequence[Case],
    tasks: Mapping[str, TaskSpec],
    phantoms: Phantoms,
    seed: int = 0,
    *,
    mixed: bool = False,
) -> None:
    """Write an image per case, JPEG and PNG in turn, and one manifest per kind.

    The rows of a task are together, as in the challenge's files; `mixed` shuffles each manifest.
    """
    everything = [picture for pictures in phantoms.by_task.values() for picture in pictures]
    rows: dict[TaskKind, list[Cells]] = defaultdict(list)
    (folder / "images").mkdir(parents=True)
    for number, case in enumerate(cases):
        rng = np.random.default_rng([seed, number])
        pictures = phantoms.by_task.get(case[0], everything)
        ending, data = _file(pictures[int(rng.integers(len(pictures)))], rng)
        name = f"images/{number:05d}{ending}"
        (folder / name).write_bytes(data)
        for task_id in case:
            spec = tasks[task_id]
            mask = f"../masks/{number:05d}_{task_id}.png" if spec.kind is TaskKind.SEGMENTATION else ""
            rows[spec.kind].append((f"../{name}", task_id, str(spec.kind), spec.num_classes, mask))
    for kind, cells in rows.items():
        if mixed:
            np.random.default_rng(seed).shuffle(cells)
        else:
            cells.sort(key=lambda row: row[1])
        _write_manifest(folder, kind, cells)


def repeat(source: Path, folder: Path, count: int) -> None:
    """Write a data folder of `count` rows: those of `source`, repeated, with a new path in each repetition."""
    samples = read_manifest(source).samples
    rows = []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        turn, sample = number // len(samples), samples[number % len(samples)]
        copy = folder / f"copy-{turn}"
        if not copy.exists():
            copy.symlink_to(source.resolve())
        image, mask = inside_root(sample.image_path), sample.mask_file or ""
        rows.append(
            (
                f"../{copy.name}/{image}",
                sample.task_id,
                str(sample.kind),
                sample.num_classes,
                mask and f"../{copy.name}/{mask}",
            )
        )
    _write_manifest(folder, "rows", rows)


def write_phantoms(folder: Path, *, truth: bool = False) -> None:
    """Write the phantoms of all tasks, with or without their true answers."""
    command = [sys.executable, ROOT / "test" / "phantoms", "--output", folder, *(() if truth else ("--without-truth",))]
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)  # noqa: S603 (our own program)


def _file(picture: Image.Image, rng: np.random.Generator) -> tuple[str, bytes]:
    """Return ending and bytes of a picture at a random native size: JPEG, or PNG with one or three channels."""
    width = int(rng.integers(SIDES[0], SIDES[1], endpoint=True))
    height = max(SIDES[0], int(width * rng.uniform(0.65, 1)))
    pixels = np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    grained = pixels * (1 + _GRAIN * rng.standard_normal(pixels.shape, np.float32))
    image = Image.fromarray(grained.clip(0, 255).astype(np.uint8))
    stream = io.BytesIO()
    if rng.random() < 0.5:
        image.convert("RGB").save(stream, "JPEG", quality=90)
        return ".jpg", stream.getvalue()
    (image.convert("RGB") if rng.random() < 0.5 else image).save(stream, "PNG")
    return ".png", stream.getvalue()


def _write_manifest(folder: Path, name: str, rows: Iterable[Cells]) -> None:
    (folder / MANIFEST_FOLDER).mkdir(exist_ok=True)
    with (folder / MANIFEST_FOLDER / f"{name}.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([_HEADER, *rows])
