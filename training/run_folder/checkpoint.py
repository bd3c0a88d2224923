"""Atomic checkpoints of a whole run: network, EMA, optimiser, sampler and random state."""

import io
from pathlib import Path
from typing import Any

import torch

from challenge.errors import UserError
from challenge.host.atomic import write_atomically
from challenge.host.disk import DiskFullError, is_full
from training.pretrained.state_dict import read_torch_file

LAST = "last.pt"
BEST = "best.pt"

_KEYS = ("config", "tasks", "network", "ema", "sampler", "images_seen", "facts")


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state` so that a crash leaves the old file or the new one, never half of one.

    Raises DiskFullError if there is no room; the old file is then intact and no part of the new one is left.
    """
    stream = io.BytesIO()
    torch.save(state, stream)
    try:
        write_atomically(path, [stream.getvalue()])
    except OSError as error:
        if not is_full(error):
            raise
        raise DiskFullError(
            f"no room is left in {path.parent} for a checkpoint of {stream.tell():,} bytes; make room and repeat the "
            "command with --resume"
        ) from error


def load_best(run: Path) -> dict[str, Any]:
    """Read the checkpoint of the network that was best on the dev rows, or the last one where none was scored."""
    return load(run / BEST if (run / BEST).is_file() else run / LAST)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint; tensors and plain data only. Raises UserError if there is none, or no whole one."""
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}; train first, or give another run folder")
    state = read_torch_file(path)
    if not isinstance(state, dict) or not set(_KEYS) <= set(state):
        raise UserError(f"{path} is no checkpoint of this project; give the run's own, or begin anew in another folder")
    return state
