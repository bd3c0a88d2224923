"""Digests of a run's rows and of its start, so that nobody resumes, averages or scores it with others by mistake."""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from challenge import targets
from challenge.errors import UserError
from challenge.manifest import Sample
from challenge.tasks import TaskKind
from training.data.rows import Part

logger = logging.getLogger(__name__)

_WORDS = {
    "rows": "training rows (csv, images, masks or the split)",
    "dev": "dev rows (csv, images, masks or the split)",
    "start": "network to begin with",
}


@dataclass(frozen=True)
class Digests:
    """Of the training rows in their order, of the dev rows, and of the tensors that the run began with, if any.

    All are empty for weights of the first edition, which did not record them.
    """

    rows: str = ""
    dev: str = ""
    start: str = ""

    @classmethod
    def of(cls, train: Part, dev: Part, start: Mapping[str, Tensor] | None = None) -> "Digests":
        """Return the digests of a run that is to begin."""
        return cls(_digest(_lines(train)), dev_digest(dev), tensors_digest(start) if start else "")

    def differences(self, other: "Digests", keys: Iterable[str]) -> str:
        """Return in words which of the fields `keys` differ; empty if none does."""
        mine, theirs = asdict(self), asdict(other)
        return " and ".join(_WORDS[key] for key in keys if mine[key] != theirs[key])


def dev_digest(dev: Part) -> str:
    """Return a digest of rows to judge by: images, tasks, truths; the order does not matter."""
    return _digest(sorted(_lines(dev)))


def tensors_digest(state: Mapping[str, Tensor]) -> str:
    """Return a digest of a state dict: names, types, shapes, values."""
    found = hashlib.blake2b(digest_size=16)
    for name, value in sorted(state.items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def check_resumed(recorded: Digests, now: Digests, output: Path) -> None:
    """Refuse to resume a run on other rows. Raises UserError."""
    if changed := recorded.differences(now, ("rows", "dev")):
        raise UserError(f"{output} was started with other {changed}; give the same data, or train in another folder")


def check_same_start(recorded: Digests, start: Mapping[str, Tensor], output: Path) -> None:
    """Refuse to resume a run that began with another network than `start`. Raises UserError."""
    if recorded.start != tensors_digest(start):
        raise UserError(f"{output} was started with another network (--from); give the same one, or another folder")


def warn_of_learned_rows(before: Digests, now: Digests) -> None:
    """Warn if the network that a run begins with, whose digests are `before`, may have learned the dev rows."""
    if not before.dev:
        logger.warning(
            "the network to begin with does not record its training rows; if it has learned dev rows, their scores "
            "are too good"
        )
    elif before.dev != now.dev:
        logger.warning(
            "the network to begin with had other dev rows; if it has learned some of the present ones, their scores "
            "are too good"
        )


def is_own(recorded: Digests, dev: Part) -> bool:
    """Return whether `dev` are a run's own dev rows."""
    return recorded.dev == dev_digest(dev)


def check_own(recorded: Digests, dev: Part) -> None:
    """Raise UserError if `dev` are not a run's own dev rows."""
    if not is_own(recorded, dev):
        raise UserError(
            f"the rows of {dev.root} are not the run's own; give the folder that it was trained on (and its "
            "--val-root, if it had one) as it was then"
        )


def _digest(lines: Iterable[str]) -> str:
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def _lines(part: Part) -> Iterator[str]:
    """What a row teaches, one line each. Where the files lie does not matter."""
    images, masks = part.store.contents(), part.store.mask_contents()
    for sample in part.samples:
        image, truth = images.get(sample.image_path), _truth(sample, masks)
        yield json.dumps([sample.image_path, image, sample.task_id, sample.kind, sample.num_classes, truth])


def _truth(sample: Sample, masks: Mapping[str, str]) -> object:
    match sample.kind:
        case TaskKind.SEGMENTATION:
            return masks.get(str(sample.mask_file))
        case TaskKind.CLASSIFICATION:
            return targets.label(sample)
        case TaskKind.DETECTION:
            return targets.box(sample)
        case TaskKind.REGRESSION:
            return targets.points(sample)
