"""`python -m bench ...`: what is measured for the documents."""

import logging
import sys
from pathlib import Path

import click

from challenge.errors import UserError

FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def main() -> None:
    """Measure what the documents state."""
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)


@main.command()
@click.option("--recipe", "recipes", multiple=True, type=FILE, help="Recipe (TOML), may be repeated.")
@click.option("--published/--no-published", default=True, show_default=True, help="Measure the default networks too.")
@click.option("--scores", multiple=True, metavar="NAME=FILE",
              help="JSON of `evaluate score` for the row of that recipe, may be repeated.")  # fmt: skip
@click.option("--measured", type=FILE, help="JSON of rows; those in it are not measured again, new ones are added.")
@click.option("--into", type=FILE, help="Document whose table between the markers is replaced.")
def systems(
    recipes: tuple[Path, ...], published: bool, scores: tuple[str, ...], measured: Path | None, into: Path | None
) -> None:
    """Print parameters, FLOPs, size, speed and scores of every system as a Markdown table."""
    from bench.systems import measure_all, read_scores, table
    from bench.tables import replace_table

    rows = measure_all(recipes, published=published, known=measured)
    text = table(rows, read_scores(scores, [row.name for row in rows]))
    click.echo(text)
    if into:
        replace_table(into, "systems", text)


def run() -> int:
    """Run the command line; return 2 with one sentence on stderr for what the user can mend."""
    try:
        main(standalone_mode=True)
    except UserError as error:
        click.echo(str(error), err=True)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(run())
