"""What a run is made of: data, network, losses, optimiser, scorer. Built here from the recipe, used by the loop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from timm.utils import ModelEmaV3
from torch import nn

from challenge.errors import UserError
from challenge.tasks import TaskKind, TaskSpec
from model.networks.system import System
from training.augmentation.task_rules import rules_of
from training.config import Config, LossConfig
from training.data.dataset import Dataset
from training.data.rows import DataSource, Part, load_parts, tasks_in
from training.data.sampling import TaskSampler
from training.data.split import subset
from training.distributed import Ranks
from training.loop.device import set_up
from training.loop.optim import make_optimizer
from training.loop.recipe_check import check_recipe
from training.losses import Loss, task_loss
from training.losses.balance import TaskBalance
from training.pretrained.building import build_network, frozen_parameters, shared_modules
from training.pretrained.encoder_weights import check_source
from training.run_folder.digests import Digests
from training.run_folder.run_facts import RunFacts
from training.run_folder.trainable import Start
from training.selection.dev_scores import DevScorer
from training.task_names import check_task_names


@dataclass(frozen=True)
class Parts:
    """The parts of a run. `shared` are the modules that several tasks use, `frozen` parameters never learn.

    `scorer` scores all dev rows, `quick_scorer` those that are scored while training (`dev.rows`).
    """

    device: torch.device
    data: Dataset
    sampler: TaskSampler
    network: System
    ema: ModelEmaV3 | None
    shared: Sequence[nn.Module]
    frozen: Sequence[nn.Parameter]
    losses: Mapping[str, Loss]
    balance: TaskBalance
    optimizer: torch.optim.Optimizer
    scorer: DevScorer
    quick_scorer: DevScorer
    facts: RunFacts


def build_parts(config: Config, source: DataSource, start: Start | None = None, ranks: Ranks | None = None) -> Parts:
    """Check the recipe, then read the data and build everything else. Raises UserError for what does not fit."""
    ranks = ranks or Ranks()
    _check(config, source, start)
    device = set_up(config.runtime, ranks)
    train, dev = load_parts(source, config.data, config.runtime, ranks)
    data = dataset_of(config, train)
    means = _means(data)
    network = _network(config, data, means, start, device, ranks)
    shared = shared_modules(network)
    ema = ModelEmaV3(network, decay=config.optim.ema_decay) if config.optim.ema_decay else None
    for module in shared if config.runtime.compile else ():
        module.compile()
    balance = TaskBalance(data.tasks, config.balance).to(device)
    scorer = DevScorer(dev, config.data, {t: tuple(mean) for t, mean in means.items()})
    quick = subset(dev.samples, config.dev.rows, config.data.split_seed, dev.store.contents())
    return Parts(
        device=device,
        data=data,
        sampler=_sampler(config, data),
        network=network,
        ema=ema,
        shared=shared,
        frozen=frozen_parameters(network, config.encoder, config.optim),
        losses={spec.task_id: _loss(config.loss, data, spec) for spec in data.tasks},
        balance=balance,
        optimizer=make_optimizer(network, config.optim, balance),
        scorer=scorer,
        quick_scorer=scorer.on(quick) if config.dev.rows else scorer,
        facts=_facts(start, data, means, Digests.of(train, dev, start.state if start else None)),
    )


def _check(config: Config, source: DataSource, start: Start | None) -> None:
    """Raise UserError for what is wrong before the images are read; that can take an hour."""
    check_recipe(config)
    check_task_names(config, source, start.tasks if start else ())
    if not start:
        check_source(config.encoder.weights)
    tasks = tasks_in(source.data_root, config.data.tasks)
    build_network(config.system, config.encoder, config.loss, tasks, {}, start)


def dataset_of(config: Config, train: Part) -> Dataset:
    """Return the training rows as the recipe augments them. Raises UserError if there are none."""
    if not train.samples:
        raise UserError(f"no training row of {train.root} is left: all of them are dev rows")
    specs = {s.task_id: TaskSpec(s.task_id, s.kind, s.num_classes) for s in train.samples}
    rules = {task_id: rules_of(spec, config.tasks) for task_id, spec in specs.items()}
    paint_later = config.runtime.augment_on == "device"
    return Dataset(train.samples, train.store, rules, config.augment, config.seed, config.sampling.joint, paint_later)


def _means(data: Dataset) -> dict[str, list[float]]:
    """Return the mean boxes and points by task."""
    placed = (TaskKind.DETECTION, TaskKind.REGRESSION)
    return {spec.task_id: data.mean_target(spec.task_id) for spec in data.tasks if spec.kind in placed}


def _sampler(config: Config, data: Dataset) -> TaskSampler:
    kinds = {spec.task_id: spec.kind for spec in data.tasks}
    sampling = config.sampling
    passes = data.passes(sampling.small_area, sampling.small_repeat) if sampling.small_repeat > 1 else None
    return TaskSampler(data.sizes, config.optim.batch_size, config.seed, sampling, kinds, passes)


def _network(
    config: Config,
    data: Dataset,
    means: Mapping[str, Sequence[float]],
    start: Start | None,
    device: torch.device,
    ranks: Ranks,
) -> System:
    """Return the network, initialised from the seed or from `start`, on its device."""
    torch.manual_seed(config.seed)
    network = build_network(config.system, config.encoder, config.loss, data.tasks, means, start).to(device)
    if ranks.count > 1 and device.type == "cuda":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    return network.to(memory_format=torch.channels_last) if config.runtime.channels_last else network


def _loss(config: LossConfig, data: Dataset, spec: TaskSpec) -> Loss:
    counts = data.class_counts(spec.task_id) if spec.kind is TaskKind.CLASSIFICATION else ()
    return task_loss(spec, config, counts)


def _facts(start: Start | None, data: Dataset, means: Mapping[str, Sequence[float]], digests: Digests) -> RunFacts:
    before = start or Start((), {})
    return before.facts.continued(before.counters, data.sizes, means, digests)
