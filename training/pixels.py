"""Images and masks on the network's grid: decoded and resized once, kept in the cache."""

import hashlib
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from challenge.errors import ImageError, PathError
from challenge.geometry import Fit, Resize
from challenge.images import read_image
from challenge.manifest import Sample
from challenge.paths import find_image
from challenge.progress import progress
from challenge.resampling import Resampling
from challenge.targets import read_mask
from challenge.tasks import TaskKind
from training.array_cache import ArrayCache, Entry, Record
from training.config import DataConfig

logger = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]
Decode = Callable[[Path], tuple[Pixels, Resize]]
Given = TypeVar("Given")
Made = TypeVar("Made")

_VERSION = 1  # of what is cached: count up whenever decoding or resizing changes
_IN_FLIGHT = 256
_READ_ERRORS = (ImageError, OSError, SyntaxError, ValueError, EOFError)


class PixelStore:
    """The images of `samples` below `data_root`, and the masks of those that are to have one.

    `cache` is a folder that any number of runs may share. What does not fit into `limit_bytes` is decoded whenever it
    is asked for. Files that are missing, cannot be read or do not fit their row are told by `problem`.
    """

    def __init__(
        self, data_root: Path, samples: Sequence[Sample], config: DataConfig, cache: Path, limit_bytes: int
    ) -> None:
        self._size, self._fit, self._resampling = config.image_size, Fit(config.fit), Resampling(config.resampling)
        size, grid = self._size, f"{config.image_size}-{config.fit}-v{_VERSION}"
        images = {s.image_path for s in samples}
        masks = {str(s.mask_file) for s in samples if s.kind is TaskKind.SEGMENTATION}
        # A mask has a third of an image's bytes.
        images_cache = ArrayCache(cache / f"images-{grid}-{config.resampling}", (size, size, 3), limit_bytes * 3 // 4)
        masks_cache = ArrayCache(cache / f"masks-{grid}", (size, size), limit_bytes // 4)
        self._images = _Files(images_cache, data_root, images, self._decode_image, "images")
        self._masks = _Files(masks_cache, data_root, masks, self._decode_mask, "masks")

    @property
    def contents(self) -> Mapping[str, str]:
        """The content hash of every image that was found, by `image_path`."""
        return self._images.keys

    @property
    def mask_contents(self) -> Mapping[str, str]:
        """The content hash of every mask that was found, by `mask_file`."""
        return self._masks.keys

    def problem(self, sample: Sample) -> str | None:
        """Return why a row cannot be trained on, or None."""
        if problem := self._images.problems.get(sample.image_path):
            return problem
        if sample.kind is not TaskKind.SEGMENTATION:
            return None
        name = str(sample.mask_file)
        if problem := self._masks.problems.get(name):
            return f"mask: {problem}"
        mask, image = self._masks.record(name), self._images.record(sample.image_path)
        if (mask.width, mask.height) != (image.width, image.height):
            return f"the mask has {mask.width}x{mask.height} pixels, the image {image.width}x{image.height}"
        if mask.peak >= sample.num_classes:
            return f"the mask holds class {mask.peak}, the task has {sample.num_classes}"
        return None

    def image(self, sample: Sample) -> Pixels:
        """Return (S, S, 3) uint8."""
        return self._images.array(sample.image_path)

    def mask(self, sample: Sample) -> Pixels:
        """Return (S, S) uint8 class indices of a segmentation row."""
        return self._masks.array(str(sample.mask_file))

    def resize_of(self, sample: Sample) -> Resize:
        """Return the geometry of the sample's image."""
        record = self._images.record(sample.image_path)
        return Resize.of(record.width, record.height, self._size, self._fit)

    def _decode_image(self, path: Path) -> tuple[Pixels, Resize]:
        image = read_image(path)
        for note in image.notes:
            logger.warning("%s: %s", path.name, note)
        resize = Resize.of(*image.size, self._size, self._fit)
        return resize.image(image.pixels, self._resampling), resize

    def _decode_mask(self, path: Path) -> tuple[Pixels, Resize]:
        mask = read_mask(path)
        resize = Resize.of(mask.shape[1], mask.shape[0], self._size, self._fit)
        return resize.mask(mask), resize


class _Files:
    """Files of one shape in one cache, by the names that the manifest gives them."""

    def __init__(self, cache: ArrayCache, root: Path, names: Collection[str], decode: Decode, label: str) -> None:
        self._cache, self._decode = cache, decode
        self.problems: dict[str, str] = {}
        self._paths: dict[str, Path] = {}
        self.keys: dict[str, str] = {}
        ordered = sorted(names)
        for name, found in zip(ordered, in_parallel(partial(_locate, root), ordered, f"reading {label}"), strict=True):
            if isinstance(found, str):
                self.problems[name] = found
            else:
                self._paths[name], self.keys[name] = found
        self._records = cache.open_for(set(self.keys.values()))
        missing = {key: name for name, key in self.keys.items() if key not in self._records}
        self._records.update(cache.add(self._decoded(missing, label)))
        unstored = sum(record.slot < 0 for record in self._records.values())
        if unstored:
            logger.warning("%d of %d %s do not fit into the cache and are decoded each time; raise "
                           "runtime.cache_gigabytes", unstored, len(self._records), label)  # fmt: skip

    def record(self, name: str) -> Record:
        return self._records[self.keys[name]]

    def array(self, name: str) -> Pixels:
        record = self.record(name)
        return self._decode(self._paths[name])[0] if record.slot < 0 else self._cache.read(record.slot)

    def _decoded(self, missing: Mapping[str, str], label: str) -> Iterator[Entry]:
        decoded = in_parallel(self._try, list(missing.values()), f"decoding {label}")
        for key, result in zip(missing, decoded, strict=True):
            if isinstance(result, str):
                self.problems.update({name: result for name, other in self.keys.items() if other == key})
                continue
            pixels, resize = result
            yield Entry(key, pixels, resize.width, resize.height, int(pixels.max()))

    def _try(self, name: str) -> tuple[Pixels, Resize] | str:
        try:
            return self._decode(self._paths[name])
        except _READ_ERRORS as error:
            return f"{name!r} cannot be read ({error})"


def _locate(root: Path, name: str) -> tuple[Path, str] | str:
    try:
        path = find_image(root, name)
        return path, content_hash(path)
    except (ImageError, PathError, OSError) as error:
        return str(error)


def content_hash(path: Path) -> str:
    """Return a hash of a file's bytes."""
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def in_parallel(work: Callable[[Given], Made], items: Sequence[Given], label: str) -> Iterator[Made]:
    """Yield `work(item)` in order, done by threads; never more than a few hundred results wait to be taken."""
    with ThreadPoolExecutor() as pool:
        chunks = (items[start : start + _IN_FLIGHT] for start in range(0, len(items), _IN_FLIGHT))
        results = (result for chunk in chunks for result in pool.map(work, chunk))
        yield from progress(results, len(items), label) if items else ()
