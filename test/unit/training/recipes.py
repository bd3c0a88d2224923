"""A recipe that runs in seconds on a small phantom folder with one task of each kind."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from challenge.tasks import TaskSpec
from model.networks.system import System
from training.config import Config, from_dict
from training.data.rows import DataSource, Part, load_parts
from training.distributed import Ranks
from training.loop.parts import build_parts
from training.loop.trainer import Trainer
from training.pretrained.building import build_network
from training.run_folder.trainable import Start

TASKS = ("breast_lesion", "breast_2cls", "breast_lesion_det", "fetal_head_biometry")
"""One of each kind; three of them share their images."""

TINY: dict[str, dict[str, Any]] = {
    "system": {"options": {"encoder": "test_efficientnet", "pyramid_channels": 32, "segmentation_channels": 32}},
    "data": {"image_size": 64, "dev_fraction": 0.3},
    "optim": {"images": 48, "batch_size": 4, "warmup_steps": 1, "ema_decay": 0.5},
    "runtime": {"cache_gigabytes": 0.1, "device": "cpu"},
}


def tiny_config(**sections: Any) -> Config:
    """The tiny recipe; keyword arguments are laid over its sections or are top-level keys."""
    table: dict[str, Any] = {name: dict(values) for name, values in TINY.items()}
    for name, values in sections.items():
        table[name] = {**table.get(name, {}), **values} if isinstance(values, dict) else values
    return from_dict(table)


def parts_of(source: DataSource, config: Config) -> tuple[Part, Part]:
    """The training rows and dev rows of `source` under `config`."""
    return load_parts(source, config.data, config.runtime, Ranks())


def network_of(
    config: Config, trained: Sequence[TaskSpec], means: Mapping[str, Sequence[float]], start: Start | None = None
) -> System:
    """The initial network of a run with `config`."""
    return build_network(config.system, config.encoder, config.loss, trained, means, start)


def tiny_trainer(
    config: Config, source: DataSource, output: Path, start: Start | None = None, ranks: Ranks | None = None
) -> Trainer:
    """A trainer before its first step."""
    output.mkdir(parents=True, exist_ok=True)
    return Trainer(config, build_parts(config, source, start), output, ranks)
