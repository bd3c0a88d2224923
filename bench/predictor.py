"""Start-up and calls of `Predictor` on one image in memory."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import click

from bench.measuring.machine import machine, machine_line
from bench.rows import ROOT
from challenge.cli import FOLDER

_CALLS = 30
_PROGRAM = """
import json, sys, time
times = [time.perf_counter()]
import numpy as np
from inference import Predictor
times.append(time.perf_counter())
predictor = Predictor(sys.argv[1], precision=sys.argv[2])
times.append(time.perf_counter())
image = np.random.default_rng(0).integers(0, 256, (480, 640), dtype=np.uint8)
names = [name for name, spec in predictor.tasks.items() if spec.kind == "segmentation"][:1]
predictor.predict(image, names)
times.append(time.perf_counter())
calls = {"one task": names, "all tasks": list(predictor.tasks)}
repeated = {}
for title, tasks in calls.items():
    predictor.predict(image, tasks)
    repeated[title] = []
    for _ in range(int(sys.argv[3])):
        start = time.perf_counter()
        predictor.predict(image, tasks)
        repeated[title].append(time.perf_counter() - start)
steps = [after - before for before, after in zip(times, times[1:])]
print(json.dumps({"steps": steps, "calls": repeated, "count": len(predictor.tasks)}))
"""


def measure(weights: Path, precision: str, calls: int) -> dict[str, float]:
    """Return seconds, by what was done, in a process of its own."""
    command = [sys.executable, "-c", _PROGRAM, str(weights), precision, str(calls)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)  # noqa: S603 (our own program)
    found = json.loads(done.stdout.splitlines()[-1])
    names = ("import inference", "Predictor(...)", "first call, one mask")
    steps = dict(zip(names, found["steps"], strict=True))
    medians = {f"next calls, {title}": statistics.median(times) for title, times in found["calls"].items()}
    return steps | medians


@click.command()
@click.option("--weights", default=ROOT / "weights", type=FOLDER, help="Folder of exported weights.")
@click.option("--precision", default="auto", show_default=True, help="As for inference.py.")
@click.option("--calls", default=_CALLS, show_default=True, type=click.IntRange(1), help="Number of next calls.")
def predictor(weights: Path, precision: str, calls: int) -> None:
    """Print what it takes to load `Predictor` and to answer one image of 640x480 pixels, again and again."""
    facts = machine_line(machine())
    click.echo("| step | milliseconds |\n|---|---:|")
    for name, seconds in measure(weights, precision, calls).items():
        click.echo(f"| {name} | {1000 * seconds:.0f} |")
    click.echo(f"\n{facts}")
