"""One TOML file per recipe, read into frozen dataclasses. Unknown keys and values out of range are errors.

A field's annotation says which values it may have. Reading a recipe does not import torch.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from challenge.errors import UserError
from challenge.imaging.geometry import Fit
from challenge.imaging.resampling import Resampling
from challenge.tasks import TaskKind
from model.networks.registry import SYSTEMS
from training.augmentation.settings import AugmentConfig
from training.augmentation.task_rules import TaskRules, parse_point_order
from training.ranges import Fraction, Length, OneOf, Range, Sane, Text
from training.text_files import write_text
from training.toml_tables import from_table, read_table, set_key

_HUGE = 10**12

Count = Annotated[int, Range(1, _HUGE)]
CountOrNone = Annotated[int, Range(0, _HUGE)]
Seed = Annotated[int, Range(0, 2**63 - 1)]
Side = Annotated[int, Range(32, 8192)]
"""Pixels."""
Below1 = Annotated[float, Range(0, 1, below=True)]
Rate = Annotated[float, Range(0, 100)]
Weight = Annotated[float, Range(0, 1e6)]
Name = Annotated[str, Text(200)]
Mean = Annotated[tuple[Fraction, ...], Length(3)]
Deviation = Annotated[tuple[Annotated[float, Range(0, 1, above=True)], ...], Length(3)]

SystemName = Annotated[str, OneOf(tuple(SYSTEMS))]
KindName = Annotated[str, OneOf(tuple(map(str, TaskKind)))]
MaskLoss = Literal["dice", "image_dice", "ce_squared_dice", "ce_and_dice", "ce_image_dice", "boundary"]
ClassLoss = Literal["ce"]
BoxLoss = Literal["positive_cell", "focal_grid", "focal_grid_giou", "one_box"]
PointLoss = Literal["mse", "l1", "heatmap_mse", "heatmap_ce", "ellipse"]

LOSS_NAMES: Mapping[TaskKind, tuple[str, ...]] = {
    TaskKind.SEGMENTATION: get_args(MaskLoss),
    TaskKind.CLASSIFICATION: get_args(ClassLoss),
    TaskKind.DETECTION: get_args(BoxLoss),
    TaskKind.REGRESSION: get_args(PointLoss),
}


@dataclass(frozen=True)
class SystemConfig:
    """Which network. `options` go to the system's constructor."""

    name: SystemName = "mh_mtl"
    options: Annotated[dict[str, Any], Sane()] = field(default_factory=dict)


@dataclass(frozen=True)
class EncoderConfig:
    """Where the encoder's weights come from, and what of the network is fixed.

    `weights` is `none`, `timm`, `package:NAME`, a file or a run's folder. `freeze_batchnorm` fixes the statistics of
    the encoder's batch norms. `frozen` lists beginnings of names of parameters that are never trained: the encoder's,
    such as `backbone.conv_stem`, and others, such as `pyramid`.
    """

    weights: Annotated[str, Text()] = "none"
    freeze_batchnorm: bool = False
    frozen: tuple[Name, ...] = ()


@dataclass(frozen=True)
class DataConfig:
    """The image grid, its normalisation, and the part of the training rows that is held out as dev rows.

    `split_seed` draws the dev rows. It is apart from `seed`, so that a second round with another seed is not scored on
    rows that the first round learned. `dev_rows` is a CSV file (seen from the data folder) with the columns
    `image_path` and `task_id`: the dev rows of the tasks that occur in it, or `none`. `tasks` are those to train, by
    their names or by kinds such as `segmentation`; empty means all tasks of the data. Rows with damaged files or truth
    end the run with a message, unless `skip_unreadable` leaves them out. `train_fraction` keeps that part of the
    training rows of each task and label, but at least four rows: the rows of a smaller part are in every larger one.

    `near_copies` is the correlation of 32x32 grey thumbnails over which two images count as near-copies (0: never).
    Near-copies stay on one side of a split, unless both have a `group` and these differ. Training rows that are
    near-copies of images of a `--val-root` are left out.
    """

    image_size: Side = 256
    resampling: Annotated[str, OneOf(tuple(map(str, Resampling)))] = "antialiased-bilinear"
    fit: Annotated[str, OneOf(tuple(map(str, Fit)))] = "stretch"
    mean: Mean = (0.485, 0.456, 0.406)
    std: Deviation = (0.229, 0.224, 0.225)
    dev_fraction: Below1 = 0.15
    train_fraction: Annotated[float, Range(0, 1, above=True)] = 1.0
    split_seed: Seed = 42
    dev_rows: Annotated[str, Text()] = "none"
    tasks: tuple[Name, ...] = ()
    skip_unreadable: bool = False
    near_copies: Fraction = 0.95


