"""Parameters, FLOPs, size, speed and scores of every system, for docs/systems.md."""

import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bench.measuring.tables import replace_table
from challenge.cli import FILE
from challenge.errors import UserError
from challenge.tasks import CATALOGUE, TaskKind, nearest
from evaluate.scores.metric_table import METRICS, Column
from model.frozen.router import Router
from model.frozen.runtimes.onnx import OnnxRuntime
from model.networks import build
from model.networks.system import System
from training.config import load_config
from training.export.graphs import ExportFacts, export

logger = logging.getLogger(__name__)

PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "mh_mtl": {},
    "ultraupconvnet": {},
    "perceptguide": {"window": 8},  # the published 7 needs multiples of 224
    "m2dino": {},
    "uniseg": {},
}
"""The published configurations that take 256x256 images, with 27 heads."""

_SIZE = 256
_MASK, _CLASS = "cardiac_multi", "organ_cls"
_RUNS = 10
_SHOWN = ("DSC", "HD", "AUC", "F1_macro", "IoU", "MRE")


@dataclass(frozen=True)
class Row:
    """One network. FLOPs (2 per multiplication and addition) and processor time are those of one 256x256 image."""

    name: str
    parameters: int
    mask_gflops: float
    class_gflops: float
    onnx_megabytes: float
    mask_milliseconds: float
    class_milliseconds: float


def measure_all(recipes: Sequence[Path], *, published: bool, known: Path | None) -> list[Row]:
    """Measure the published configurations and the networks of `recipes`, except rows that the file `known` has."""
    rows = {row["name"]: Row(**row) for row in json.loads(known.read_text("utf-8"))} if known and known.exists() else {}
    wanted: dict[str, tuple[str, Mapping[str, Any]]] = {}
    if published:
        wanted |= {name: (name, options) for name, options in PUBLISHED.items()}
    for path in recipes:
        config = load_config(path)
        wanted[config.name] = (config.system.name, config.system.options)
    for name, (system, options) in wanted.items():
        if name not in rows:
            logger.info("measuring %s", name)
            rows[name] = measure(name, system, options)
            if known:
                known.write_text(json.dumps([asdict(row) for row in rows.values()], indent=1) + "\n", "utf-8")
    return [rows[name] for name in wanted]


def measure(name: str, system: str, options: Mapping[str, Any], size: int = _SIZE) -> Row:
    """Build the system with random weights for the 27 tasks, count, export, and time the exported graphs."""
    torch.manual_seed(0)
    network = build(system, CATALOGUE.values(), **options).eval()
    flops = [_flops(network, task, size) for task in (_MASK, _CLASS)]
    with tempfile.TemporaryDirectory() as folder:
        trained_on = dict.fromkeys(CATALOGUE, "random weights")
        facts = ExportFacts(name, system, (0.5,) * 3, (0.5,) * 3, size, trained_on=trained_on)
        written = export(network, facts, Path(folder))
        megabytes = sum(path.stat().st_size for path in Path(folder).rglob("*.onnx")) / 1e6
        with _one_processor():
            router = Router(written, OnnxRuntime(Path(folder), written.graphs, "cpu"))
            milliseconds = [_milliseconds(router, task, size) for task in (_MASK, _CLASS)]
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Row(name, parameters, flops[0], flops[1], megabytes, milliseconds[0], milliseconds[1])


@torch.no_grad()
def _flops(network: System, task: str, size: int) -> float:
    # The counter does not know the CPU's fused attention. The plain form is two matrix products.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        network(torch.zeros(1, 3, size, size), task)
    return float(counter.get_total_flops()) / 1e9


def _milliseconds(router: Router, task: str, size: int) -> float:
    """Median processor time of one image; unlike wall time it does not count other programs."""
    image = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), dtype=np.uint8)
    times = []
    for number in range(_RUNS + 2):
        start = time.process_time()
        list(router.run(image, [[task]]))
        if number >= 2:  # the first runs load graphs and plan memory
            times.append(time.process_time() - start)
    return 1000 * float(np.median(times))


@contextmanager
def _one_processor() -> Iterator[None]:
    """Keep this process on one processor, so that onnxruntime uses one thread."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def read_scores(texts: Sequence[str], names: Sequence[str]) -> dict[str, Mapping[str, float | None]]:
    """Return the official mean of every score over its kind's tasks, by row, of `NAME=FILE` texts. Raises UserError."""
    scores: dict[str, Mapping[str, float | None]] = {}
    for text in texts:
        name, equals, file = text.partition("=")
        if not equals or name not in names:
            raise UserError(f"--scores {text!r} is not NAME=FILE with a row's name{nearest(name, names)}")
        try:
            kinds = json.loads(Path(file).read_text("utf-8"))["kinds"]
            scores[name] = {
                metric: columns[Column.OFFICIAL]["value"]
                for kind in kinds.values()
                for metric, columns in kind["metrics"].items()
                if Column.OFFICIAL in columns
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{file} is not a score file ({error}); write it with `evaluate score --json`") from error
    return scores


def table(rows: Sequence[Row], scores: Mapping[str, Mapping[str, float | None]]) -> str:
    """Return the Markdown table; scores of rows without a score file are left empty."""
    metrics = [metric for metric in METRICS if metric.name in _SHOWN]
    heads = ["network", "parameters", "GFLOPs mask / class", "ONNX MB", "CPU ms mask / class"]
    titles = [*heads, *(f"{metric.short} ({TaskKind(metric.kind)})" for metric in metrics)]
    lines = [f"| {' | '.join(titles)} |", "|---|" + "---:|" * (len(titles) - 1)]
    for row in rows:
        cells = [
            f"`{row.name}`",
            f"{row.parameters:,}",
            f"{row.mask_gflops:.2f} / {row.class_gflops:.2f}",
            f"{row.onnx_megabytes:.1f}",
            f"{row.mask_milliseconds:.0f} / {row.class_milliseconds:.0f}",
        ]
        own = scores.get(row.name)
        cells += [metric.text(own.get(metric.name)) if own else "" for metric in metrics]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


@click.command()
@click.option("--recipe", "recipes", multiple=True, type=FILE, help="Recipe (TOML); may be repeated.")
@click.option("--published/--no-published", default=True, show_default=True, help="Measure the published ones too.")
@click.option(
    "--scores",
    multiple=True,
    metavar="NAME=FILE",
    help="JSON of `evaluate score` for the row of that recipe; may be repeated.",
)
@click.option("--measured", type=FILE, help="JSON of measured rows: they are not repeated, new ones are added.")
@click.option("--into", type=FILE, help="Document whose table between the markers to replace.")
def systems(
    recipes: tuple[Path, ...], published: bool, scores: tuple[str, ...], measured: Path | None, into: Path | None
) -> None:
    """Print parameters, FLOPs, size, speed and scores of every system as a Markdown table."""
    rows = measure_all(recipes, published=published, known=measured)
    text = table(rows, read_scores(scores, [row.name for row in rows]))
    click.echo(text)
    if into:
        replace_table(into, "systems", text)
