"""Images for the network: grouped by file, decoded in threads, never more than a few ahead."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from challenge.errors import ImageError, PathError
from challenge.geometry import Resize
from challenge.images import Pixels, read_image, read_size
from challenge.manifest import Sample
from challenge.paths import find_image
from model.frozen.facts import Facts

A = TypeVar("A")
B = TypeVar("B")

_NO_HEADER = (256, 256)
# A header may claim anything; beyond this a blank mask of the claimed size would fill the disk or the day.
_LARGEST_BLANK = 1_000_000_000


@dataclass(frozen=True)
class Job:
    """One image and the rows that ask about it."""

    image_path: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class Loaded:
    """A job's image on the network's grid (S, S, 3) uint8; or None and the `reason` why it could not be read."""

    job: Job
    pixels: Pixels | None
    resize: Resize
    note: str | None = None
    reason: str | None = None


def jobs(samples: Sequence[Sample]) -> list[Job]:
    """One job per image; images with the same tasks stand together, so that every head sees full batches."""
    by_image: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_image[sample.image_path].append(sample)
    result = [Job(path, tuple(rows)) for path, rows in by_image.items()]
    return sorted(result, key=lambda job: sorted(sample.task_id for sample in job.samples))


def load(job: Job, data_root: Path, facts: Facts) -> Loaded:
    """Decode and resize a job's image. An unreadable one gives the reason and the size that its header claims."""
    path = None
    try:
        path = find_image(data_root, job.image_path)
        image = read_image(path)
    except (ImageError, PathError, OSError) as error:
        width, height = (read_size(path) if path else None) or _NO_HEADER
        if not 0 < width * height <= _LARGEST_BLANK:
            width, height = _NO_HEADER
        return Loaded(job, None, Resize.of(width, height, facts.image_size), reason=str(error))
    resize = Resize.of(*image.size, facts.image_size, facts.fit)
    return Loaded(job, resize.image(image.pixels, facts.resampling), resize, "; ".join(image.notes) or None)


def prefetch(pool: Executor, function: Callable[[A], B], items: Iterable[A], depth: int) -> Iterator[B]:
    """Map in threads, in order, with at most `depth` results waiting."""
    pending: deque[Future[B]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) >= depth:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def batches(items: Iterable[A], size: int) -> Iterator[tuple[A, ...]]:
    """Cut into tuples of `size`; the last may be shorter."""
    iterator = iter(items)
    while batch := tuple(islice(iterator, size)):
        yield batch