@dataclass(frozen=True)
class SamplingConfig:
    """Which task is drawn: `uniform`, `proportional` to its rows n, or `temperature` (n to the power 1 / temperature).

    `tasks_per_step` batches of different tasks are accumulated into one step. With `joint`, a drawn image also
    trains every other task that has a row for it. `weights` multiply the tasks' probabilities; the default is 1. With
    `alternate` the kinds alternate: one step draws tasks of one kind only, the next step tasks of the next kind.
    A row whose true mask or box covers less than `small_area` of the image comes `small_repeat` times in a pass.

    With `mixed` every image of a batch is drawn from a task of its own, and the shared parts of the network see the
    batch as a whole. The losses of a kind are averaged over its images, and the kinds add up. Every `restart_every`
    steps (0: never) each task goes back to the first row of its pass, as the official sampler does with every epoch.
    The last rows of a large task are then never reached.
    """

    method: Literal["uniform", "proportional", "temperature"] = "uniform"
    temperature: Annotated[float, Range(0.1, 1000)] = 2.0
    tasks_per_step: Annotated[int, Range(1, 1000)] = 1
    joint: bool = False
    alternate: bool = False
    mixed: bool = False
    restart_every: CountOrNone = 0
    small_area: Fraction = 0.05
    small_repeat: Annotated[int, Range(1, 100)] = 1
    weights: dict[Name, Weight] = field(default_factory=dict)


@dataclass(frozen=True)
class LossConfig:
    """The loss of each kind, by the names in `training.losses`, and their settings.

    `class_weights` is `none`, `balanced` (one over the class's rows) or `root` (its square root). `boundary_weight`
    is how much more a pixel near a true border counts; `heatmap_sigma` is in parts of the image's side. `tasks` name
    another loss of the same kind for single tasks.
    """

    segmentation: MaskLoss = "dice"
    classification: ClassLoss = "ce"
    detection: BoxLoss = "focal_grid"
    regression: PointLoss = "mse"
    label_smoothing: Below1 = 0.0
    class_weights: Literal["none", "balanced", "root"] = "none"
    boundary_weight: Weight = 4.0
    heatmap_sigma: Annotated[float, Range(0, 1, above=True)] = 0.02
    tasks: dict[Name, Literal[MaskLoss, ClassLoss, BoxLoss, PointLoss]] = field(default_factory=dict)


@dataclass(frozen=True)
class BalanceConfig:
    """Weights of the tasks' losses: `fixed`, or learned `uncertainty`. `kinds` and `tasks` multiply; 1 by default."""

    method: Literal["fixed", "uncertainty"] = "fixed"
    kinds: dict[KindName, Weight] = field(default_factory=dict)
    tasks: dict[Name, Weight] = field(default_factory=dict)


@dataclass(frozen=True)
class OptimConfig:
    """The optimiser (a timm name) and its schedule; learning rates of encoder, decoder and heads.

    `schedule` is `cosine` or `poly` (a falling line to the power 0.9), from each rate down to `final_lr`.
    `batch_size` is that of one task, over all ranks. `decoder_lr` 0 means `head_lr`; `clip_norm` and `ema_decay` 0
    mean none; the decay is reached slowly, as (1 + step) / (10 + step). `trained` is `all` or `prompts`: those
    parameters alone that the system names, everything else in eval mode. For the first `freeze_shared` (0..1) of the
    schedule the heads alone learn. For the first `small_until` of it images are shrunk to `small_size` pixels.

    The first block of the encoder learns at `first_block_rate` times `encoder_lr`, the last at `encoder_lr`; between
    them the rates grow by equal factors (layer-wise rates, as large pretrained encoders want them).
    """

    images: Count = 60_000
    batch_size: Annotated[int, Range(1, 100_000)] = 16
    encoder_lr: Rate = 1e-4
    head_lr: Rate = 1e-3
    final_lr: Rate = 1e-6
    weight_decay: Annotated[float, Range(0, 10)] = 0.01
    warmup_steps: CountOrNone = 100
    clip_norm: Weight = 0.0
    ema_decay: Below1 = 0.0
    name: Name = "adamw"
    schedule: Literal["cosine", "poly"] = "cosine"
    momentum: Below1 = 0.9
    decoder_lr: Rate = 0.0
    trained: Literal["all", "prompts"] = "all"
    freeze_shared: Fraction = 0.0
    first_block_rate: Annotated[float, Range(1e-6, 1)] = 1.0
    small_size: Annotated[int, Range(0, 8192)] = 0
    small_until: Fraction = 0.0


