"""The rows to learn from and those to decide by: read, checked, split by patient or video."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from challenge import targets
from challenge.errors import ManifestError, UserError
from challenge.geometry import Resize
from challenge.manifest import Sample, read_manifest
from challenge.tasks import TaskKind
from training.config import Config
from training.distributed import Ranks
from training.pixels import PixelStore
from training.split import folds, split, without_shared

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

    The dev rows are those of `val_root`, else of one `fold`, else `data.dev_fraction` of `data_root`.
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


def load_parts(source: DataSource, config: Config, ranks: Ranks) -> tuple[Part, Part]:
    """Return (train, dev): all rows that can be used, no patient, video or image in both.

    The first rank fills the cache, the others then find it full. Rows without a truth are left out with a warning.
    Raises UserError for rows whose files cannot be used, unless `data.skip_unreadable` says to leave those out too.
    """
    if not ranks.is_first:
        ranks.barrier()
    parts = _load(source, config)
    if ranks.is_first:
        ranks.barrier()
    return parts


def _load(source: DataSource, config: Config) -> tuple[Part, Part]:
    train = _part(source.data_root, source.cache, config)
    contents = train.store.contents
    if source.val_root:
        dev = _part(source.val_root, source.cache, config)
        kept, dropped = without_shared(train.samples, dev.samples, contents, dev.store.contents)
        if dropped:
            logger.warning("%d training rows share a group or an image with --val-root; left out", len(dropped))
        return Part(train.root, kept, train.store), dev
    if source.fold:
        kept, held_out = folds(train.samples, source.fold.count, config.data.split_seed, contents)[source.fold.number]
    else:
        kept, held_out = split(train.samples, config.data.dev_fraction, config.data.split_seed, contents)
    return Part(train.root, kept, train.store), Part(train.root, held_out, train.store)


def _part(root: Path, cache: Path, config: Config) -> Part:
    samples = read_manifest(root).samples
    if config.data.tasks:
        samples = tuple(s for s in samples if s.task_id in config.data.tasks)
    store = PixelStore(root, samples, config.data, cache, int(config.runtime.cache_gigabytes * _GIGABYTE))
    usable: list[Sample] = []
    problems: list[str] = []
    without_truth: Counter[str] = Counter()
    for sample in samples:
        try:
            problem = store.problem(sample) or truth_problem(sample, store.resize_of(sample))
            if problem:
                problems.append(f"{sample.row}: {problem}")
            elif has_truth(sample):
                # A plain dict instead of a read-only view: worker processes get the rows pickled.
                usable.append(replace(sample, cells=dict(sample.cells)))
            else:
                without_truth[sample.task_id] += 1
        except ManifestError as error:
            problems.append(str(error))
    for task_id, count in without_truth.items():
        logger.warning("%s: %d rows without a truth are left out", task_id, count)
    if problems and not config.data.skip_unreadable:
        raise UserError(
            f"{problems[0]} ({len(problems)} such rows); train on what `python -m training inspect --fix` writes, "
            "or set data.skip_unreadable = true"
        )
    for problem in problems:
        logger.warning("%s; left out", problem)
    if not usable:
        raise UserError(f"{root} holds no row to train on; give a folder with masks, labels, boxes or points")
    return Part(root, usable, store)


def has_truth(sample: Sample) -> bool:
    """Return whether a row has a label, a box or at least one point; a mask is a file. Raises ManifestError."""
    match sample.kind:
        case TaskKind.SEGMENTATION:
            return True
        case TaskKind.CLASSIFICATION:
            return targets.label(sample) is not None
        case TaskKind.DETECTION:
            return targets.box(sample) is not None
        case TaskKind.REGRESSION:
            return any(targets.points(sample))


def truth_problem(sample: Sample, resize: Resize) -> str | None:
    """Return what makes a box or points useless for an image of that size, or None. Raises ManifestError."""
    width, height = resize.width, resize.height
    if sample.kind is TaskKind.DETECTION and (box := targets.box(sample)):
        x0, y0, x1, y1 = box
        if x1 <= x0 or y1 <= y0:
            return f"the box {box} is empty or upside down"
        if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
            return f"the box {box} lies outside the image of {width}x{height} pixels"
    if sample.kind is TaskKind.REGRESSION:
        for number, point in enumerate(targets.points(sample), 1):
            if point and not (0 <= point[0] <= width and 0 <= point[1] <= height):
                return f"point {number} {point} lies outside the image of {width}x{height} pixels"
    return None
