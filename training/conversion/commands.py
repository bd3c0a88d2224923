"""The `convert-*` commands of `python -m training`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from challenge.cli import FILE, FOLDER
from challenge.imaging.geometry import Fit
from training import options

if TYPE_CHECKING:
    from training.conversion.checkpoint_files import KeyReport

_tasks = click.option(
    "--task", "tasks", multiple=True, help="A task to answer; can be repeated.  [default: all that fit]"
)
_fit = click.option(
    "--fit",
    type=click.Choice(Fit, case_sensitive=False),
    default=Fit.CROP,
    show_default=True,
    help="How images fit the network's square. The authors crop the centre; the borders are then not seen.",
)


@click.command("convert-baseline")
@click.argument("checkpoint", type=FILE)
@options.weights_output
@options.verbose
def convert_baseline(checkpoint: Path, output: Path, verbose: bool) -> None:
    """Convert the official baseline's CHECKPOINT (best_model.pth) to weights that inference.py runs."""
    from training.conversion.baseline import convert_file

    _show(convert_file(checkpoint, output), verbose)


@click.command("convert-ultraupconvnet")
@click.argument("checkpoint", type=FILE)
@options.weights_output
@_tasks
@_fit
@options.verbose
def convert_ultraupconvnet(checkpoint: Path, output: Path, tasks: tuple[str, ...], fit: Fit, verbose: bool) -> None:
    """Convert UltraUPConvNet's published CHECKPOINT to weights that inference.py runs."""
    from training.conversion.ultraupconvnet import convert_file

    _show(convert_file(checkpoint, output, tasks, fit), verbose)


@click.command("convert-perceptguide")
@click.argument("checkpoint", type=FILE)
@options.weights_output
@_tasks
@_fit
@options.verbose
def convert_perceptguide(checkpoint: Path, output: Path, tasks: tuple[str, ...], fit: Fit, verbose: bool) -> None:
    """Convert a CHECKPOINT of PerceptGuide, UniUSNet or the UUSIC 2025 baseline; its keys say of which."""
    from training.conversion.swin_line import convert_file

    _show(convert_file(checkpoint, output, tasks, fit), verbose)


@click.command("convert-uusic")
@click.option("--data-root", required=True, type=FOLDER, help="UUSIC's folder with classification/ and segmentation/.")
@click.option("--output", required=True, type=FOLDER, help="Folder for one data folder per list: train/, val/, test/.")
@click.option("--copy", is_flag=True, help="Copy the images instead of linking to --data-root.")
def convert_uusic_folder(data_root: Path, output: Path, copy: bool) -> None:
    """Convert UUSIC 2025's training folder to data folders that `train` reads."""
    from training.conversion.uusic_folder import convert_uusic

    for split, rows in convert_uusic(data_root, output, copy=copy).items():
        click.echo(f"{rows} rows in {output / split}")


def _show(report: "KeyReport", verbose: bool) -> None:
    click.echo("\n".join([*(report.lines() if verbose else []), report.table()]))


CONVERSIONS = (convert_baseline, convert_uusic_folder, convert_ultraupconvnet, convert_perceptguide)
"""All of them, in the order of the help text."""
