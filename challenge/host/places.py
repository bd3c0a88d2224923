"""The options that say where a run reads and writes, for `inference.py` and for the container's start.

This module imports little: code that runs before the container gives up its permissions must start no thread.
"""

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

INPUT_JSON = Path("/input_json")
"""The path at which UUSIC's organisers mount the list of images."""
DEFAULT_WEIGHTS = Path(os.environ.get("FMC_UIA_WEIGHTS") or Path(__file__).resolve().parents[2] / "weights")
"""The folder that `FMC_UIA_WEIGHTS` names, else `weights/` beside `inference.py`."""


class GivenPath(click.Path):
    """A path of a command line: not empty, as an unset variable of a shell leaves it, and one that the host can have.

    The empty path means the current folder elsewhere, which would then be filled with answers.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path. Raises click.BadParameter."""
        if not os.fspath(value):
            self.fail("the path is empty; is a variable of the shell unset?", param, ctx)
        try:
            place = Path(value).absolute()
        except OSError:  # it was deleted
            self.fail(f"{os.fspath(value)} is relative to a folder that is gone; change to another", param, ctx)
        try:
            place.lstat()
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                self.fail(f"the name is too long: {os.fspath(value)}", param, ctx)
        return super().convert(value, param, ctx)


FOLDER = GivenPath(file_okay=False, path_type=Path)
FILE = GivenPath(dir_okay=False, path_type=Path)
EXISTING_FILE = GivenPath(exists=True, dir_okay=False, path_type=Path)

input_option = click.option(
    "--input", "data_root", default=Path("/input"), type=FOLDER, show_default=True, help="Data folder with csv_files/."
)
output_option = click.option(
    "--output", "output_dir", default=Path("/output"), type=FOLDER, show_default=True, help="Folder for the answers."
)
input_json_option = click.option(
    "--input-json", default=INPUT_JSON, type=FILE, show_default=True, help="List of images of UUSIC (JSON)."
)
weights_option = click.option(
    "--weights", default=DEFAULT_WEIGHTS, type=FOLDER, help="Folder of exported weights.  [default: weights/]"
)
soft_masks_option = click.option(
    "--soft-masks", type=FOLDER, metavar="DIR", help="Also write the probabilities of masks to DIR, a PNG per class."
)
confidence_option = click.option(
    "--confidence", "confidence_file", type=FILE, help="Write the confidence of every row (JSON) to this file."
)
report_option = click.option("--report", "report_file", type=FILE, help="Write a run report (JSON) to this file.")


@dataclass(frozen=True)
class Places:
    """The paths on a command line, with defaults; `others` holds the remaining arguments in order."""

    data_root: Path
    output_dir: Path
    input_json: Path
    weights: Path
    report_file: Path | None
    others: tuple[str, ...]
    soft_masks: Path | None = None
    confidence_file: Path | None = None

    @classmethod
    def of(cls, arguments: Sequence[str]) -> "Places":
        """Return the paths on a command line. Raises click.UsageError if one of their options is malformed."""
        return cls(**_places.make_context("places", list(arguments)).params)


@click.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@input_option
@output_option
@input_json_option
@weights_option
@report_option
@soft_masks_option
@confidence_option
@click.argument("others", nargs=-1, type=click.UNPROCESSED)
def _places(**_: Any) -> None:
    """Parse the paths of a command line; `inference.py` parses the rest."""
