"""How many images one core prepares for training in a second, and what part of that each stage takes."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import click
import torch

from bench.measuring.machine import machine, machine_line
from challenge.cli import FILE, FOLDER
from training.augmentation.settings import AugmentConfig
from training.config import Config, load_config
from training.data.rows import DataSource, Part, load_parts
from training.data.sampling import Draw, TaskSampler
from training.distributed import Ranks
from training.loop.parts import dataset_of

_NOTHING = AugmentConfig(brightness_contrast=0, noise=0)


@dataclass(frozen=True)
class Speed:
    """Processor milliseconds of one core per image: reading image and targets, augmentation, making batches."""

    read: float
    augment: float
    collate: float

    @property
    def images_per_second(self) -> float:
        """Images per second of one core."""
        return 1000 / (self.read + self.augment + self.collate)


def measure(config: Config, train: Part, images: int) -> Speed:
    """Measure about `images` images of the recipe's own draws. Each stage is what it adds to those before it."""
    data = dataset_of(config, train)
    plain = dataset_of(replace(config, augment=_NOTHING), train)
    sampler = TaskSampler(data.sizes, config.optim.batch_size, config.seed, replace(config.sampling, alternate=False))
    steps = -(-images // (config.optim.batch_size * config.sampling.tasks_per_step))
    draws = [draw for drawn in islice(sampler, steps) for draw in drawn]
    count = sum(len(draw.rows) for draw in draws)

    def rows_of(dataset: Callable[[str, int, Sequence[int]], object]) -> Callable[[Draw], object]:
        return lambda draw: [dataset(draw.task_id, *each) for each in zip(draw.rows, draw.keys, strict=True)]

    read, augmented, whole = (
        1000 * _seconds(work, draws) / count for work in (rows_of(plain.item), rows_of(data.item), data.__getitem__)
    )
    return Speed(read, augmented - read, max(0.0, whole - augmented))


def _seconds(work: Callable[[Draw], object], draws: Sequence[Draw]) -> float:
    """Return the processor time of all draws; a first one warms up."""
    work(draws[0])
    start = time.process_time()
    for draw in draws:
        work(draw)
    return time.process_time() - start


@click.command()
@click.option("--config", "files", required=True, multiple=True, type=FILE, help="Recipe (TOML); can be repeated.")
@click.option("--data-root", required=True, type=FOLDER, help="Challenge data folder with csv_files/.")
@click.option("--cache", required=True, type=FOLDER, help="Image cache; filled before anything is measured.")
@click.option("--images", default=2000, show_default=True, type=click.IntRange(1), help="Images per recipe.")
@click.option("--set", "overrides", multiple=True, help="Override a recipe value: section.key=value.")
def loader(files: tuple[Path, ...], data_root: Path, cache: Path, images: int, overrides: tuple[str, ...]) -> None:
    """Measure training's data loader on one core: images per second, and milliseconds by stage."""
    configs = [load_config(file, overrides) for file in files]
    torch.set_num_threads(1)
    where = machine()
    click.echo(f"{machine_line(where)}\n")
    click.echo("| recipe | images/s per core | cache read ms | augmentation ms | collate ms |\n|---|---|---|---|---|")
    for config in configs:
        train, _ = load_parts(DataSource(data_root, cache), config.data, config.runtime, Ranks())
        speed = measure(config, train, images)
        stages = " | ".join(f"{stage:.2f}" for stage in (speed.read, speed.augment, speed.collate))
        click.echo(f"| {config.name} | {speed.images_per_second:.0f} | {stages} |")
