"""Networks that training can begin with: `network.safetensors` beside exported weights, or a run's checkpoint.

`network.safetensors` holds the tensors by their names in the system's state dict and, as metadata, the recipe, the
tasks, the facts and the counters of the run. It is for training only; the container reads the ONNX graphs.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from challenge.errors import UserError
from challenge.tasks import TaskSpec
from model.networks.registry import build
from model.networks.system import System
from training.config import Config, from_recorded, to_dict, with_overrides
from training.run_folder import checkpoint_file
from training.run_folder.checkpoint_state import RunState, tasks_as_table, tasks_from_table
from training.run_folder.provenance import read_provenance
from training.run_folder.run_facts import Counters, RunFacts
from training.torch_files import refuse_pointer

FILE = "network.safetensors"
SCHEMA = 2
"""Of the metadata. Schema 1, which does not name itself, is read by `from_schema_1`."""


@dataclass(frozen=True)
class Start:
    """A network to begin with: its tasks, its state dict, and what its run recorded."""

    tasks: Sequence[TaskSpec]
    state: Mapping[str, Tensor]
    facts: RunFacts = field(default_factory=RunFacts)
    counters: Counters = field(default_factory=Counters)
    left: Sequence[str] = ()
    """Tasks that other networks of an ensemble answer: their heads are not in `state`."""

    @classmethod
    def of(cls, state: RunState) -> "Start":
        """Return the network of a checkpoint: its EMA where there is one."""
        return cls(state.tasks, state.weights, state.facts, state.counters)


def write_trainable(
    network: System, config: Config, folder: Path, facts: RunFacts | None = None, counters: Counters | None = None
) -> None:
    """Write `folder/network.safetensors`."""
    start = Start(list(network.tasks.values()), network.state_dict(), facts or RunFacts(), counters or Counters())
    _write(start, config, folder)


def leave_to_others(left: Collection[str], network: System, folder: Path) -> None:
    """Take the tensors that only the tasks in `left` use out of `folder/network.safetensors`, which is `network`'s."""
    start, config = _read_trainable(folder / FILE)
    stages = {name for task_id, path in network.paths.items() if task_id not in left for name in path}
    kept = {id(part) for name in stages for part in network.stages[name].module.state_dict(keep_vars=True).values()}
    of_stages = {
        id(part) for stage in network.stages.values() for part in stage.module.state_dict(keep_vars=True).values()
    }
    gone = {key for key, part in network.state_dict(keep_vars=True).items() if id(part) in of_stages - kept}
    state = {key: tensor for key, tensor in start.state.items() if key not in gone}
    rows = {task_id: count for task_id, count in start.facts.rows.items() if task_id not in left}
    _write(replace(start, state=state, left=sorted(left), facts=replace(start.facts, rows=rows)), config, folder)


def _write(start: Start, config: Config, folder: Path) -> None:
    about = {
        "schema": SCHEMA,
        "config": to_dict(config),
        "tasks": tasks_as_table(start.tasks),
        "left": list(start.left),
        "facts": start.facts.as_table(),
        "counters": asdict(start.counters),
    }
    tensors = {key: value.detach().cpu().contiguous() for key, value in start.state.items()}
    (folder / FILE).write_bytes(save(tensors, {"about": json.dumps(about)}))  # its own writer hides a full disk


def read_start(folder: Path) -> tuple[Start, Config]:
    """Return the network of a weights folder or of a run folder, and its recipe. Raises UserError."""
    if (folder / FILE).is_file():
        start, config = _read_trainable(folder / FILE)
        provenance = read_provenance(folder, start.facts.provenance, start.facts.rows)
        return replace(start, facts=replace(start.facts, provenance=provenance)), config
    if (folder / checkpoint_file.BEST).is_file() or (folder / checkpoint_file.LAST).is_file():
        state = checkpoint_file.load_best(folder)
        return Start.of(state), state.config
    if members := sorted(folder.glob(f"member-*/{FILE}")):
        raise UserError(f"{folder} holds {len(members)} networks; begin with one of them, such as {members[0].parent}")
    raise UserError(
        f"{folder} holds neither {FILE} nor {checkpoint_file.LAST}; give a run or an export of this project"
    )


def load_network(run: Path, overrides: tuple[str, ...] = ()) -> tuple[System, RunState]:
    """Return a run's network in eval mode, and its state, the recipe with `section.key=value` overrides.

    It is the network that was best on the dev rows, else the last one; its EMA where there is one.
    """
    state = checkpoint_file.load_best(run)
    state = replace(state, config=with_overrides(state.config, overrides))
    network = build(state.config.system.name, state.tasks, **state.config.system.options)
    network.load_state_dict(state.weights)
    return network.eval(), state


def from_schema_1(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata of schema 1 as schema 2: the counters were among the facts, and some facts may be missing."""
    old = about["facts"]
    counters = Counters(old.get("steps", 0), old.get("images_seen", 0), old.get("cpu_seconds") or 0.0)
    facts = {key: old.get(key, default) for key, default in RunFacts().as_table().items()}
    return {"config": about["config"], "tasks": about["tasks"], "facts": facts, "counters": asdict(counters)}


def _read_trainable(path: Path) -> tuple[Start, Config]:
    refuse_pointer(path)
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["about"])
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        schema = about.get("schema", 1)
        if schema > SCHEMA:
            raise UserError(
                f"{path} has schema {schema}, but this version reads {SCHEMA}; use the version that wrote it"
            )
        about = from_schema_1(about) if schema == 1 else about
        facts, counters = RunFacts.from_table(about["facts"]), Counters(**about["counters"])
        start = Start(tasks_from_table(about["tasks"]), state, facts, counters, tuple(about.get("left", ())))
        return start, from_recorded(about["config"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is damaged or from another program ({error}); export the run again") from error
