"""The official baseline's checkpoint becomes our MH-MTL weights: the same answers, from the frozen runtime."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from challenge.errors import UserError
from challenge.resampling import Resampling
from model.frozen.facts import FILE
from model.networks import build
from model.networks.system import System
from training.export import ExportFacts, export
from training.official_names import ENCODER, HEADS, PYRAMID, TAIL, head_layouts, own_names, task_of
from training.state_dict import read_state_dict

logger = logging.getLogger(__name__)

SYSTEM = "mh_mtl"
# segmentation-models-pytorch fixes the padding of EfficientNet-B4 for the 380x380 images that it was designed for.
OPTIONS = {"encoder": "tf_efficientnet_b4", "same_padding_size": 380}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TRAINED_ON = "unknown (converted)"
REPORT = "conversion.json"

_PARTS = (ENCODER, PYRAMID, HEADS)
_COUNTER = ".num_batches_tracked"  # of use in training alone; old checkpoints lack it


@dataclass(frozen=True)
class KeyReport:
    """What became of every key of a checkpoint.

    `used` maps official keys to ours; `left_out` is the encoder's classification tail, which no answer depends on;
    `unknown` lies outside the network.
    """

    used: Mapping[str, str]
    left_out: Sequence[str]
    unknown: Sequence[str]

    def table(self) -> str:
        """Return the counts per part of the network as an aligned table."""
        fates = (self.used, self.left_out, self.unknown)
        counters = [Counter(_part(key) for key in keys) for keys in fates]
        rows = [(part.rstrip(".") or "other", [counter[part] for counter in counters]) for part in (*_PARTS, "")]
        rows.append(("all", [len(keys) for keys in fates]))
        lines = [f"{'part':<12}{'keys':>10}{'used':>10}{'left out':>10}{'unknown':>10}"]
        lines += [f"{name:<12}{sum(row):>10}" + "".join(f"{n:>10}" for n in row) for name, row in rows if any(row)]
        return "\n".join(lines)

    def lines(self) -> list[str]:
        """Return one line for every key."""
        return [
            *(f"used      {key} -> {own}" for key, own in self.used.items()),
            *(f"left out  {key}" for key in self.left_out),
            *(f"unknown   {key}" for key in self.unknown),
        ]


def convert_file(checkpoint: Path, output: Path) -> KeyReport:
    """Write `checkpoint` as frozen weights, with `conversion.json` beside them, to the folder `output`.

    Raises UserError if the checkpoint cannot be used or if `output` holds weights already.
    """
    if (output / FILE).exists():
        raise UserError(f"{output} holds weights already; choose another folder")
    system, report = convert(read_state_dict(checkpoint))
    source = {"file": checkpoint.name, "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest()}
    facts = ExportFacts(
        name=checkpoint.stem,
        system=SYSTEM,
        mean=MEAN,
        std=STD,
        resampling=Resampling.OPENCV,
        postprocess="official",
        trained_on=dict.fromkeys(system.tasks, TRAINED_ON),
        extra={"converted_from": source},
    )
    export(system, facts, output)
    tasks = {task_id: {"kind": spec.kind, "num_classes": spec.num_classes} for task_id, spec in system.tasks.items()}
    table = {"checkpoint": source, "system": {"name": SYSTEM, "options": OPTIONS}, "tasks": tasks, **asdict(report)}
    (output / REPORT).write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return report


def convert(state: Mapping[str, Tensor]) -> tuple[System, KeyReport]:
    """Return the network with the checkpoint's weights, in eval mode, and what became of every key.

    Raises UserError if the tasks contradict the catalogue, if a tensor of ours stays empty, or if the checkpoint's
    network has parts that ours lacks (its answers would differ).
    """
    layouts = head_layouts(state)
    system = build(SYSTEM, [task_of(task_id, layout, state) for task_id, layout in layouts.items()], **OPTIONS)
    names = own_names(state, layouts, system.encoder.get_submodule("backbone"))
    report = _report(state, names, system.state_dict())
    for key in report.unknown:
        logger.warning("unknown key, left out: %s", key)
    _fill(system, {own: state[key] for key, own in report.used.items()})
    return system.eval(), report


def _part(key: str) -> str:
    return next((part for part in _PARTS if key.startswith(part)), "")


def _report(state: Mapping[str, Tensor], names: Mapping[str, str], own: Mapping[str, Tensor]) -> KeyReport:
    used = {key: name for key, name in names.items() if name in own}
    left_out = [key for key in state if key.startswith(TAIL)]
    unknown = [key for key in state if key not in used and not key.startswith(TAIL)]
    if foreign := [key for key in unknown if _part(key)]:
        raise UserError(
            f"the checkpoint's network has {len(foreign)} tensors that the official baseline (EfficientNet-B4, FPN) "
            f"lacks ({_some(foreign)}), so its answers could not be reproduced"
        )
    return KeyReport(used, left_out, unknown)


def _fill(system: System, values: Mapping[str, Tensor]) -> None:
    own = system.state_dict()
    missing = [key for key in own if key not in values and not key.endswith(_COUNTER)]
    if missing:
        raise UserError(
            f"the checkpoint leaves {len(missing)} of {len(own)} tensors empty ({_some(missing)}); "
            "convert a complete checkpoint of the official baseline (EfficientNet-B4)"
        )
    for key, value in values.items():
        if value.shape != own[key].shape:
            raise UserError(
                f"{key} has the shape {tuple(value.shape)} in the checkpoint, not {tuple(own[key].shape)}; "
                "convert a checkpoint of the official baseline (EfficientNet-B4)"
            )
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise UserError(f"{key} holds numbers that are not finite; choose a checkpoint from before it diverged")
    system.load_state_dict({**own, **values})


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
