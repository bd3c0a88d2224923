"""Images for the network: grouped by file, decoded in threads, only a few ahead of the network."""

from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from challenge.errors import ImageError, PathError
from challenge.imaging.decode import Pixels, read_image, read_size
from challenge.imaging.geometry import Resize
from challenge.manifest import Sample
from challenge.paths import find_image
from model.frozen.metadata import WeightsMetadata

A = TypeVar("A")
B = TypeVar("B")

_NO_HEADER = (256, 256)
# Pixels. A header may claim any size; a blank mask above this one would take too much disk and time.
_LARGEST_BLANK = 1_000_000_000
# Pixels. Dozens of images wait for the network at once; a larger one is read again for its second look.
_LARGEST_KEPT = 2_000_000


@dataclass(frozen=True)
class Job:
    """One image and its rows. An `isolated` one is read in a child process, because it may crash the reader."""

    image_path: str
    samples: tuple[Sample, ...]
    isolated: bool = False


Batch = tuple[Job, ...]
"""Images that pass through the network together."""


@dataclass(frozen=True)
class Loaded:
    """A job's image on the network's grid (S, S, 3) uint8; or None and the `reason` why it could not be read."""

    job: Job
    pixels: Pixels | None
    resize: Resize
    note: str | None = None
    reason: str | None = None
    native: Pixels | None = None
    """(H, W, 3) uint8, if a second look may need it and it is not too large to wait for that."""


def plan(samples: Iterable[Sample], batch_size: int) -> list[Batch]:
    """Return one job per image, cut into batches. Images with the same tasks are adjacent, so heads get full batches.

    A network's last digits depend on the batch size. Therefore batches depend only on the samples, and resumed or
    split runs leave out whole batches: the answers keep the same bytes.
    """
    by_image: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_image[sample.image_path].append(sample)
    jobs = [Job(path, tuple(rows)) for path, rows in by_image.items()]
    jobs.sort(key=lambda job: sorted(sample.task_id for sample in job.samples))
    return cut(jobs, batch_size)


def cut(items: Sequence[A], size: int) -> list[tuple[A, ...]]:
    """Cut `items` into tuples of `size`; the last may be shorter."""
    return [tuple(items[start : start + size]) for start in range(0, len(items), size)]


def rows_of(batches: Iterable[Batch]) -> list[Sample]:
    """Return the samples of all images of `batches`."""
    return [sample for batch in batches for job in batch for sample in job.samples]


def isolated(batches: Iterable[Batch], images: Collection[str]) -> list[Batch]:
    """Return the same batches, with `images` marked to be read in a child process."""
    return [
        tuple(replace(job, isolated=True) if job.image_path in images else job for job in batch) for batch in batches
    ]


def load(job: Job, data_root: Path, metadata: WeightsMetadata, looked: Collection[str] = ()) -> Loaded:
    """Decode and resize a job's image. If it is unreadable, return the reason and the size that its header claims.

    The native image is kept if one of the job's tasks is in `looked`.
    """
    path = None
    try:
        path = find_image(data_root, job.image_path)
        image = read_image(path, isolated=job.isolated)
    except (ImageError, PathError, OSError) as error:
        width, height = (read_size(path, isolated=job.isolated) if path else None) or _NO_HEADER
        if not 0 < width * height <= _LARGEST_BLANK:
            width, height = _NO_HEADER
        return Loaded(job, None, Resize.of(width, height, metadata.image_size), reason=str(error))
    resize = Resize.of(*image.size, metadata.image_size, metadata.fit)
    pixels = resize.image(image.pixels, metadata.resampling)
    keep = resize.width * resize.height <= _LARGEST_KEPT and any(row.task_id in looked for row in job.samples)
    note = "; ".join(filter(None, (*image.notes, resize.note))) or None
    return Loaded(job, pixels, resize, note, native=image.pixels if keep else None)


def native_image(loaded: Loaded, data_root: Path) -> Pixels:
    """Return (H, W, 3) uint8, read again if it was not kept. Raises ImageError, PathError or OSError."""
    if loaded.native is not None:
        return loaded.native
    return read_image(find_image(data_root, loaded.job.image_path), isolated=loaded.job.isolated).pixels


def prefetch(pool: Executor, function: Callable[[A], B], items: Iterable[A], depth: int) -> Iterator[B]:
    """Yield `function` of each item, computed in threads, in order, with at most `depth` results waiting."""
    pending: deque[Future[B]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) >= depth:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
