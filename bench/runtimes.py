"""Compares the processor time of the frozen graphs in each runtime."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import click
import numpy as np

from bench.measuring.machine import machine, machine_line
from challenge.cli import FOLDER
from challenge.tasks import TaskKind
from model.frozen.metadata import WeightsMetadata, read_metadata
from model.frozen.options import Options
from model.frozen.router import Router
from model.frozen.runtimes.base import ProviderError, Runtime
from model.frozen.runtimes.onnx import OnnxRuntime
from model.frozen.runtimes.openvino import OpenVinoRuntime

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
_WARM_UP = 2


def open_all(folder: Path, metadata: WeightsMetadata) -> dict[str, Runtime]:
    """Return every runtime that works on this machine's CPU; log the others."""
    found: dict[str, Runtime] = {"onnxruntime float32": OnnxRuntime(folder, metadata.graphs)}
    for precision in ("float32", "bfloat16"):
        try:
            found[f"OpenVINO {precision}"] = OpenVinoRuntime(folder, metadata.graphs, precision)
        except ProviderError as error:
            logger.warning("OpenVINO %s is left out: %s", precision, error)
    return found


def cpu_milliseconds(
    metadata: WeightsMetadata, runtimes: Mapping[str, Runtime], task_id: str, batch_size: int, rounds: int
) -> dict[str, float]:
    """Return processor milliseconds per image (all threads) by runtime: medians of `rounds` rounds, in turn."""
    size = metadata.image_size
    images = np.random.default_rng(0).integers(0, 256, (batch_size, size, size, 3), np.uint8)
    used: dict[str, list[float]] = {name: [] for name in runtimes}
    for _ in range(_WARM_UP + rounds):
        for name, runtime in runtimes.items():
            start = time.process_time()
            list(Router(metadata, runtime).run(images, [[task_id]] * batch_size))
            used[name].append(1000 * (time.process_time() - start) / batch_size)
    return {name: median(values[_WARM_UP:]) for name, values in used.items()}


@click.command()
@click.option("--weights", default=ROOT / "weights", type=FOLDER, help="Exported weights.")
@click.option("--batch-size", default=Options.batch_size, show_default=True)
@click.option("--rounds", default=10, show_default=True, type=click.IntRange(1))
def runtimes(weights: Path, batch_size: int, rounds: int) -> None:
    """Print the processor time per image of one task of each kind in each runtime."""
    where, metadata = machine(), read_metadata(weights)
    found = open_all(weights, metadata)
    click.echo(f"{machine_line(where)}; batches of {batch_size}\n")
    click.echo(f"| CPU ms per image | {' | '.join(found)} |\n|---|{'---|' * len(found)}")
    for kind in TaskKind:
        answered = [t for t, task in metadata.tasks.items() if task.spec.kind is kind and task.answers == "network"]
        for task_id in answered[:1]:
            times = cpu_milliseconds(metadata, found, task_id, batch_size, rounds)
            click.echo(f"| {kind} (`{task_id}`) | {' | '.join(f'{value:.1f}' for value in times.values())} |")
