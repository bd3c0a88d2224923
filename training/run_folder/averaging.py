"""One network from several: the mean of the weights of runs that began with the same one (arXiv 2203.05482).

Such runs lie in one basin; their mean costs nothing at inference and is often better than each of them.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from challenge.errors import UserError
from challenge.tasks import check_task_names
from training.config import from_dict
from training.run_folder import checkpoint
from training.run_folder.digests import Digests

logger = logging.getLogger(__name__)


def average_runs(runs: Sequence[Path], output: Path, anew: Sequence[str] = ()) -> None:
    """Write a run folder whose network is the mean of the best networks of `runs` (the EMA where there is one).

    Tasks in `anew` keep the first run's head: heads that began anew in every run lie in different basins. Images seen,
    steps and processor time are those of all; the recipe is the first one's. Raises UserError for fewer than two runs,
    for runs of another system, other tasks, another start or other dev rows, or if `output` holds a run.
    """
    if len(runs) < 2:
        raise UserError("a mean needs at least two runs")
    if any((output / name).exists() for name in (checkpoint.BEST, checkpoint.LAST)):
        raise UserError(f"{output} holds a run already; choose another folder")
    states = [checkpoint.load_best(run) for run in runs]
    first = states[0]
    for run, state in zip(runs[1:], states[1:], strict=True):
        if state["config"]["system"] != first["config"]["system"] or state["tasks"] != first["tasks"]:
            raise UserError(f"{run} has another system or other tasks than {runs[0]}; their weights have no mean")
        _check_alike(state, first, f"{run} and {runs[0]}")
    check_task_names(anew, [task_id for task_id, _, _ in first["tasks"]])
    networks = [state["ema"] or state["network"] for state in states]
    heads = tuple(f"heads.{task_id}." for task_id in anew)
    output.mkdir(parents=True, exist_ok=True)
    mean = {
        **{key: first[key] for key in ("config", "tasks")},
        "sampler": {**first["sampler"], "step": sum(state["sampler"]["step"] for state in states)},
        "network": _mean(networks) | {key: value for key, value in networks[0].items() if key.startswith(heads)},
        "ema": None,
        "images_seen": sum(state["images_seen"] for state in states),
        "cpu_seconds": sum(state["cpu_seconds"] for state in states),
        "facts": {**first["facts"], "dev": {}},
    }
    checkpoint.save(output / checkpoint.BEST, mean)


def _check_alike(state: Mapping[str, Any], first: Mapping[str, Any], names: str) -> None:
    """Raise UserError if two runs began with different networks or decided by different rows."""
    digests = [Digests.recorded(one["facts"]) for one in (state, first)]
    if None in digests:
        logger.warning("%s do not both record their start and their rows: if these differ, the mean is of no use, or "
                       "its dev scores are too good", names)  # fmt: skip
    before = [one["facts"].get("images_before") for one in (state, first)]
    if before[0] != before[1] or _differ(digests, "start"):
        raise UserError(f"{names} began with different networks; their weights have no mean")
    data = [from_dict(one["config"]).data for one in (state, first)]
    if data[0] != data[1] or _differ(digests, "dev"):
        raise UserError(f"{names} decided by different rows; no rows are left to judge their mean by")


def _differ(digests: Sequence[Digests | None], key: str) -> bool:
    one, other = digests
    return bool(one and other and one.differences(other, [key]))


def _mean(networks: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
    """Return the mean of every tensor of floats; counters are the first network's."""
    return {
        key: torch.stack([network[key] for network in networks]).mean(dim=0) if value.is_floating_point() else value
        for key, value in networks[0].items()
    }
