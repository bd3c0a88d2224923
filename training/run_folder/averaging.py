"""One network from several: the mean of the weights of runs that began with the same one (arXiv 2203.05482).

Such runs lie in one basin of the loss. Their mean costs nothing at inference and is often better than each of them.
The network that they began with may be one of them: the mean of start and result keeps what the start knew about other
data (arXiv 2109.01903).
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from challenge.errors import UserError
from challenge.tasks import check_task_names
from training.run_folder import checkpoint_file
from training.run_folder.checkpoint_state import RunState, Tensors
from training.run_folder.digests import tensors_digest
from training.run_folder.run_facts import Counters

logger = logging.getLogger(__name__)


def average_runs(runs: Sequence[Path], output: Path, reinitialised: Sequence[str] = ()) -> None:
    """Write a run folder whose network is the mean of the best networks of `runs` (the EMA where there is one).

    The heads of the tasks `reinitialised` are the first run's: heads that each run began with new random weights lie
    in different basins. The counters are sums over all runs; the recipe is the first run's. The first may also be the
    network that the others began with. A warning says if the runs chose other tasks (`data.tasks`) of the same network:
    a head that one of them did not train is its start's there. Raises UserError for fewer than two runs, for runs with
    another system, other heads, another start or other dev rows, or if `output` holds a run.
    """
    if len(runs) < 2:
        raise UserError("an average needs at least two runs")
    if any((output / name).exists() for name in (checkpoint_file.BEST, checkpoint_file.LAST)):
        raise UserError(f"{output} holds a run already; choose another folder")
    states = [checkpoint_file.load_best(run) for run in runs]
    first = states[0]
    own_digest = tensors_digest(first.weights)
    for run, state in zip(runs[1:], states[1:], strict=True):
        _check_alike(state, first, f"{run} and {runs[0]}")
        began_with_first = state.facts.digests.start == own_digest
        if not began_with_first and not _began_alike(state, first):
            raise UserError(f"{run} and {runs[0]} began with different networks; their weights cannot be averaged")
    check_task_names(reinitialised, [spec.task_id for spec in first.tasks])
    heads = tuple(f"heads.{task_id}." for task_id in reinitialised)
    own = {key: value for key, value in first.weights.items() if key.startswith(heads)}
    mean = replace(
        first,
        network=_mean([state.weights for state in states]) | own,
        ema=None,
        counters=_sum([state.counters for state in states]),
        facts=replace(first.facts, dev={}),
        resume=None,
    )
    output.mkdir(parents=True, exist_ok=True)
    checkpoint_file.save(output / checkpoint_file.BEST, mean)


def _check_alike(state: RunState, first: RunState, names: str) -> None:
    """Raise UserError if two runs differ in their networks or in their dev rows."""
    if state.config.system != first.config.system or state.tasks != first.tasks:
        raise UserError(f"{names} have different systems or tasks; their weights cannot be averaged")
    if state.config.data.tasks != first.config.data.tasks and first.config.data == replace(
        state.config.data, tasks=first.config.data.tasks
    ):
        logger.warning(
            "%s chose different tasks, so their dev rows cannot be compared; if one learned dev rows of the other, "
            "scores of the average are too good",
            names,
        )
    elif state.config.data != first.config.data or state.facts.digests.dev != first.facts.digests.dev:
        raise UserError(f"{names} have different dev rows; no rows are left to score their average on")


def _began_alike(state: RunState, first: RunState) -> bool:
    one, other = state.facts, first.facts
    return one.images_before == other.images_before and one.digests.start == other.digests.start


def _sum(counters: Sequence[Counters]) -> Counters:
    return Counters(
        steps=sum(one.steps for one in counters),
        images_seen=sum(one.images_seen for one in counters),
        cpu_seconds=sum(one.cpu_seconds for one in counters),
    )


def _mean(networks: Sequence[Tensors]) -> dict[str, Tensor]:
    """Return the mean of every tensor of floats; counters of batches are the first network's."""
    return {
        key: torch.stack([network[key] for network in networks]).mean(dim=0) if value.is_floating_point() else value
        for key, value in networks[0].items()
    }
