"""The commands `python -m training aggregate`, `robustness` and `looks`."""

import math
from pathlib import Path

import click

from challenge.cli import FILE, FOLDER
from challenge.host.output_files import check_outside
from training import options


@click.command()
@click.option("--config", "config_file", required=True, type=FILE, help="Recipe (TOML); optim.images is the budget.")
@options.data
@click.option("--val-root", required=True, type=FOLDER, help="Data folder on which all networks are scored.")
@click.option("--output", required=True, type=FOLDER, help="Folder for the runs, the table and the figure.")
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="NAME=TASK,TASK",
    help="Group of tasks; can be repeated. Others are left out.  [default: clinical groups]",
)
@click.option(
    "--fraction",
    "fractions",
    multiple=True,
    default=(1.0,),
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True),
    help="Part of each task's training rows; repeat it to compare settings with many and with few rows.",
)
@options.cache
@options.overrides
@click.option("--resume", is_flag=True, help="Keep finished networks and train the others.")
def aggregate(
    config_file: Path,
    data_root: Path,
    val_root: Path,
    output: Path,
    groups: tuple[str, ...],
    fractions: tuple[float, ...],
    cache: Path | None,
    overrides: tuple[str, ...],
    resume: bool,
) -> None:
    """Compare one network per task, one per group and one for all tasks, under the same budget of images."""
    from training.config import load_config

    check_outside(output, data_root, val_root)
    config = load_config(config_file, overrides)

    from training.data.rows import DataSource
    from training.distributed import join_ranks, leave_ranks
    from training.studies.aggregation import RESULTS, aggregate, parse_groups

    source = DataSource(data_root, cache or output / "cache", val_root)
    aggregate(config, source, output, join_ranks(), parse_groups(groups), fractions, resume=resume)
    leave_ranks()
    click.echo((output / RESULTS).read_text("utf-8"))


@click.command()
@options.runs
@options.run_data
@options.score_root
@options.run_cache
@click.option("--changes", type=click.Choice(["corruptions", "machines"]), default="corruptions", show_default=True,
              help="Poorer pictures (augmentation has them too), or other machines (it does not).")  # fmt: skip
@click.option("--refined", is_flag=True, help="With the post-processing that `refine` chose for the run.")
def robustness(
    runs: tuple[Path, ...], data_root: Path, val_root: Path | None, cache: Path | None, changes: str, refined: bool
) -> None:
    """Print the scores of a RUN, or of several that answer together, on images as other machines would make them."""
    from training.data.rows import DataSource
    from training.studies.robustness import CHANGES, table
    from training.studies.robustness import robustness as measure

    source = DataSource(data_root, cache or runs[0] / "cache", val_root)
    for line in table(measure(runs, source, CHANGES[changes], refined=refined), CHANGES[changes]):
        click.echo(line)


@click.command()
@options.data
@click.option("--task", "task_id", required=True, help="Task whose images are compared.")
@click.option(
    "--share",
    default=0.3,
    type=click.FloatRange(0, 0.5, min_open=True),
    show_default=True,
    help="Part of the task's groups that is held out.",
)
@click.option("--output", required=True, type=FOLDER, help="Folder for dev_rows.csv and looks.png.")
def looks(data_root: Path, task_id: str, share: float, output: Path) -> None:
    """Hold out the images that look least like the others of a task: a stand-in for another hospital."""
    check_outside(output, data_root)
    if math.isnan(share):
        raise click.BadParameter("nan is no number", param_hint="--share")

    from challenge.manifest import read_manifest
    from training.studies.looks import draw, unlike, write_rows

    samples = read_manifest(data_root).samples
    held = unlike(data_root, samples, task_id, share)
    output.mkdir(parents=True, exist_ok=True)
    write_rows(held, output / "dev_rows.csv")
    draw(data_root, samples, held, task_id, output / "looks.png")
    images = len({sample.image_path for sample in held})
    click.echo(f"{images} images with {len(held)} rows are held out: {output / 'dev_rows.csv'}")


STUDIES = (aggregate, robustness, looks)
