"""Checks that memory, file descriptors and threads do not grow with the rows of a run."""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click

from bench.rows import ROOT, repeat, write_phantoms
from challenge.cli import FOLDER
from model.frozen.options import Options

# Two samples of the same load differ by a few open files. The runtime's memory pools fill within 2,000 rows.
_GROWTH, _SLACK = 1.10, 4


@dataclass(frozen=True)
class Load:
    """The most that a run of `rows` used at any time; `memory` is resident, in MiB."""

    rows: int
    seconds: float
    memory: float
    descriptors: int
    threads: int


def watch(process: subprocess.Popen[bytes], every: float) -> Iterator[tuple[int, int, float]]:
    """Yield file descriptors, threads and peak memory (MiB) of `process` each `every` seconds until it ends (Linux).

    The peak is the kernel's number for the program. The process's own number also counts its parent's memory.
    """
    proc = Path("/proc") / str(process.pid)
    while process.poll() is None:
        with suppress(OSError):  # it ended between two samples
            peak = re.search(r"VmHWM:\s*(\d+) kB", (proc / "status").read_text())
            kilobytes = int(peak[1]) if peak else 0  # none: it has ended but was not waited for
            yield len(list((proc / "fd").iterdir())), len(list((proc / "task").iterdir())), kilobytes / 1024
        time.sleep(every)


def measure(rows: int, weights: Path, batch_size: int, every: float) -> Load:
    """Answer `rows` generated rows in a separate process. Raises RuntimeError if that fails."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_phantoms(folder / "phantoms")
        repeat(folder / "phantoms", folder, rows)
        command = [sys.executable, ROOT / "inference.py", "--input", folder, "--output", folder / "out", "--weights",
                   weights, "--batch-size", batch_size, "--report", folder / "run.json"]  # fmt: skip
        with subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL) as process:  # noqa: S603 (our own)
            seen = list(watch(process, every))
        if process.returncode:
            raise RuntimeError(f"the run of {rows} rows ended with {process.returncode}")
        report = json.loads((folder / "run.json").read_text())
    descriptors, threads, memory = (max(values) for values in zip(*seen, strict=True))
    return Load(report["answered"], report["timings"]["total_s"], memory, int(descriptors), int(threads))


@click.command()
@click.option("--rows", default=20_000, show_default=True, help="Rows in the manifest.")
@click.option("--weights", default=ROOT / "weights", type=FOLDER, help="Exported weights.")
@click.option("--batch-size", default=Options.batch_size, show_default=True)
@click.option("--every", default=0.5, show_default=True, help="Seconds between two samples.")
def load(rows: int, weights: Path, batch_size: int, every: float) -> None:
    """Answer a tenth of the rows, then all; fail if memory, file descriptors or threads grow."""
    click.echo("| rows | seconds | peak memory | file descriptors | threads |\n|---|---|---|---|---|")
    loads = []
    for count in (rows // 10, rows):
        held = measure(count, weights, batch_size, every)
        loads.append(held)
        click.echo(
            f"| {held.rows:,} | {held.seconds:.0f} | {held.memory:.0f} MiB | {held.descriptors} | {held.threads} |"
        )
    few, many = loads
    names = ("memory", "descriptors", "threads")
    grown = [name for name in names if getattr(many, name) > _GROWTH * getattr(few, name) + _SLACK]
    if grown:
        raise click.ClickException(f"grew by more than {_GROWTH - 1:.0%}: {', '.join(grown)}")
