"""Synthetic ultrasound in the challenge's layout, for tests and `make run`: seeded, fast, numpy and Pillow only."""

from phantoms.families import EXTRA_TASKS, TASKS
from phantoms.folder import write_folder

__all__ = ["EXTRA_TASKS", "TASKS", "write_folder"]
