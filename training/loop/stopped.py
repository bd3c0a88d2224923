"""The exception that ends a run after a signal."""

import signal
from pathlib import Path


class Stopped(Exception):
    """Signal `number` ended a run between two steps; its checkpoint is written."""

    def __init__(self, number: int, step: int, output: Path) -> None:
        self.number = number
        name = signal.Signals(number).name
        super().__init__(
            f"stopped by {name}; the checkpoint after step {step} is in {output}; repeat the command with --resume"
        )
