"""Builds the network that a run begins with: new heads, and a pretrained encoder or a whole network."""

import difflib
import logging
import re
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from challenge.errors import UserError
from challenge.tasks import TaskSpec, with_extra_tasks
from model.networks.heads.dense import Adapter, BoxHead
from model.networks.heads.pooled import DetectionHead, RegressionHead
from model.networks.registry import build
from model.networks.system import System
from training.config import EncoderConfig, LossConfig, OptimConfig, SystemConfig
from training.pretrained.encoder_weights import load_encoder_weights
from training.run_folder.trainable import Start

logger = logging.getLogger(__name__)


def build_network(
    system: SystemConfig,
    encoder: EncoderConfig,
    loss: LossConfig,
    trained: Sequence[TaskSpec],
    means: Mapping[str, Sequence[float]],
    start: Start | None = None,
) -> System:
    """Return the network: heads for the tasks of `start`, or else of the catalogue, and for the `trained` ones.

    `means` are the training set's mean points, at which the points of new heads begin. Raises UserError if weights
    do not fit.
    """
    new = {spec.task_id: spec for spec in trained}
    tasks = {**{spec.task_id: spec for spec in start.tasks}, **new} if start else with_extra_tasks(trained)
    network = build(system.name, tasks.values(), **system.options)
    for task_id, path in network.paths.items():
        for module in network.stages[path[-1]].module.modules():
            if isinstance(module, RegressionHead) and task_id in means:
                module.start_at(means[task_id])
            if isinstance(module, DetectionHead | BoxHead) and loss.detection.startswith("focal"):
                module.start_rare()
    if start:
        _load_start(network, start, new)
    else:
        load_encoder_weights(network, encoder.weights)
    return network


def frozen_parameters(network: System, encoder: EncoderConfig, optim: OptimConfig) -> list[nn.Parameter]:
    """Return what the recipe never trains: all but the prompts, or parameters by beginnings of names.

    Raises UserError if such a beginning fits no name, or if the system has no prompts.
    """
    if optim.trained == "prompts":
        prompts = {id(parameter) for parameter in network.prompt_parameters()}
        if not prompts:
            raise UserError("optim.trained is 'prompts', but this system has no prompts to train; perceptguide has")
        return [parameter for parameter in network.parameters() if id(parameter) not in prompts]
    prefixes = encoder.frozen
    named = dict(network.encoder.named_parameters())  # by the encoder's own names, all others by the network's
    inside = {id(parameter) for parameter in named.values()}
    named |= {name: parameter for name, parameter in network.named_parameters() if id(parameter) not in inside}
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in named):
            raise UserError(f"encoder.frozen: no parameter begins with {prefix!r}; there are {_some(named, prefix)}")
    return [parameter for name, parameter in named.items() if name.startswith(tuple(prefixes))] if prefixes else []


def _some(names: Iterable[str], like: str) -> str:
    """Return a few names, those nearest to `like` first."""
    tops = list(dict.fromkeys(re.sub(r"(\.\d+)\..*", r"\1", name) for name in names))
    near = difflib.get_close_matches(like, tops, n=4, cutoff=0.0)
    return f"{', '.join(near)} ({len(tops)} such beginnings in all)"


def shared_modules(network: System) -> list[nn.Module]:
    """Return the modules of all stages but the heads: encoder, decoder and whatever else several tasks use."""
    heads = {path[-1] for path in network.paths.values()}
    names = {name for path in network.paths.values() for name in path} - heads
    return [network.stages[name].module for name in sorted(names)]


def _words(spec: TaskSpec) -> str:
    return f"{spec.kind} with num_classes {spec.num_classes}"


def _load_start(network: System, start: Start, new: Mapping[str, TaskSpec]) -> None:
    """Load every tensor but those of heads and adapters that the start does not have, or has of another kind.

    A member of an ensemble also lacks the stages that only the tasks use that it left to others.
    """
    known = {spec.task_id: spec for spec in start.tasks}
    for task_id in new:
        if task_id in known and known[task_id] != new[task_id]:
            raise UserError(
                f"{task_id} is {_words(new[task_id])} in the data and {_words(known[task_id])} in the weights; "
                "give the new task another name"
            )
    reinitialised = (set(new) - set(known)) | set(start.left)
    for task_id in sorted(set(new) - reinitialised):
        if not any(key in start.state for key in _head_keys(network, task_id)):
            logger.warning("%s: the start has another kind of head; this one is reinitialised", task_id)
            reinitialised.add(task_id)
    unknown = {network.paths[task_id][-1] for task_id in reinitialised}
    if start.left:
        unknown |= set(network.stages) - {name for t in set(known) - reinitialised for name in network.paths[t]}
    heads = {part for name in unknown for part in network.stages[name].module.modules()}
    fresh = {
        key
        for name, module in network.named_modules()
        if module in heads or isinstance(module, Adapter)
        for key in (f"{name}.{leaf}" for leaf in module.state_dict())
        if module in heads or key not in start.state
    }
    own = network.state_dict()
    loaded = {key: _fitted(start.state.get(key), value) for key, value in own.items() if key not in fresh}
    misfit = [key for key, value in loaded.items() if value is None]
    if misfit:
        raise UserError(
            f"{len(misfit)} tensors of this system, such as {misfit[0]}, cannot be filled from the weights to start "
            "from; start from weights of the same system and options"
        )
    network.load_state_dict({key: value for key, value in loaded.items() if value is not None}, strict=False)


def _head_keys(network: System, task_id: str) -> list[str]:
    head = {id(parameter) for parameter in network.stages[network.paths[task_id][-1]].module.parameters()}
    return [name for name, parameter in network.named_parameters() if id(parameter) in head]


def _fitted(old: Tensor | None, new: Tensor) -> Tensor | None:
    """Return `old` in the shape of `new`, or None. A table by task gets new rows, as new tasks come last."""
    if old is None or old.shape == new.shape:
        return old
    if old.dim() == new.dim() and old.shape[1:] == new.shape[1:] and len(old) < len(new):
        return torch.cat([old.to(new.dtype), new[len(old) :]])
    return None
