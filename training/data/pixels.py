"""Images and masks on the network's grid: decoded and resized once, kept in the cache."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from challenge.host.disk import is_full
from challenge.host.progress import progress
from challenge.imaging.decode import DecodedImage, read_image
from challenge.imaging.geometry import Fit, Resize
from challenge.imaging.resampling import Resampling
from challenge.manifest import Sample
from challenge.paths import find_image
from training.config import DataConfig
from training.data.array_cache import ArrayCache
from training.data.cache_room import Needs, check_room, no_room
from training.data.row_files import (
    FileSet,
    Reading,
    Size,
    Unread,
    attempt,
    content_of,
    image_of,
    key_of,
    masks_of,
    read_masks,
)

logger = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]
Given = TypeVar("Given")
Made = TypeVar("Made")

_VERSION = 3  # of what is cached: count up whenever decoding or resizing changes
_IN_FLIGHT = 256
_SAMPLE = 32  # files that are decoded to estimate the time of all


@dataclass(frozen=True)
class Decoded:
    """An array on the network's grid, how it came there, and what was read by a rule."""

    pixels: Pixels
    resize: Resize
    notes: tuple[str, ...] = ()


Decode = Callable[[FileSet], Decoded]


class PixelStore:
    """The images of `samples` below `data_root`, and the masks of those that are to have one.

    `cache` is a folder that any number of runs may share. What does not fit into `limit_bytes` is decoded whenever it
    is asked for. Which files are missing or cannot be read is told by `reading`.
    """

    def __init__(
        self, data_root: Path, samples: Sequence[Sample], config: DataConfig, cache: Path, limit_bytes: int
    ) -> None:
        self._root = data_root
        self._size, self._fit, self._resampling = config.image_size, Fit(config.fit), Resampling(config.resampling)
        size, grid = self._size, f"{config.image_size}-{config.fit}-v{_VERSION}"
        self._masks_of = masks_of(samples)
        # A mask has a third of an image's bytes.
        images_cache = ArrayCache(cache / f"images-{grid}-{config.resampling}", (size, size, 3), limit_bytes * 3 // 4)
        masks_cache = ArrayCache(cache / f"masks-{grid}", (size, size), limit_bytes // 4)
        images, masks = set(map(image_of, samples)), set(self._masks_of.values())
        self._images = _Files(images_cache, data_root, images, self._decode_image, "images")
        self._masks = _Files(masks_cache, data_root, masks, self._decode_mask, "masks")
        check_room([self._images.needs, self._masks.needs], cache)
        for files in (self._images, self._masks):
            files.fill()

    def contents(self) -> Mapping[str, str]:
        """Return the content hash of every image that was found, by `image_path`."""
        return {files.names[0]: key for files, key in self._images.keys.items()}

    def mask_contents(self) -> Mapping[str, str]:
        """Return the content hash of the masks of every image and task that were found, by the first `mask_file`."""
        return {files.names[0]: key for files, key in self._masks.keys.items()}

    def reading(self, sample: Sample) -> Reading:
        """Return the sizes of a row's files, or why they cannot be read."""
        image, masks = image_of(sample), self._masks_of.get(key_of(sample))
        mask = self._masks.size(masks) if masks else None
        return Reading(self._images.size(image), mask, self._images.keys.get(image))

    def image(self, sample: Sample) -> Pixels:
        """Return (S, S, 3) uint8."""
        return self._images.array(image_of(sample))

    def mask(self, sample: Sample) -> Pixels:
        """Return (S, S) uint8 class indices of a segmentation row, all masks of its image and task joined."""
        return self._masks.array(self._masks_of[key_of(sample)])

    def native_mask(self, sample: Sample) -> Pixels:
        """Return (H, W) uint8 class indices as `mask` does, on the native grid. Raises MaskError or ImageError."""
        return read_masks(self._root, self._masks_of[key_of(sample)]).labels

    def native_image(self, sample: Sample) -> Pixels:
        """Return (H, W, 3) uint8 on the native grid, decoded from the file. Raises ImageError or PathError."""
        return self._read(image_of(sample)).pixels

    def resize_of(self, sample: Sample) -> Resize:
        """Return the geometry of the sample's image."""
        return Resize.of(*self._images.native_size(image_of(sample)), self._size, self._fit)

    def _decode_image(self, files: FileSet) -> Decoded:
        image = self._read(files)
        resize = Resize.of(*image.size, self._size, self._fit)
        return Decoded(resize.image(image.pixels, self._resampling), resize, image.notes)

    def _read(self, files: FileSet) -> DecodedImage:
        return read_image(find_image(self._root, files.names[0]))

    def _decode_mask(self, files: FileSet) -> Decoded:
        mask = read_masks(self._root, files)
        resize = Resize.of(mask.labels.shape[1], mask.labels.shape[0], self._size, self._fit)
        return Decoded(resize.mask(mask.labels), resize, mask.notes)


class _Files:
    """Files of one shape in one cache."""

    def __init__(self, cache: ArrayCache, root: Path, sets: Collection[FileSet], decode: Decode, label: str) -> None:
        self._cache, self._decode, self._label = cache, decode, label
        self._unread: dict[FileSet, Unread] = {}
        self.keys: dict[FileSet, str] = {}
        ordered = sorted(sets)
        found = in_parallel(lambda files: attempt(partial(content_of, root, files)), ordered, f"reading {label}")
        for files, key in zip(ordered, found, strict=True):
            if isinstance(key, Unread):
                self._unread[files] = key
            else:
                self.keys[files] = key
        self._sizes = cache.open_for(set(self.keys.values()))
        self._missing = {key: files for files, key in self.keys.items() if key not in self._sizes}

    @property
    def needs(self) -> Needs:
        """What filling the cache takes."""
        return Needs(self._label, len(self._missing), self._cache.room, self._cache.bytes_each, self._seconds())

    def size(self, files: FileSet) -> Size | Unread:
        """Return the native size of what the files were decoded to, or why they could not be."""
        return self._unread[files] if files in self._unread else self.native_size(files)

    def native_size(self, files: FileSet) -> Size:
        """Return the native size of what readable files were decoded to."""
        return self._sizes[self.keys[files]]

    def array(self, files: FileSet) -> Pixels:
        """Return the array from the cache; decoded, where it is not there."""
        array = self._cache.read(self.keys[files])
        return self._decode(files).pixels if array is None else array

    def _seconds(self) -> float:
        """Return the time in which threads would decode what is missing, by decoding a few files of it."""
        if len(self._missing) <= _SAMPLE:
            return 0.0
        some = [*self._missing.values()][:: len(self._missing) // _SAMPLE]
        start = time.monotonic()
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda files: attempt(partial(self._decode, files)), some))
        return (time.monotonic() - start) * len(self._missing) / len(some)

    def fill(self) -> None:
        """Decode what the cache lacks and store what has room. Raises DiskFullError."""
        notes: dict[str, list[FileSet]] = defaultdict(list)
        missing, label = self._missing, self._label
        decoded = in_parallel(
            lambda files: attempt(partial(self._decode, files)), [*missing.values()], f"decoding {label}"
        )
        for (key, files), result in zip(missing.items(), decoded, strict=True):
            if isinstance(result, Unread):
                self._unread.update({other: result for other, its in self.keys.items() if its == key})
                continue
            for note in result.notes:
                notes[note].append(files)
            self._sizes[key] = (result.resize.width, result.resize.height)
            self._store(key, result.pixels)
        for note, sets in notes.items():
            logger.warning("%d %s (the first: %s): %s", len(sets), label, sets[0].names[0], note)

    def _store(self, key: str, pixels: Pixels) -> None:
        try:
            self._cache.add(key, pixels, self._sizes[key])
        except OSError as error:
            if not is_full(error):
                raise
            raise no_room(self._cache.folder, len(self._missing) * self._cache.bytes_each) from error


def in_parallel(work: Callable[[Given], Made], items: Sequence[Given], label: str) -> Iterator[Made]:
    """Yield `work(item)` in order, done by threads; never more than a few hundred results wait to be taken."""
    with ThreadPoolExecutor() as pool:
        chunks = (items[start : start + _IN_FLIGHT] for start in range(0, len(items), _IN_FLIGHT))
        results = (result for chunk in chunks for result in pool.map(work, chunk))
        yield from progress(results, len(items), label) if items else ()
