"""What the converters share: a report of every key, and a check that every tensor of the network is filled."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from challenge.errors import UserError
from model.frozen.metadata import FILE
from model.networks.system import System

TRAINED_ON = "unknown (converted)"
REPORT = "conversion.json"

_COUNTER = ".num_batches_tracked"  # used only in training; old checkpoints lack it


@dataclass(frozen=True)
class KeyReport:
    """Which keys of a checkpoint were used.

    `used` maps published keys to ours, separated by commas if several tasks use one. No answer depends on the keys in
    `left_out`. `unknown` keys are outside the network. `parts` are the prefixes by which `table` counts.
    """

    used: Mapping[str, str]
    left_out: Sequence[str]
    unknown: Sequence[str]
    parts: Sequence[str] = field(default=(), repr=False)

    def part(self, key: str) -> str:
        """Return the part of the network that a key belongs to, or an empty string."""
        return next((part for part in self.parts if key.startswith(part)), "")

    def table(self) -> str:
        """Return the counts per part of the network as an aligned table."""
        fates = (self.used, self.left_out, self.unknown)
        counters = [Counter(self.part(key) for key in keys) for keys in fates]
        rows = [(part.rstrip(".") or "other", [counter[part] for counter in counters]) for part in (*self.parts, "")]
        rows.append(("all", [len(keys) for keys in fates]))
        width = max(len(name) for name, _ in rows) + 1
        lines = [f"{'part':<{max(width, 12)}}{'keys':>10}{'used':>10}{'left out':>10}{'unknown':>10}"]
        for name, row in rows:
            if any(row):
                lines.append(f"{name:<{max(width, 12)}}{sum(row):>10}" + "".join(f"{n:>10}" for n in row))
        return "\n".join(lines)

    def lines(self) -> list[str]:
        """Return one line for every key."""
        return [
            *(f"used      {key} -> {own}" for key, own in self.used.items()),
            *(f"left out  {key}" for key in self.left_out),
            *(f"unknown   {key}" for key in self.unknown),
        ]


def fill(system: System, values: Mapping[str, tuple[str, Tensor]], wanted: str) -> None:
    """Load (published key, tensor) by our names. `wanted` tells the user in errors what to convert.

    Raises UserError if a tensor of ours stays empty, has another shape or is not finite.
    """
    own = system.state_dict()
    missing = [key for key in own if key not in values and not key.endswith(_COUNTER)]
    if missing:
        raise UserError(
            f"the checkpoint leaves {len(missing)} of {len(own)} tensors empty ({some(missing)}); convert {wanted}"
        )
    for name, (key, value) in values.items():
        if value.shape != own[name].shape:
            raise UserError(
                f"{key} has the shape {tuple(value.shape)} in the checkpoint, not {tuple(own[name].shape)}; "
                f"convert {wanted}"
            )
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise UserError(f"{key} has numbers that are not finite; choose a checkpoint from before it diverged")
    system.load_state_dict({**own, **{name: value for name, (_, value) in values.items()}})


def source_of(checkpoint: Path) -> dict[str, str]:
    """Return what identifies a checkpoint file."""
    return {"file": checkpoint.name, "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest()}


def check_free(output: Path) -> None:
    """Raise UserError if `output` already holds weights."""
    if (output / FILE).exists():
        raise UserError(f"{output} already holds weights; choose another folder")


def write_report(report: KeyReport, system: System, source: Mapping[str, str], about: Any, output: Path) -> None:
    """Write `output/conversion.json`; `about` names the system and its options."""
    tasks = {task_id: {"kind": spec.kind, "num_classes": spec.num_classes} for task_id, spec in system.tasks.items()}
    keys = {name: value for name, value in asdict(report).items() if name != "parts"}
    table = {"checkpoint": source, "system": about, "tasks": tasks, **keys}
    (output / REPORT).write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", "utf-8")


def some(keys: Sequence[str]) -> str:
    """Return the first few keys as text."""
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
