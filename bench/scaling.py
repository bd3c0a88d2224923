"""How time and memory grow with the rows and with the tasks per image."""

import json
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from bench.contenders import ours
from bench.measuring.machine import machine, machine_line
from bench.measuring.stopwatch import run
from bench.rows import ROOT, Phantoms, answered_by, mix, repeat, spread, write_rows
from challenge.cli import FILE, FOLDER
from challenge.manifest import read_manifest
from challenge.tasks import TaskSpec
from model.frozen.options import Options

logger = logging.getLogger(__name__)

_FILES = 1000  # rows with their own image files; further rows name these files again


@dataclass(frozen=True)
class Point:
    """A run: its rows and images, wall seconds, and peak resident memory in MiB."""

    rows: int
    images: int
    seconds: float
    memory_mib: float


def with_rows(
    counts: Sequence[int], tasks: Mapping[str, TaskSpec], phantoms: Phantoms, command: "Ours", work: Path
) -> Iterator[Point]:
    """Yield one run for each number of rows."""
    source = work / "rows"
    write_rows(source, mix(min(_FILES, *counts), tasks, phantoms), tasks, phantoms)
    for count in counts:
        repeat(source, work / f"rows-{count}", count)
        yield command.measure(work / f"rows-{count}", work / f"answers-{count}")


def with_tasks(
    numbers: Sequence[int], images: int, tasks: Mapping[str, TaskSpec], phantoms: Phantoms, command: "Ours", work: Path
) -> Iterator[Point]:
    """Yield one run with the same number of images for each number of tasks per image."""
    for number in numbers:
        folder = work / f"tasks-{number}"
        write_rows(folder, spread(images, number, tasks), tasks, phantoms)
        yield command.measure(folder, work / f"answers-of-{number}")


@dataclass(frozen=True)
class Ours:
    """How `inference.py` is run."""

    weights: Path
    batch_size: int
    precision: str

    def measure(self, data: Path, output: Path) -> Point:
        """Answer a folder in a separate process. Raises FailedError."""
        contender = ours("ours", self.weights, self.batch_size, "--precision", self.precision)
        usage = run(contender.command(data, output, output.with_suffix(".json")), ROOT)
        samples = read_manifest(data).samples
        images = len({sample.image_path for sample in samples})
        logger.info("%d rows of %d images: %.1f s", len(samples), images, usage.seconds)
        return Point(len(samples), images, usage.seconds, usage.memory_mib)


def table(points: Sequence[Point]) -> str:
    """Return the Markdown table, with memory also as a multiple of the first line's."""
    lines = ["| rows | images | tasks per image | seconds | rows/s | images/s | peak memory |", "|---|" + "---|" * 6]
    lines += [
        f"| {one.rows:,} | {one.images:,} | {one.rows / one.images:.2f} | {one.seconds:.1f} | "
        f"{one.rows / one.seconds:.1f} | {one.images / one.seconds:.1f} | "
        f"{one.memory_mib:.0f} MiB (x {one.memory_mib / points[0].memory_mib:.2f}) |"
        for one in points
    ]
    return "\n".join(lines)


def _numbers(_: click.Context, __: click.Parameter, text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(word) for word in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a list of whole numbers such as 1,2,4") from error
    if min(numbers) < 1:
        raise click.BadParameter("every number must be at least 1")
    return numbers


@click.command()
@click.option("--weights", default=ROOT / "weights", type=FOLDER, help="Exported weights. [default: weights/]")
@click.option("--rows", "counts", default="1000,4000,16000", show_default=True, callback=_numbers)
@click.option("--tasks-per-image", "numbers", default="1,2,4", show_default=True, callback=_numbers)
@click.option("--images", default=500, show_default=True, type=click.IntRange(1), help="Images for --tasks-per-image.")
@click.option("--batch-size", default=Options.batch_size, show_default=True)
@click.option("--precision", default="auto", show_default=True, help="As for inference.py.")
@click.option("--json", "json_file", type=FILE, help="Write all numbers to this file.")
def scaling(
    weights: Path,
    counts: tuple[int, ...],
    numbers: tuple[int, ...],
    images: int,
    batch_size: int,
    precision: str,
    json_file: Path | None,
) -> None:
    """Measure how time and memory grow with the rows and with the tasks per image."""
    where, tasks, phantoms = machine(), answered_by(weights), Phantoms.draw()
    command = Ours(weights.resolve(), batch_size, precision)
    with tempfile.TemporaryDirectory() as name:
        by_rows = list(with_rows(counts, tasks, phantoms, command, Path(name)))
        by_tasks = list(with_tasks(numbers, images, tasks, phantoms, command, Path(name)))
    click.echo(f"{machine_line(where)}\n\n{table(by_rows)}\n\n{table(by_tasks)}")
    if json_file:
        content = {"machine": where, "rows": list(map(asdict, by_rows)), "tasks": list(map(asdict, by_tasks))}
        json_file.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