@dataclass(frozen=True)
class DevConfig:
    """Official scores on the dev rows every `every` steps (0: at the end alone).

    The best network so far is kept; training stops after `patience` scorings without a better one (0: never).
    While training, about `rows` of the dev rows are scored, always the same (0: all). At the end the best network is
    scored on all of them.
    """

    every: CountOrNone = 0
    patience: CountOrNone = 0
    rows: CountOrNone = 1000


@dataclass(frozen=True)
class RuntimeConfig:
    """How a recipe is run. A resumed run may change these settings.

    `device` is `auto`, `cpu` or `cuda`; `precision` `float32`, `bfloat16` or `float16` (autocast). `workers` are
    processes that prepare batches; `cache_gigabytes` bounds the image cache on disk. `augment_on` says where grey
    values are augmented: by the `workers`, image by image, or on the `device`, batch by batch.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    channels_last: bool = True
    compile: bool = False
    deterministic: bool = False
    workers: Annotated[int, Range(0, 1024)] = 0
    cache_gigabytes: Annotated[float, Range(0, 1e6)] = 16.0
    augment_on: Literal["workers", "device"] = "workers"


@dataclass(frozen=True)
class Config:
    """A whole recipe. `tasks.NAME` overrides fields of that task's `TaskRules`.

    `extra_tasks` are further task names that the recipe may use, which neither the challenge nor the data has.
    """

    name: Name = "unnamed"
    seed: Seed = 42
    checkpoint_every: Count = 200
    extra_tasks: tuple[Name, ...] = ()
    system: SystemConfig = field(default_factory=SystemConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    balance: BalanceConfig = field(default_factory=BalanceConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    dev: DevConfig = field(default_factory=DevConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    tasks: dict[Name, dict[str, Any]] = field(default_factory=dict)


def load_config(path: Path, overrides: tuple[str, ...] = ()) -> Config:
    """Read a TOML file and apply `section.key=value` overrides (values are TOML). Raises UserError."""
    return from_dict(read_table(path, overrides))


def to_dict(config: Config) -> dict[str, Any]:
    """Return the resolved config as plain data, for the run folder and `weights.json`."""
    return dataclasses.asdict(config)


def from_dict(table: Mapping[str, Any]) -> Config:
    """Inverse of `to_dict`; keys that an older recipe lacks take their defaults. Raises UserError."""
    config = from_table(Config, table)
    _check(config)
    return config


def from_recorded(table: Mapping[str, Any]) -> Config:
    """Read the config that a run or its weights recorded. Raises UserError.

    Keys that decide which rows are dev rows and which are scored, and that an older run lacks, say what was done then:
    near-copies were not joined, and all dev rows were scored while training. It stays so.
    """
    older: dict[str, dict[str, Any]] = {"data": {"near_copies": 0.0}, "dev": {"rows": 0}}
    return from_dict({**table, **{name: {**keys, **table.get(name, {})} for name, keys in older.items()}})


def with_overrides(config: Config, overrides: tuple[str, ...]) -> Config:
    """Return `config` with `section.key=value` overrides applied. Raises UserError."""
    table = to_dict(config)
    for override in overrides:
        set_key(table, override)
    return from_dict(table)


def write_json(config: Config, path: Path) -> None:
    """Write the resolved config as JSON, every key with its value."""
    write_text(path, json.dumps(to_dict(config), indent=1) + "\n")


def check_overrides(overrides: tuple[str, ...]) -> None:
    """Check `section.key=value` overrides before the recipe that they change is known. Raises UserError."""
    table: dict[str, Any] = {}
    for override in overrides:
        set_key(table, override)
    _check_rules(from_table(Config, table))


def _check(config: Config) -> None:
    """Check values that depend on each other."""
    _check_rules(config)
    faults = {
        "augment.min_scale is larger than augment.max_scale": config.augment.min_scale > config.augment.max_scale,
        "optim.small_until needs an optim.small_size": config.optim.small_until and not config.optim.small_size,
        "sampling.mixed makes one batch of all tasks, but sampling.tasks_per_step is above 1": (
            config.sampling.mixed and config.sampling.tasks_per_step > 1
        ),
        "sampling.mixed and sampling.joint exclude each other": config.sampling.mixed and config.sampling.joint,
    }
    for fault, is_there in faults.items():
        if is_there:
            raise UserError(f"config: {fault}; correct one of them")


def _check_rules(config: Config) -> None:
    for task_id, table in config.tasks.items():
        parse_point_order(from_table(TaskRules, table, f"tasks.{task_id}.").point_order)
