"""Which rows and which start a run had, as digests, so that nobody goes on, averages or judges with others unawares."""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
    """Of the training rows in their order, of the dev rows, and of the tensors that the run began with, if any."""

    rows: str
    dev: str
    start: str = ""

    @classmethod
    def of(cls, train: Part, dev: Part, start: Mapping[str, Tensor] | None = None) -> "Digests":
        """Return the digests of a run that is to begin."""
        return cls(_digest(_lines(train)), dev_digest(dev), tensors_digest(start) if start else "")

    @classmethod
    def recorded(cls, facts: Mapping[str, Any]) -> "Digests | None":
        """Return those that a run or weights recorded in their facts; None for those of the first edition."""
        table = facts.get("digests")
        return cls(**table) if table else None

    def differences(self, other: "Digests", keys: Iterable[str]) -> str:
        """Return in words which of `keys` differ; empty if none does."""
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


def check_resumed(recorded: Digests | None, now: Digests, output: Path) -> None:
    """Refuse to go on with a run on other rows. Raises UserError."""
    if recorded is None:
        logger.warning("%s does not record its rows: if the data have changed, the run goes on with others, and dev "
                       "rows may have been learned", output)  # fmt: skip
    elif changed := recorded.differences(now, ("rows", "dev")):
        raise UserError(
            f"{output} was started with other {changed}; give what it was started with, or begin anew in another folder"
        )


def check_same_start(recorded: Digests | None, start: Mapping[str, Tensor], output: Path) -> None:
    """Refuse to go on with a run that began with another network than `start`. Raises UserError."""
    if recorded and recorded.start != tensors_digest(start):
        raise UserError(f"{output} was started with another network to begin with; give that one, or another folder")


def warn_of_learned_rows(start: Mapping[str, Any], now: Digests) -> None:
    """Warn where a run may be judged by rows that taught the network to begin with, whose facts are `start`."""
    before = Digests.recorded(start)
    if before is None:
        logger.warning("the network to begin with does not record the rows that taught it: if dev rows are among them, "
                       "their scores are too good")  # fmt: skip
    elif before.dev != now.dev:
        logger.warning("the network to begin with was judged by other rows than these dev rows: if they were among "
                       "those that taught it, their scores are too good")  # fmt: skip


def check_judged(facts: Mapping[str, Any], dev: Part, *, on_purpose: bool = False) -> bool:
    """Return whether `dev` are a run's own dev rows. Raises UserError if not, unless they are others `on_purpose`.

    A run that does not record its rows is taken at the user's word, with a warning.
    """
    recorded = Digests.recorded(facts)
    if recorded is None:
        if not on_purpose:
            logger.warning("the run does not record its rows: if %s is not the folder that it was trained on, it has "
                           "learned some of these dev rows, and their scores are too good", dev.root)  # fmt: skip
        return not on_purpose
    own = recorded.dev == dev_digest(dev)
    if not own and not on_purpose:
        raise UserError(
            f"the rows of {dev.root} are not those that the run was trained and judged on; give its own folder (and "
            "its --val-root, if it had one) as it was then"
        )
    return own


def _digest(lines: Iterable[str]) -> str:
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def _lines(part: Part) -> Iterator[str]:
    """What a row teaches, one line each. Where the files lie does not matter."""
    for sample in part.samples:
        image = part.store.contents.get(sample.image_path)
        yield json.dumps(
            [sample.image_path, image, sample.task_id, sample.kind, sample.num_classes, _truth(part, sample)]
        )


def _truth(part: Part, sample: Sample) -> object:
    match sample.kind:
        case TaskKind.SEGMENTATION:
            return part.store.mask_contents.get(str(sample.mask_file))
        case TaskKind.CLASSIFICATION:
            return targets.label(sample)
        case TaskKind.DETECTION:
            return targets.box(sample)
        case TaskKind.REGRESSION:
            return targets.points(sample)
