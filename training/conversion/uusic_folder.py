"""UUSIC 2025's training folder -> data folders that `train` reads: csv files, and masks as class indices.

Theirs: `classification/NAME/{0,1,...}/FILE` with lists of `CLASS/FILE`, and `segmentation/NAME/{imgs,masks}/FILE` with
lists of `FILE`; a list is `train.txt`, `val.txt` or `test.txt` in NAME. A data set without lists counts as train.
"""

import csv
import logging
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from challenge.errors import ManifestError, MaskError, UserError
from challenge.masks.true_masks import read_true_mask
from challenge.paths import MANIFEST_FOLDER
from challenge.tasks import TaskKind, TaskSpec
from challenge.uusic.heads import Organ, choose_head, head_table

logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
IMAGES, MASKS = "images", "masks"
_KINDS = (TaskKind.SEGMENTATION, TaskKind.CLASSIFICATION)


@dataclass(frozen=True)
class _Row:
    """An image below their folder, and its true mask there or its label."""

    image: str
    mask: str | None
    label: int | None


def convert_uusic(source: Path, output: Path, *, copy: bool = False) -> dict[str, int]:
    """Write `output/SPLIT` for each split that `source` has; return the number of rows of each.

    Images are reached by a link to `source`, or are copied. A csv file per data set and kind, its head by the table of
    `challenge.uusic.heads`; `output/profiles.toml` holds the prompts of heads beyond FMC_UIA's subtasks, to be pasted
    into a recipe. Raises UserError for a folder or a list that cannot be used.
    """
    sets = [folder for kind in _KINDS for folder in sorted((source / kind).glob("*")) if folder.is_dir()]
    if not sets:
        raise UserError(f"{source} holds neither segmentation/NAME nor classification/NAME; give UUSIC's data folder")
    counts: dict[str, int] = defaultdict(int)
    prompts: dict[str, Organ] = {}
    for folder in sets:
        kind = TaskKind(folder.parent.name)
        spec, organ = _head(folder.name, kind)
        if spec in head_table().own_tasks:
            prompts[spec.task_id] = organ
        for split, rows in _splits(folder, kind).items():
            root = output / split
            written = [_cells(row, spec, source, root, copy=copy) for row in rows]
            _write_csv(root / MANIFEST_FOLDER / f"{kind}-{folder.name}.csv", written)
            counts[split] += len(written)
            logger.info("%s: %d rows of %s for %s", split, len(written), folder.name, spec.task_id)
    if not copy:
        for split in counts:
            _link(output / split / IMAGES, source)
    _write_prompts(output / "profiles.toml", prompts)
    return dict(counts)


def _head(name: str, kind: TaskKind) -> tuple[TaskSpec, Organ]:
    """The head that a data set trains: its own, not the nearest that other weights may have."""
    table = head_table()
    organ = table.datasets.get(name.removeprefix("private_"), name)
    if organ not in table.organs or kind not in table.organs[organ].heads:
        raise UserError(f"no {kind} is known for the data set {name!r}; add it to challenge/uusic/heads.toml, or "
                        "remove its folder")  # fmt: skip
    return choose_head(name, organ, kind, {}).spec, table.organs[organ]


def _splits(folder: Path, kind: TaskKind) -> dict[str, list[_Row]]:
    lists = {split: folder / f"{split}.txt" for split in SPLITS if (folder / f"{split}.txt").is_file()}
    if not lists:
        files = folder.glob("imgs/*" if kind is TaskKind.SEGMENTATION else "[0-9]*/*")
        base = folder / "imgs" if kind is TaskKind.SEGMENTATION else folder
        names = sorted(path.relative_to(base).as_posix() for path in files if path.is_file())
        return {"train": [_row(folder, kind, name, str(folder)) for name in names]}
    return {split: list(_listed(folder, kind, path)) for split, path in lists.items()}


def _listed(folder: Path, kind: TaskKind, path: Path) -> Iterator[_Row]:
    for number, line in enumerate(path.read_text("utf-8-sig").splitlines(), start=1):
        if line.strip():
            yield _row(folder, kind, line.strip(), f"{path}, line {number}")


def _row(folder: Path, kind: TaskKind, name: str, place: str) -> _Row:
    below = f"{kind}/{folder.name}"
    if kind is TaskKind.SEGMENTATION:
        row = _Row(f"{below}/imgs/{name}", f"{below}/masks/{name}", None)
    else:
        label = name.replace("\\", "/").split("/")[0]
        if not label.isdecimal():
            raise ManifestError(f"{place}: {name!r} does not begin with the folder of a class; write CLASS/FILE")
        row = _Row(f"{below}/{name}", None, int(label))
    for file in filter(None, (row.image, row.mask)):
        if not (folder.parents[1] / file).is_file():
            raise ManifestError(f"{place}: there is no file {file}; correct the list, or add the file")
    return row


def _cells(row: _Row, spec: TaskSpec, source: Path, root: Path, *, copy: bool) -> dict[str, object]:
    if row.label is not None and row.label >= spec.num_classes:
        raise ManifestError(f"{row.image}: the class {row.label} is none of {spec.task_id}'s {spec.num_classes}")
    if copy:
        target = root / IMAGES / row.image
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / row.image, target)
    cells: dict[str, object] = {"image_path": f"../{IMAGES}/{row.image}", "task_id": spec.task_id}
    cells |= {"task_name": spec.kind, "num_classes": spec.num_classes}
    return cells | ({"mask": row.label} if row.mask is None else {"mask_path": _write_mask(row.mask, source, root)})


def _write_mask(mask: str, source: Path, root: Path) -> str:
    """Write the mask as class indices, foreground and background as theirs have it; return its csv path."""
    try:
        labels = read_true_mask(source / mask, num_classes=2).labels
    except MaskError as error:
        raise UserError(f"{mask}: {error}; repair or remove it") from error
    target = root / MASKS / f"{mask}.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels).save(target)
    return f"../{target.relative_to(root).as_posix()}"


def _write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    if not rows:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _link(link: Path, source: Path) -> None:
    if link.is_symlink() or not link.exists():
        link.unlink(missing_ok=True)
        link.symlink_to(source.resolve(), target_is_directory=True)
    else:
        raise UserError(f"{link} exists and is not a link; remove it, or give another --output")


def _write_prompts(path: Path, prompts: Mapping[str, Organ]) -> None:
    lines = [
        f'[system.options.profiles.{task_id}]\nposition = "{organ.position}"\nnature = "{organ.nature}"\n'
        for task_id, organ in prompts.items()
    ]
    if lines:
        path.write_text("\n".join(lines), encoding="utf-8")
