"""`python test/phantoms --output DIR`: write a small synthetic data folder."""

import sys
from pathlib import Path

import click

if not __package__:
    # Run as a folder, Python puts that folder on its path, but neither `phantoms` nor `challenge`.
    here = Path(__file__).resolve().parent
    sys.path[:0] = [str(here.parent), str(here.parent.parent)]

from challenge.errors import UserError
from phantoms.families import TASKS
from phantoms.folder import write_folder


@click.command()
@click.option("--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder to write.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same bytes.")
@click.option("--per-task", default=3, show_default=True, type=click.IntRange(min=1), help="Pictures per task.")
@click.option("--with-truth/--without-truth", default=True, show_default=True, help="Masks, labels, boxes, points.")
@click.option("--only", multiple=True, metavar="TASK", type=click.Choice(sorted(TASKS)), help="May be repeated.")
def main(output: Path, seed: int, per_task: int, with_truth: bool, only: tuple[str, ...]) -> None:
    """Write a synthetic ultrasound data folder with all 27 subtasks and two more."""
    try:
        rows = write_folder(output, seed, per_task, with_truth, only)
    except UserError as error:
        raise click.UsageError(str(error)) from error
    click.echo(f"{rows} rows in {output}")


if __name__ == "__main__":
    main()
