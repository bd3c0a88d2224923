"""The files of training rows: which they are, and what reading them gave."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from challenge.errors import ImageError, MaskError, PathError
from challenge.manifest import Sample
from challenge.masks.true_masks import TrueMask, read_true_masks
from challenge.paths import find_image
from challenge.tasks import TaskKind

Size = tuple[int, int]
"""(width, height) in native pixels."""
Key = tuple[str, str]
"""An image and a task: what a row is about."""
Made = TypeVar("Made")

_READ_ERRORS = (ImageError, MaskError, PathError, OSError, SyntaxError, ValueError, EOFError)


@dataclass(frozen=True, order=True)
class FileSet:
    """The files, by their manifest's names, that make one array: an image, or the masks of an image and task.

    `num_classes` is what the masks are read by, 0 for an image.
    """

    names: tuple[str, ...]
    num_classes: int = 0


@dataclass(frozen=True)
class Unread:
    """Why there is nothing where a file should have been read."""

    reason: str


@dataclass(frozen=True)
class Reading:
    """What reading a row's files gave: the sizes of image and mask, or why there is none.

    `content` is the hash of the image's file, None if there is none. Only segmentation rows have a mask.
    """

    image: Size | Unread
    mask: Size | Unread | None = None
    content: str | None = None


def attempt(read: Callable[[], Made]) -> Made | Unread:
    """Return what `read` returns, or why a file could not be read."""
    try:
        return read()
    except _READ_ERRORS as error:
        return Unread(str(error))


def key_of(sample: Sample) -> Key:
    """Return what a row is about."""
    return sample.image_path, sample.task_id


def image_of(sample: Sample) -> FileSet:
    """Return a row's image."""
    return FileSet((sample.image_path,))


def masks_of(samples: Iterable[Sample]) -> dict[Key, FileSet]:
    """Return the masks of every image and segmentation task, in the order of their rows.

    An image may have several, each with a row of its own: one for every lesion.
    """
    names: dict[Key, dict[str, None]] = defaultdict(dict)
    classes: dict[Key, int] = {}
    for sample in samples:
        if sample.kind is TaskKind.SEGMENTATION:
            names[key_of(sample)][str(sample.mask_file)] = None
            classes[key_of(sample)] = sample.num_classes
    return {key: FileSet(tuple(found), classes[key]) for key, found in names.items()}


def read_masks(root: Path, masks: FileSet) -> TrueMask:
    """Return the masks of an image and task as one. Raises MaskError; ImageError or PathError if a file is missing."""
    return read_true_masks([find_image(root, name) for name in masks.names], masks.num_classes)


def content_of(root: Path, files: FileSet) -> str:
    """Return what tells the files' array apart: a hash of their bytes, and the number of classes of masks."""
    hashes = [content_hash(find_image(root, name)) for name in files.names]
    return "-".join([*hashes, str(files.num_classes)] if files.num_classes else hashes)


def content_hash(path: Path) -> str:
    """Return a hash of a file's bytes."""
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
