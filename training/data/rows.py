"""Reads and checks the rows of a data folder, and splits them by patient or video into training and dev rows."""

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from challenge.errors import UserError
from challenge.manifest import Manifest, Sample
from challenge.paths import find_image
from challenge.tasks import TaskSpec
from training.config import DataConfig, RuntimeConfig
from training.data.dev_rows import read_dev_rows, split_by
from training.data.groups import group_of
from training.data.joining import join_near_copies
from training.data.near_copies import NearCopy, cached_search
from training.data.pixels import PixelStore
from training.data.row_files import Key, key_of
from training.data.split import Content, folds, split, subset, without_shared
from training.data.usable import Finding, errors, faulty, has_truth, read_rows
from training.distributed import Ranks

logger = logging.getLogger(__name__)

_GIGABYTE = 1_000_000_000


@dataclass(frozen=True)
class Fold:
    """Fold `number` (from 0) of `count`."""

    number: int
    count: int


@dataclass(frozen=True)
class DataSource:
    """Where rows come from.

    The dev rows are those of `val_root`, else of one `fold`, else those that `data.dev_rows` names, else
    `data.dev_fraction` of `data_root`.
    """

    data_root: Path
    cache: Path
    val_root: Path | None = None
    fold: Fold | None = None


@dataclass(frozen=True)
class Part:
    """Rows, their pixels, and the data folder that they come from."""

    root: Path
    samples: Sequence[Sample]
    store: PixelStore


def load_parts(source: DataSource, data: DataConfig, runtime: RuntimeConfig, ranks: Ranks) -> tuple[Part, Part]:
    """Return (train, dev): all usable rows (of training `data.train_fraction`); no patient, video or image is in both.

    The first rank fills the cache before the others read it. Rows without a truth are left out with a warning. Raises
    UserError for rows whose files cannot be used, unless `data.skip_unreadable` leaves those out too.
    """
    if not ranks.is_first:
        ranks.barrier()
    train, dev = _load(source, data, int(runtime.cache_gigabytes * _GIGABYTE))
    if ranks.is_first:
        ranks.barrier()
    return _fraction(train, data), dev


def _fraction(train: Part, config: DataConfig) -> Part:
    """Keep a part of each task's training rows: the same rows, whichever other tasks are trained with it."""
    if config.train_fraction == 1:
        return train
    by_task: dict[str, list[Sample]] = defaultdict(list)
    for sample in train.samples:
        by_task[sample.task_id].append(sample)
    kept = [
        sample
        for rows in by_task.values()
        for sample in subset(rows, round(config.train_fraction * len(rows)), config.split_seed, train.store.contents())
    ]
    return replace(train, samples=kept)


def _load(source: DataSource, config: DataConfig, cache_bytes: int) -> tuple[Part, Part]:
    train = _part(source.data_root, source.cache, config, cache_bytes)
    if source.val_root:
        dev = _part(source.val_root, source.cache, config, cache_bytes)
        kept, dropped = without_shared(train.samples, dev.samples, train.store.contents(), dev.store.contents())
        if dropped:
            logger.warning("%d training rows share a group or an image with --val-root; left out", len(dropped))
        train = replace(train, samples=kept)
        return replace(train, samples=_without_near_copies(train, dev, source.cache, config.near_copies)), dev
    contents = _joined(train, source.cache, config.near_copies)
    if source.fold:
        kept, held_out = folds(train.samples, source.fold.count, config.split_seed, contents)[source.fold.number]
    elif config.dev_rows != "none":
        kept, held_out = _by_file(train, config, contents)
    else:
        kept, held_out = split(train.samples, config.dev_fraction, config.split_seed, contents)
    return Part(train.root, kept, train.store), Part(train.root, held_out, train.store)


def _by_file(part: Part, config: DataConfig, content: Content) -> tuple[list[Sample], list[Sample]]:
    named = read_dev_rows(part.root / config.dev_rows)
    rows = split_by(named, part.samples, config.dev_fraction, config.split_seed, content)
    if rows.left_out:
        logger.warning("%d training rows share a group or an image with dev rows; left out", len(rows.left_out))
    return rows.train, rows.dev


