"""The optimiser, with learning rates for encoder, decoder and heads, and its schedule with warm-up."""

import math
import re
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from torch import nn

from challenge.errors import UserError
from model.networks.system import System
from training.config import OptimConfig, SamplingConfig

_POLY = 0.9
_NUMBERED = re.compile(r".*?(?:stages|blocks|layers?|levels)[._]?\d+(?:\.(?:blocks\.)?\d+)?(?=\.)")


def make_optimizer(network: System, config: OptimConfig, balance: nn.Module | None = None) -> torch.optim.Optimizer:
    """Return timm's optimiser `config.name` over every parameter: encoder, decoder, heads, loss balance.

    The official script leaves the FPN out of the optimiser; here nothing can be left out. What the system names in
    `no_weight_decay` has groups of its own, without decay. `config.momentum` is that of optimisers that have one.
    """
    encoder, heads = network.encoder_parameters(), head_parameters(network)
    known = {id(parameter) for parameter in (*encoder, *heads)}
    decoder = [parameter for parameter in network.other_parameters() if id(parameter) not in known]
    exempt = {id(parameter) for parameter in network.no_weight_decay()}
    parts = [
        *_by_depth(network, encoder, config),
        (decoder, config.decoder_lr or config.head_lr),
        (heads, config.head_lr),
    ]
    groups: list[dict[str, Any]] = []
    for parameters, rate in parts:
        decayed = [parameter for parameter in parameters if id(parameter) not in exempt]
        others = [parameter for parameter in parameters if id(parameter) in exempt]
        groups.append({"params": others, "lr": rate, "peak_lr": rate, "weight_decay": 0.0})
        groups.append({"params": decayed, "lr": rate, "peak_lr": rate})
    weights = list(balance.parameters()) if balance else []
    if weights:
        groups.append({"params": weights, "lr": config.head_lr, "peak_lr": config.head_lr, "weight_decay": 0.0})
    groups = [group for group in groups if group["params"]]
    try:
        optimizer: torch.optim.Optimizer = create_optimizer_v2(
            groups, opt=config.name, lr=config.head_lr, weight_decay=config.weight_decay, momentum=config.momentum
        )
    except ValueError as error:
        raise UserError(f"optim.name {config.name!r}: {error}") from error
    return optimizer


def _by_depth(
    network: System, encoder: list[nn.Parameter], config: OptimConfig
) -> list[tuple[list[nn.Parameter], float]]:
    """Return the encoder's parameters, block after block, each with its learning rate."""
    if config.first_block_rate == 1:
        return [(encoder, config.encoder_lr)]
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    blocks: dict[str, list[nn.Parameter]] = {}
    for parameter in encoder:
        blocks.setdefault(_block(names[id(parameter)]), []).append(parameter)
    last = max(1, len(blocks) - 1)
    return [
        (parameters, config.encoder_lr * config.first_block_rate ** (1 - number / last))
        for number, parameters in enumerate(blocks.values())
    ]


def _block(name: str) -> str:
    """Return the block of a timm backbone that a parameter belongs to: what its name says down to the last number.

    `backbone.stages_1.blocks.2.mlp.fc1.weight` is of `backbone.stages_1.blocks.2`. What stands in no block (stem,
    patches, tokens) counts as the first.
    """
    match = _NUMBERED.match(name)
    return match[0] if match else ""


def head_parameters(network: System) -> list[nn.Parameter]:
    """Return the parameters of the last stage of every path: the heads."""
    heads = {path[-1] for path in network.paths.values()}
    return [parameter for name in sorted(heads) for parameter in network.stages[name].module.parameters()]


def total_steps(config: OptimConfig, sampling: SamplingConfig) -> int:
    """Steps that `images` images make."""
    return math.ceil(config.images / (config.batch_size * sampling.tasks_per_step))


def set_learning_rates(optimizer: torch.optim.Optimizer, step: int, progress: float, config: OptimConfig) -> None:
    """Linear warm-up over the steps from 0, times the schedule over `progress` (0..1) from each peak to `final_lr`."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    left = 1 - min(1.0, progress)
    height = left**_POLY if config.schedule == "poly" else 0.5 * (1 - math.cos(math.pi * left))
    for group in optimizer.param_groups:
        group["lr"] = warm * (config.final_lr + (group["peak_lr"] - config.final_lr) * height)
