"""Options that several commands of `python -m training` share."""

import math
from collections.abc import Callable
from pathlib import Path

import click

from challenge.cli import FOLDER
from challenge.errors import UserError

IMAGES = click.IntRange(1, 10**12)


def _minutes(_: click.Context, __: click.Parameter, value: float | None) -> float | None:
    if value is not None and not 0 < value < math.inf:
        raise click.BadParameter(f"{value} is not above 0")
    return value


def _named_runs(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, Path]:
    pairs = [value.partition("=") for value in values]
    for name, _equals, run in pairs:
        if not name or not run:
            raise click.BadParameter(f"{name + _equals + run!r} is not TASK=RUN")
    names = [name for name, *_ in pairs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise click.BadParameter(f"{twice} is named twice")
    return {name: Path(run) for name, _, run in pairs}


def renamed(new: str) -> Callable[[click.Context, click.Parameter, object], None]:
    """Return a callback that refuses an option's old name."""

    def refuse(_: click.Context, option: click.Parameter, value: object) -> None:
        if value:
            raise UserError(f"the option {option.opts[0]} is now called {new}; use that name")

    return refuse


data = click.option("--data-root", required=True, type=FOLDER, help="Challenge data folder with csv_files/.")
run_output = click.option("--output", required=True, type=FOLDER, help="Run folder for checkpoints and logs.")
cache = click.option("--cache", type=FOLDER, help="Image cache; runs can share it.  [default: OUTPUT/cache]")
overrides = click.option(
    "--set", "overrides", multiple=True, help="Override a value of the recipe: section.key=value. Can be repeated."
)
resume = click.option("--resume", is_flag=True, help="Continue from the checkpoint in the run folder.")
max_minutes = click.option("--max-minutes", type=float, callback=_minutes, help="Shorten the schedule to this time.")
network = click.option(
    "--from", "folder", required=True, type=FOLDER, help="Network to begin with: exported weights or a run folder."
)
budget = click.option(
    "--images", default=3000, type=IMAGES, show_default=True, help="Images to train on; an image counts each time."
)
run = click.argument("run_folder", metavar="RUN", type=FOLDER)
runs = click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=FOLDER)
run_data = click.option("--data-root", required=True, type=FOLDER, help="The data folder that the run was trained on.")
run_cache = click.option("--cache", type=FOLDER, help="Image cache.  [default: RUN/cache]")
score_root = click.option(
    "--val-root", type=FOLDER, help="Score the rows of this folder instead of the run's dev rows."
)
weights_output = click.option("--output", required=True, type=FOLDER, help="Folder for the weights.")
answered_by = click.option(
    "--answered-by",
    multiple=True,
    metavar="TASK=RUN",
    callback=_named_runs,
    help="Of several runs, the one that answers this task (or kind: classification=RUN). Can be repeated.",
)
verbose = click.option("--verbose", is_flag=True, help="List how every key was used.")
