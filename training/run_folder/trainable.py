"""A network that can be trained on: `network.safetensors` beside exported weights, or a run's checkpoint.

The file holds the tensors by their names in the system's state dict and, as metadata, the recipe, the tasks and the
facts of the training data. It is for training alone; the container reads the ONNX graphs.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from challenge.errors import UserError
from challenge.tasks import TaskKind, TaskSpec
from model.networks.system import System
from training.config import Config, from_dict, to_dict
from training.pretrained.state_dict import refuse_pointer
from training.run_folder import checkpoint
from training.run_folder.provenance import read_provenance

FILE = "network.safetensors"


@dataclass(frozen=True)
class Start:
    """A network to begin from: its tasks, its state dict, and the facts that its run recorded."""

    tasks: Sequence[TaskSpec]
    state: Mapping[str, Tensor]
    facts: Mapping[str, Any] = field(default_factory=dict)


def write_trainable(network: System, config: Config, facts: Mapping[str, Any], folder: Path) -> None:
    """Write `folder/network.safetensors`."""
    about = {
        "config": to_dict(config),
        "tasks": [(s.task_id, str(s.kind), s.num_classes) for s in network.tasks.values()],
        "facts": dict(facts),
    }
    tensors = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    (folder / FILE).write_bytes(save(tensors, {"about": json.dumps(about)}))  # its own writer hides a full disk


def read_start(folder: Path) -> tuple[Start, Config]:
    """Return the network of a weights folder or of a run folder, and its recipe. Raises UserError."""
    if (folder / FILE).is_file():
        about, state = _read_trainable(folder / FILE)
        facts = {**about["facts"], "provenance": read_provenance(folder, about["facts"]).as_facts()}
        return Start(_specs(about["tasks"]), state, facts), from_dict(about["config"])
    if (folder / checkpoint.BEST).is_file() or (folder / checkpoint.LAST).is_file():
        return start_of(checkpoint.load_best(folder))
    raise UserError(f"{folder} holds neither {FILE} nor {checkpoint.LAST}; give a run or an export of this project")


def start_of(state: Mapping[str, Any]) -> tuple[Start, Config]:
    """Return the network of a checkpoint (its EMA where there is one), and its recipe."""
    counts = {key: state[key] for key in ("images_seen", "cpu_seconds") if key in state}
    start = Start(_specs(state["tasks"]), state["ema"] or state["network"], {**state["facts"], **counts})
    return start, from_dict(state["config"])


def _read_trainable(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    refuse_pointer(path)
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["about"])
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return {key: about[key] for key in ("config", "tasks", "facts")}, state
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged or from elsewhere ({error}); export the run again") from error


def _specs(tasks: Iterable[Sequence[Any]]) -> list[TaskSpec]:
    return [TaskSpec(task_id, TaskKind(kind), number) for task_id, kind, number in tasks]
