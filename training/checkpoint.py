"""Atomic checkpoints of a whole run: network, EMA, optimiser, sampler and random state."""

import os
from pathlib import Path
from typing import Any

import torch

from challenge.errors import UserError

LAST = "last.pt"
BEST = "best.pt"


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state` so that a crash leaves the old file or the new one, never half of one."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as stream:
        torch.save(state, stream)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)


def load_best(run: Path) -> dict[str, Any]:
    """Read the checkpoint of the network that was best on the dev rows, or the last one where none was scored."""
    return load(run / BEST if (run / BEST).is_file() else run / LAST)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint; tensors and plain data only. Raises UserError if there is none."""
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}; train first, or give another run folder")
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise UserError(f"{path} is no checkpoint of this project")
    return state
