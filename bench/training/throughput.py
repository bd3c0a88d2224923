"""Measures the training step in images per second, with one setting changed at a time."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click
import torch

from challenge.cli import FILE, FOLDER
from training.config import Config, RuntimeConfig, load_config
from training.data.loader import steps
from training.data.rows import DataSource
from training.distributed import Ranks
from training.loop.parts import Parts, build_parts
from training.loop.step import Step

_WARM_UP = 3
_NO_CACHE = 1e-9  # gigabytes


@dataclass(frozen=True)
class Variant:
    """The changed setting and its speed: images per second, and CPU seconds per image (all threads)."""

    name: str
    images_per_second: float = 0.0
    cpu_seconds: float = 0.0


def variants(base: RuntimeConfig) -> dict[str, RuntimeConfig]:
    """Return the runtime settings to compare: the recipe's own, and each with one switch flipped."""
    return {
        "as the recipe": base,
        "channels_last off" if base.channels_last else "channels_last on": replace(
            base, channels_last=not base.channels_last
        ),
        "bfloat16" if base.precision == "float32" else "float32": replace(
            base, precision="bfloat16" if base.precision == "float32" else "float32"
        ),
        "compile on" if not base.compile else "compile off": replace(base, compile=not base.compile),
        "without the cache": replace(base, cache_gigabytes=_NO_CACHE),
    }


def measure(config: Config, source: DataSource, count: int) -> Iterator[Variant]:
    """Yield every variant's speed over `count` steps of the same draws, after a few warm-up steps."""
    for name, runtime in variants(config.runtime).items():
        own_cache = replace(source, cache=source.cache / "none") if name == "without the cache" else source
        changed = replace(config, runtime=runtime)
        yield _measure(name, changed, build_parts(changed, own_cache), count)


def _measure(name: str, config: Config, parts: Parts, count: int) -> Variant:
    loader = steps(parts.data, parts.sampler, Ranks(), config.runtime.workers)
    step = Step(config, parts, Ranks())
    seconds, cpu, images = [], 0.0, []
    for number in range(_WARM_UP + count):
        before, before_cpu = time.perf_counter(), time.process_time()
        draws, batches, _ = next(loader)
        step(draws, batches, number, progress=0.0)
        if parts.device.type == "cuda":
            torch.cuda.synchronize()
        if number >= _WARM_UP:
            seconds.append(time.perf_counter() - before)
            cpu += time.process_time() - before_cpu
            images.append(sum(len(draw.rows) for draw in draws))
    # The median step counts, because a busy machine makes some steps slow and none fast.
    rate = statistics.median(n / s for n, s in zip(images, seconds, strict=True))
    return Variant(name, rate, cpu / sum(images))


@click.command()
@click.option("--config", "config_file", required=True, type=FILE, help="Recipe (TOML).")
@click.option("--data-root", required=True, type=FOLDER, help="Challenge data folder with csv_files/.")
@click.option("--cache", required=True, type=FOLDER, help="Image cache; filled before anything is measured.")
@click.option("--steps", "count", default=20, show_default=True, help="Steps per variant.")
@click.option("--set", "overrides", multiple=True, help="Override a recipe value: section.key=value.")
def throughput(config_file: Path, data_root: Path, cache: Path, count: int, overrides: tuple[str, ...]) -> None:
    """Measure the training step with one runtime setting changed at a time."""
    config = load_config(config_file, overrides)
    click.echo("| variant | images/s | ratio | CPU seconds per image |\n|---|---|---|---|")
    first = None
    for found in measure(config, DataSource(data_root, cache), count):
        first = first or found
        ratio = found.images_per_second / first.images_per_second
        click.echo(f"| {found.name} | {found.images_per_second:.1f} | {ratio:.2f} | {found.cpu_seconds:.3f} |")
