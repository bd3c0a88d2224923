"""What a run leaves to look at: `log.jsonl` always, TensorBoard's files where it is installed."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.text_files import write_text

logger = logging.getLogger(__name__)

FILE = "log.jsonl"


class RunLog:
    """Appends lines to `folder/log.jsonl`; each has the `step` that it was written after."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._board = _tensorboard(folder)

    def write(self, line: Mapping[str, Any]) -> None:
        """Append one line, and its numbers to TensorBoard."""
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        if self._board:
            for name, value in _numbers(line):
                self._board.add_scalar(name, value, line["step"])

    def forget_after(self, step: int) -> None:
        """Remove the lines of later steps: a resumed run writes them again."""
        kept = [line for line in read_log(self._path) if line["step"] <= step]
        write_text(self._path, "".join(json.dumps(line) + "\n" for line in kept))


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log; a last line that a crash cut short is left out."""
    lines = []
    for text in path.read_text("utf-8").splitlines() if path.is_file() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            logger.warning("%s: skipped a damaged line", path.name)
    return lines


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:  # not installed, and not needed
        return None
    return SummaryWriter(str(folder / "tensorboard"))


def _numbers(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            found += _numbers(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and key != "step":
            found.append((prefix + key, float(value)))
    return found