def _joined(part: Part, cache: Path, least: float) -> Content:
    """Return what stays together in a split, by `image_path`: copies, and near-copies unless `least` is 0."""
    if not least:
        return part.store.contents()
    found = join_near_copies(part.samples, part.store.contents(), _near_copies(part, None, cache, least))
    if found.joined:
        logger.info("%d pairs of near-copies stay together in the split; the largest group has %d of %d images",
                    len(found.joined), found.largest, len(set(part.store.contents().values())))  # fmt: skip
    if found.apart:
        logger.warning("%d pairs of images look alike but have different groups, which may be one patient; "
                       "`python -m training inspect` lists them", len(found.apart))  # fmt: skip
    return found.content


def _without_near_copies(train: Part, dev: Part, cache: Path, least: float) -> Sequence[Sample]:
    """Return the training rows whose image has no near-copy among the dev rows; all of them if `least` is 0."""
    if not least:
        return train.samples
    near = {copy.one for copy in _near_copies(train, dev, cache, least)}
    contents = train.store.contents()
    kept = [sample for sample in train.samples if contents[sample.image_path] not in near]
    if dropped := len(train.samples) - len(kept):
        logger.warning("%d training rows are near-copies of images of --val-root; left out. `python -m training "
                       "inspect` lists them; data.near_copies = 0 keeps them", dropped)  # fmt: skip
    return kept


def _near_copies(part: Part, other: Part | None, cache: Path, least: float) -> list[NearCopy]:
    """Return the near-copies in one part, or between two."""
    groups: dict[str, str] = {}
    files: list[dict[str, Path]] = []
    for each in filter(None, (part, other)):
        contents = each.store.contents()
        groups |= {contents[sample.image_path]: group_of(sample) for sample in each.samples}
        files.append({contents[sample.image_path]: find_image(each.root, sample.image_path) for sample in each.samples})
    return cached_search(files[0], groups, least, cache, files[1] if other else None)


def _part(root: Path, cache: Path, config: DataConfig, cache_bytes: int) -> Part:
    manifest = _of_tasks(read_rows(root), config.tasks)
    store = PixelStore(root, manifest.samples, config, cache, cache_bytes)
    found = errors(manifest, {sample: store.reading(sample) for sample in manifest.samples})
    _report(found, skip=config.skip_unreadable)
    lost = faulty(found)
    usable = _with_truth([sample for sample in manifest.samples if sample not in lost])
    if not usable:
        raise UserError(f"{root} has no row to train on; give a folder with masks, labels, boxes or points")
    return Part(root, _once(usable), store)


def tasks_in(root: Path, names: Collection[str]) -> list[TaskSpec]:
    """Return the tasks of a data folder, or those that `names` (of tasks or kinds) choose, without reading images."""
    samples = _of_tasks(read_rows(root), names).samples
    return list({s.task_id: TaskSpec(s.task_id, s.kind, s.num_classes) for s in samples}.values())


def _of_tasks(manifest: Manifest, tasks: Collection[str]) -> Manifest:
    """Return the rows of `tasks`, which are names of tasks or of kinds; all rows if there are none."""
    if not tasks:
        return manifest
    samples, repeated = (
        tuple(sample for sample in rows if sample.task_id in tasks or sample.kind.lower() in tasks)
        for rows in (manifest.samples, manifest.repeated)
    )
    return Manifest(samples, repeated)


def _report(found: Sequence[Finding], *, skip: bool) -> None:
    """Log what is left out, or raise UserError where nothing may be."""
    if found and not skip:
        raise UserError(
            f"{found[0]} ({len(faulty(found))} such rows); train on what `python -m training inspect --fix` writes, "
            "or set data.skip_unreadable = true"
        )
    for finding in found:
        logger.warning("%s; left out", finding)


def _with_truth(samples: Sequence[Sample]) -> list[Sample]:
    kept = [sample for sample in samples if has_truth(sample)]
    without = Counter(sample.task_id for sample in samples) - Counter(sample.task_id for sample in kept)
    for task_id, count in without.items():
        logger.warning("%s: %d rows without a truth are left out", task_id, count)
    return kept


def _once(samples: Iterable[Sample]) -> list[Sample]:
    """Return one row for every image and task; further masks of an image are joined to its first row's."""
    first: dict[Key, Sample] = {}
    for sample in samples:
        # A plain dict instead of a read-only view: worker processes get the rows pickled.
        first.setdefault(key_of(sample), replace(sample, cells=dict(sample.cells)))
    return list(first.values())
