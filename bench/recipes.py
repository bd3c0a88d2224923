"""Every recipe from its first steps to answers: memory and processor time, for docs/systems.md."""

import json
import logging
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click

from bench.measuring.machine import machine, machine_line
from bench.measuring.stopwatch import FailedError, Usage, run
from bench.measuring.tables import replace_table
from bench.rows import ROOT, write_phantoms
from challenge.cli import FILE, FOLDER
from challenge.errors import UserError
from training.config import Config, load_config, to_dict
from training.text_files import write_text

logger = logging.getLogger(__name__)

PUBLISHED = ("mh_mtl_b4", "ultraupconvnet", "perceptguide_published", "m2dino", "uniseg")
"""The recipes of the five published systems, in their published sizes."""

_ONE_STEP, _STEPS = 1, 5  # the four steps between them are of all four kinds where the kinds take turns
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
    """One recipe: seconds are processor time, memory is the peak of the process in MiB. `machine` describes it."""

    name: str
    image_size: int
    batch_size: int
    step_seconds: float
    training_mib: float
    answer: Usage
    rows: int
    machine: str = ""


def measure(recipe: Path, phantoms: Path, batch_size: int, work: Path, overrides: Sequence[str] = ()) -> Row:
    """Train a recipe for a few steps on `phantoms`, export it, and answer all rows of `phantoms` with `--strict`.

    A step's time comes from the difference between a run of five steps and a run of one. Each part is a process of its
    own. Raises FailedError.
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


class Results:
    """Measured recipes, a JSON file for each in `folder`, which an interrupted measurement goes on from."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def find(self, recipe: Path, asked: dict[str, Any]) -> Row | None:
        """Return what was measured of a recipe, if that was the same recipe with the same settings."""
        path = self._file(recipe)
        if not path or not path.is_file():
            return None
        found = json.loads(path.read_text("utf-8"))
        if found["asked"] != asked:
            return None
        return Row(**{**found["row"], "answer": Usage(**found["row"]["answer"])})

    def keep(self, recipe: Path, asked: dict[str, Any], row: Row) -> None:
        """Write what was measured."""
        if path := self._file(recipe):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps({"asked": asked, "row": asdict(row)}, indent=1) + "\n")

    def _file(self, recipe: Path) -> Path | None:
        return self._folder / f"{recipe.stem}.json" if self._folder else None


def measure_all(
    recipes: Sequence[Path], batch_size: int, overrides: Sequence[str], results: Results
) -> tuple[list[Row], list[str]]:
    """Return the rows of all recipes on phantoms of all 27 tasks, and why others have none."""
    rows: list[Row] = []
    failed: list[str] = []
    asked = {
        recipe: {"batch_size": batch_size, "config": _plain(load_config(recipe, (*_SETTINGS, *overrides)))}
        for recipe in recipes
    }
    facts = machine_line(machine())
    with tempfile.TemporaryDirectory() as name:
        phantoms = Path(name) / "phantoms"
        write_phantoms(phantoms, truth=True)
        for number, recipe in enumerate(recipes, 1):
            if known := results.find(recipe, asked[recipe]):
                logger.info("recipe %d of %d: %s was measured before", number, len(recipes), recipe.stem)
                rows.append(known)
                continue
            logger.info("recipe %d of %d: %s", number, len(recipes), recipe.stem)
            try:
                with tempfile.TemporaryDirectory(dir=name) as work:
                    row = replace(measure(recipe, phantoms, batch_size, Path(work), overrides), machine=facts)
            except FailedError as error:
                logger.error("%s: %s", recipe.stem, error)
                failed.append(f"{recipe.stem} ({error})")
                continue
            results.keep(recipe, asked[recipe], row)
            rows.append(row)
    return rows, failed


def _plain(config: Config) -> Any:
    """Return a recipe as JSON gives it back."""
    return json.loads(json.dumps(to_dict(config)))


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
@click.option(
    "--recipe",
    "recipes",
    multiple=True,
    type=FILE,
    help="Recipe (TOML); may be repeated.  [default: the five published systems']",
)
@click.option("--batch-size", default=2, show_default=True, type=click.IntRange(1))
@click.option("--set", "overrides", multiple=True, help="Override a value of the recipes: section.key=value.")
@click.option("--results", type=FOLDER, help="Folder that keeps what is measured; a repeated command goes on from it.")
@click.option("--into", type=FILE, help="Document whose table between the markers to replace.")
def recipes(
    recipes: tuple[Path, ...], batch_size: int, overrides: tuple[str, ...], results: Path | None, into: Path | None
) -> None:
    """Train every recipe for five steps, export it, answer with it; print memory and processor time.

    A recipe that fails is reported at the end; the others are measured.
    """
    chosen = recipes or tuple(ROOT / "training" / "configs" / f"{name}.toml" for name in PUBLISHED)
    rows, failed = measure_all(chosen, batch_size, overrides, Results(results))
    if rows:
        machines = "\n".join(dict.fromkeys(row.machine for row in rows))
        text = f"{table(rows)}\n\n{machines}"
        click.echo(text)
        if into and not failed:
            replace_table(into, "recipes", text)
    if failed:
        raise UserError(f"not measured: {'; '.join(failed)}")
