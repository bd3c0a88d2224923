"""Checkpoint files of a run: `last.pt` to go on from, `best.pt` with the network that was best on the dev rows."""

import io
from pathlib import Path
from typing import Any

import torch

from challenge.errors import UserError
from challenge.host.atomic import write_atomically
from challenge.host.disk import DiskFullError, is_full
from training.run_folder.checkpoint_state import FORMAT, RunState
from training.torch_files import read_torch_file

LAST = "last.pt"
BEST = "best.pt"

_FIRST_EDITION = {"config", "tasks", "network", "ema", "sampler", "images_seen", "facts"}


def save(path: Path, state: RunState) -> None:
    """Write `state` so that a crash leaves the old file or the new one, never half of one.

    Raises DiskFullError if there is no room; the old file is then intact and no part of the new one is left.
    """
    stream = io.BytesIO()
    torch.save(state.as_table(), stream)
    try:
        write_atomically(path, [stream.getvalue()])
    except OSError as error:
        if not is_full(error):
            raise
        raise DiskFullError(
            f"no room is left in {path.parent} for a checkpoint of {stream.tell():,} bytes; make room and repeat the "
            "command with --resume"
        ) from error


def load_best(run: Path) -> RunState:
    """Read the checkpoint of the network that was best on the dev rows, or the last one if none was scored."""
    return load(run / BEST if (run / BEST).is_file() else run / LAST)


def load(path: Path) -> RunState:
    """Read a checkpoint; tensors and plain data only. Raises UserError if it is missing, damaged or of another format.

    Checkpoints of the first edition are not read: they do not record the rows that taught them.
    """
    if not path.is_file():
        folds = sorted(fold.name for fold in path.parent.glob("fold-*") if (fold / LAST).is_file())
        what = f"it is a run of folds: give one of {', '.join(folds)}" if folds else "train first, or give another run"
        raise UserError(f"there is no checkpoint in {path.parent}; {what}")
    table = read_torch_file(path)
    _check_format(table, path)
    try:
        return RunState.from_table(table)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error!r}); train again in another folder") from error


def _check_format(table: Any, path: Path) -> None:
    entries = table if isinstance(table, dict) else {}
    if "format" not in entries and entries.keys() >= _FIRST_EDITION:
        raise UserError(
            f"{path} was written by the first edition and cannot be read any more; train again in another folder, or "
            "begin with weights that were exported from this run (`train --from WEIGHTS`)"
        )
    if "format" not in entries:
        raise UserError(f"{path} is not a checkpoint of this project; give a run folder, or train in another folder")
    if entries["format"] != FORMAT:
        raise UserError(
            f"{path} has format {entries['format']}, but this version reads {FORMAT}; use the version that wrote it"
        )
