"""Many rows in one run: do memory, file descriptors and threads stay flat?"""

import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from challenge.manifest import read_manifest
from challenge.paths import MANIFEST_FOLDER, inside_root

ROOT = Path(__file__).resolve().parents[1]
_GROWTH = 1.10


@dataclass(frozen=True)
class Use:
    """What a process holds at one moment; `memory` is resident, in MiB."""

    seconds: float
    memory: float
    descriptors: int
    threads: int


def write_rows(folder: Path, count: int) -> None:
    """Write a data folder of `count` rows: phantoms of all tasks, under a new path each time they come round."""
    phantoms = folder / "phantoms"
    command = [sys.executable, ROOT / "test" / "phantoms", "--output", phantoms, "--without-truth"]
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)  # noqa: S603 (our own program)
    samples = read_manifest(phantoms).samples
    (folder / MANIFEST_FOLDER).mkdir()
    with (folder / MANIFEST_FOLDER / "load.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("image_path", "task_id", "task_name", "num_classes", "mask_path"))
        for number in range(count):
            turn, sample = number // len(samples), samples[number % len(samples)]
            copy = folder / f"copy-{turn}"
            if not copy.exists():
                copy.symlink_to(phantoms)
            image, mask = inside_root(sample.image_path), sample.mask_file or ""
            writer.writerow((f"../{copy.name}/{image}", sample.task_id, sample.kind, sample.num_classes,
                             mask and f"../{copy.name}/{mask}"))  # fmt: skip


def watch(process: subprocess.Popen[bytes], every: float) -> Iterator[Use]:
    """Yield what `process` holds, every so many seconds, until it ends. Reads Linux's /proc."""
    proc, start = Path("/proc") / str(process.pid), time.monotonic()
    while process.poll() is None:
        try:
            status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
            memory = int(status["VmRSS"].split()[0]) / 1024
            yield Use(time.monotonic() - start, memory, len(list((proc / "fd").iterdir())), int(status["Threads"]))
        except (OSError, KeyError):  # it ended between two looks
            continue
        time.sleep(every)


def quarters(uses: Sequence[Use]) -> Iterator[Use]:
    """Yield the median use in each quarter of the run, with the time of its end."""
    for quarter in range(4):
        part = uses[len(uses) * quarter // 4 : len(uses) * (quarter + 1) // 4] or uses
        memory = statistics.median(use.memory for use in part)
        descriptors = statistics.median_high([use.descriptors for use in part])
        threads = statistics.median_high([use.threads for use in part])
        yield Use(part[-1].seconds, memory, descriptors, threads)


@click.command()
@click.option("--rows", default=20_000, show_default=True, help="Rows in the one manifest.")
@click.option("--weights", default=ROOT / "weights", type=click.Path(path_type=Path), help="Exported weights.")
@click.option("--batch-size", default=8, show_default=True)
@click.option("--every", default=1.0, show_default=True, help="Seconds between two looks.")
def load(rows: int, weights: Path, batch_size: int, every: float) -> None:
    """Answer many generated rows in one run; fail if memory, descriptors or threads grow after half of it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(folder, rows)
        command = [sys.executable, ROOT / "inference.py", "--input", folder, "--output", folder / "out", "--weights",
                   weights, "--batch-size", batch_size, "--report", folder / "run.json"]  # fmt: skip
        with subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL) as process:  # noqa: S603 (our own program)
            uses = list(watch(process, every))
        if process.returncode or not uses:
            raise click.ClickException(f"the run ended with {process.returncode}")
        report = json.loads((folder / "run.json").read_text())
    click.echo(f"{report['answered']:,} rows, {report['timings']['total_s']:.0f} s, "
               f"{report['timings']['rows_per_s']:.0f} rows/s, peak {report['peak_memory_mib']:.0f} MiB")  # fmt: skip
    click.echo("| until | resident memory (median) | file descriptors | threads |\n|---|---|---|---|")
    held = list(quarters(uses))
    for use in held:
        click.echo(f"| {use.seconds:.0f} s | {use.memory:.0f} MiB | {use.descriptors} | {use.threads} |")
    second, last = held[1], held[3]
    grown = [name for name in ("memory", "descriptors", "threads")
             if getattr(last, name) > _GROWTH * getattr(second, name)]  # fmt: skip
    if grown:
        raise click.ClickException(f"not flat: {', '.join(grown)}")
