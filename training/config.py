"""One TOML file per recipe, read into frozen dataclasses. Unknown keys are errors."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from challenge.errors import UserError
from challenge.tasks import TaskKind, nearest
from training.toml_tables import from_table, read_table, set_key


@dataclass(frozen=True)
class SystemConfig:
    """Which network. `options` go to the system's constructor."""

    name: str = "mh_mtl"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EncoderConfig:
    """Where the encoder starts: `none`, `timm`, `package:NAME`, a file or a run's folder; if its batch norm is fixed.

    `frozen` are beginnings of names of encoder parameters that are never trained, such as `backbone.conv_stem`.
    """

    weights: str = "none"
    freeze_batchnorm: bool = False
    frozen: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataConfig:
    """The image grid, its normalisation, and the part of the training rows kept for decisions.

    `split_seed` draws that part: it stays when `seed` changes, or a second round would decide by rows that the first
    had learned. `tasks` are those to train, all of the data's if empty. Rows whose files or truth are damaged end the
    run with a message, unless `skip_unreadable` leaves them out.
    """

    image_size: int = 256
    resampling: str = "antialiased-bilinear"
    fit: str = "stretch"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    dev_fraction: float = 0.15
    split_seed: int = 42
    tasks: tuple[str, ...] = ()
    skip_unreadable: bool = False


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentation: each entry is a probability unless it says otherwise. What a task allows is in `task_rules`.

    `change` is the largest relative change of brightness and contrast. `geometry` is the probability of one
    rotation (up to `max_rotation` degrees and the task's own limit), zoom (`min_scale`..`max_scale`) and shift (up to
    `max_shift` of the image's side), done in one resampling. `blur` and `jpeg` take details away.
    """

    brightness_contrast: float = 0.2
    change: float = 0.2
    noise: float = 0.1
    gamma: float = 0.0
    hflip: float = 0.0
    vflip: float = 0.0
    geometry: float = 0.0
    max_rotation: float = 20.0
    min_scale: float = 0.8
    max_scale: float = 1.25
    max_shift: float = 0.1
    blur: float = 0.0
    jpeg: float = 0.0
    speckle: float = 0.0
    depth_gain: float = 0.0
    shadow: float = 0.0
    haze: float = 0.0


@dataclass(frozen=True)
class SamplingConfig:
    """Which task is drawn: `uniform`, `proportional` to its rows n, or `temperature` (n to the power 1 / temperature).

    `tasks_per_step` batches of different tasks are accumulated into one step. With `joint`, a drawn image also teaches
    every other task that has a row for it. `weights` multiply the tasks' probabilities; 1 by default. With `alternate`
    the kinds take turns: a step draws tasks of one kind alone, the next step those of the next kind.
    """

    method: str = "uniform"
    temperature: float = 2.0
    tasks_per_step: int = 1
    joint: bool = False
    alternate: bool = False
    weights: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class LossConfig:
    """The loss of each kind, by the names in `training.losses`, and their settings.

    `class_weights` is `none`, `balanced` (one over the class's rows) or `root` (its square root). `boundary_weight`
    is how much more a pixel near a true border counts; `heatmap_sigma` is in parts of the image's side. `tasks` name
    another loss of the same kind for single tasks.
    """

    segmentation: str = "dice"
    classification: str = "ce"
    detection: str = "focal_grid"
    regression: str = "mse"
    label_smoothing: float = 0.0
    class_weights: str = "none"
    boundary_weight: float = 4.0
    heatmap_sigma: float = 0.02
    tasks: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BalanceConfig:
    """Weights of the tasks' losses: `fixed`, or learned `uncertainty`. `kinds` and `tasks` multiply; 1 by default."""

    method: str = "fixed"
    kinds: dict[str, float] = field(default_factory=dict)
    tasks: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class OptimConfig:
    """The optimiser (a timm name) and its schedule; learning rates of encoder, decoder and heads.

    `schedule` is `cosine` or `poly` (a falling line to the power 0.9), from each rate down to `final_lr`.
    `batch_size` is that of one task, over all ranks. `decoder_lr` 0 means `head_lr`; `clip_norm` and `ema_decay` 0
    mean none; the decay is reached slowly, as (1 + step) / (10 + step). `trained` is `all` or `prompts`: those
    parameters alone that the system names, everything else in eval mode. For the first `freeze_shared` (0..1) of the
    schedule the heads alone learn. For the first `small_until` of it images are shrunk to `small_size` pixels.
    """

    images: int = 60_000
    batch_size: int = 16
    encoder_lr: float = 1e-4
    head_lr: float = 1e-3
    final_lr: float = 1e-6
    weight_decay: float = 0.01
    warmup_steps: int = 100
    clip_norm: float = 0.0
    ema_decay: float = 0.0
    name: str = "adamw"
    schedule: str = "cosine"
    momentum: float = 0.9
    decoder_lr: float = 0.0
    trained: str = "all"
    freeze_shared: float = 0.0
    small_size: int = 0
    small_until: float = 0.0


@dataclass(frozen=True)
class DevConfig:
    """Official scores on the dev rows every `every` steps (0: at the end alone).

    The best network so far is kept; training stops after `patience` scorings without a better one (0: never).
    """

    every: int = 0
    patience: int = 0


@dataclass(frozen=True)
class RuntimeConfig:
    """How a recipe is run, which a resumed run may change.

    `device` is `auto`, `cpu` or `cuda`; `precision` `float32`, `bfloat16` or `float16` (autocast). `workers` are
    processes that prepare batches; `cache_gigabytes` bounds the image cache on disk.
    """

    device: str = "auto"
    precision: str = "float32"
    channels_last: bool = True
    compile: bool = False
    deterministic: bool = False
    workers: int = 0
    cache_gigabytes: float = 16.0


@dataclass(frozen=True)
class Config:
    """A whole recipe. `tasks.NAME` overrides fields of that task's `TaskRules`."""

    name: str = "unnamed"
    seed: int = 42
    checkpoint_every: int = 200
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
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)


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


def with_overrides(config: Config, overrides: tuple[str, ...]) -> Config:
    """Return `config` with `section.key=value` overrides applied. Raises UserError."""
    table = to_dict(config)
    for override in overrides:
        set_key(table, override)
    return from_dict(table)


def write_json(config: Config, path: Path) -> None:
    """Write the resolved config as JSON, every key with its value."""
    path.write_text(json.dumps(to_dict(config), indent=1) + "\n", "utf-8")


_CHOICES: Mapping[str, tuple[str, ...]] = {
    "sampling.method": ("uniform", "proportional", "temperature"),
    "loss.class_weights": ("none", "balanced", "root"),
    "balance.method": ("fixed", "uncertainty"),
    "optim.schedule": ("cosine", "poly"),
    "optim.trained": ("all", "prompts"),
    "runtime.device": ("auto", "cpu", "cuda"),
    "runtime.precision": ("float32", "bfloat16", "float16"),
}
_AT_LEAST_ONE = ("checkpoint_every", "data.image_size", "optim.images", "optim.batch_size", "sampling.tasks_per_step")


def _check(config: Config) -> None:
    for key, choices in _CHOICES.items():
        value = _value(config, key)
        if value not in choices:
            raise UserError(f"config key {key!r} is {value!r}{nearest(value, choices)}; one of {', '.join(choices)}")
    for key in _AT_LEAST_ONE:
        if _value(config, key) < 1:
            raise UserError(f"config key {key!r} must be at least 1")
    for kind in config.balance.kinds:
        if kind not in list(TaskKind):
            raise UserError(f"unknown config key 'balance.kinds.{kind}'{nearest(kind, map(str, TaskKind))}")


def _value(config: Config, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value
