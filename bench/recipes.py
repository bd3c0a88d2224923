"""Every recipe from its first steps to answers: memory and processor time, for docs/systems.md."""

import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from bench.measuring.machine import machine, machine_line
from bench.measuring.stopwatch import Usage, run
from bench.measuring.tables import replace_table
from bench.rows import ROOT, write_phantoms
from challenge.cli import FILE
from training.config import Config, load_config

logger = logging.getLogger(__name__)

_ONE_STEP, _STEPS = 1, 3
_SETTINGS = (
    "encoder.weights='none'",
    "runtime.precision='float32'",
    "runtime.compile=false",
    "runtime.workers=0",
    "runtime.device='cpu'",
    "dev.every=0",
    "data.dev_fraction=0.0",
)
"""What a machine without a hub and without a GPU cannot do; the network and its sizes stay the recipe's."""


@dataclass(frozen=True)
class Row:
    """One recipe: seconds are processor time, memory is the peak of the process in MiB."""

    name: str
    image_size: int
    batch_size: int
    step_seconds: float
    training_mib: float
    answer: Usage
    rows: int


def measure(recipe: Path, phantoms: Path, batch_size: int, work: Path, overrides: Sequence[str] = ()) -> Row:
    """Train a recipe for a few steps on `phantoms`, export it, and answer all rows of `phantoms` with `--strict`.

    A step's time is the difference between a run of three steps and a run of one. Raises FailedError.
    """
    config = load_config(recipe, (*_SETTINGS, *overrides))
    used = [_train(recipe, config, phantoms, steps, batch_size, work, overrides) for steps in (_ONE_STEP, _STEPS)]
    weights, answers = work / "weights", work / "answers"
    python = (sys.executable, "-m", "training", "export", _folder(work, _STEPS), "--output", weights)
    run(python, ROOT)
    command = ("inference.py", "--input", phantoms, "--output", answers, "--weights", weights, "--strict")
    usage = run((sys.executable, *command, "--device", "cpu"), ROOT)
    return Row(
        config.name,
        config.data.image_size,
        batch_size,
        (used[1].cpu_seconds - used[0].cpu_seconds) / (_STEPS - _ONE_STEP),
        used[1].memory_mib,
        usage,
        sum(1 for path in (phantoms / "csv_files").glob("*.csv") for _ in path.open()) - len(_tables(phantoms)),
    )


def _tables(folder: Path) -> list[Path]:
    return sorted((folder / "csv_files").glob("*.csv"))


def _folder(work: Path, steps: int) -> Path:
    return work / f"run-{steps}"


def _train(
    recipe: Path, config: Config, phantoms: Path, steps: int, batch_size: int, work: Path, overrides: Sequence[str]
) -> Usage:
    images = steps * batch_size * config.sampling.tasks_per_step
    settings = (*_SETTINGS, *overrides, f"optim.images={images}", f"optim.batch_size={batch_size}")
    command = ("train", "--config", recipe, "--data-root", phantoms, "--output", _folder(work, steps))
    words = [word for setting in settings for word in ("--set", setting)]
    return run((sys.executable, "-m", "training", *command, "--cache", work / "cache", *words), ROOT)


def measure_all(recipes: Sequence[Path], batch_size: int, overrides: Sequence[str]) -> Iterator[Row]:
    """Yield the row of every recipe, on phantoms of all 27 tasks."""
    with tempfile.TemporaryDirectory() as name:
        phantoms = Path(name) / "phantoms"
        write_phantoms(phantoms, truth=True)
        for number, recipe in enumerate(recipes):
            logger.info("recipe %d of %d: %s", number + 1, len(recipes), recipe.stem)
            work = Path(name) / recipe.stem
            work.mkdir()
            yield measure(recipe, phantoms, batch_size, work, overrides)


def table(rows: Sequence[Row]) -> str:
    """Return the Markdown table."""
    heads = ("recipe", "pixels", "batch", "CPU s per step", "peak MiB of training", "CPU ms per row", "peak MiB")
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    for row in rows:
        cells = (
            f"`{row.name}`",
            str(row.image_size),
            str(row.batch_size),
            f"{row.step_seconds:.1f}",
            f"{row.training_mib:,.0f}",
            f"{1000 * row.answer.cpu_seconds / row.rows:.0f}",
            f"{row.answer.memory_mib:,.0f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


@click.command()
@click.option("--recipe", "recipes", multiple=True, required=True, type=FILE, help="Recipe (TOML); may be repeated.")
@click.option("--batch-size", default=2, show_default=True, type=click.IntRange(1))
@click.option("--set", "overrides", multiple=True, help="Override a value of the recipes: section.key=value.")
@click.option("--into", type=FILE, help="Document whose table between the markers to replace.")
def recipes(recipes: tuple[Path, ...], batch_size: int, overrides: tuple[str, ...], into: Path | None) -> None:
    """Train every recipe for three steps, export it, answer with it; print memory and processor time."""
    facts = machine_line(machine())
    text = f"{table(list(measure_all(recipes, batch_size, overrides)))}\n\n{facts}"
    click.echo(text)
    if into:
        replace_table(into, "recipes", text)
