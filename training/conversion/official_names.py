"""Keys of the official baseline's state dict (segmentation-models-pytorch), and ours for the same tensors.

`encoder.*` (EfficientNet-B4), `fpn_decoder.*`, `heads.<task_id>.*`. Source: the organisers' baseline code.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from challenge.errors import UserError
from challenge.tasks import CATALOGUE, TaskKind, TaskSpec
from training.pretrained.encoder_weights import EFFICIENTNET_TAIL, efficientnet_names

ENCODER, PYRAMID, HEADS = "encoder.", "fpn_decoder.", "heads."
TAIL = tuple(f"{ENCODER}{module}." for module in EFFICIENTNET_TAIL)
"""Prefixes of the encoder's classification tail, which the baseline contains but never uses."""

_LATERALS = ("p5", "p4.skip_conv", "p3.skip_conv", "p2.skip_conv")
_LEVEL = re.compile(r"seg_blocks\.(\d+)\.block\.(\d+)\.block\.(\d+)")
_TASK_ID = re.compile(r"[\w-]+")  # it becomes a file name


@dataclass(frozen=True)
class HeadLayout:
    """The modules of one kind of head, official name -> ours; the outputs of the last give the class count."""

    kind: TaskKind
    modules: Mapping[str, str]


_LAYOUTS = (
    HeadLayout(TaskKind.SEGMENTATION, {"0": "classify"}),
    HeadLayout(TaskKind.CLASSIFICATION, {"head.3": "classify"}),
    HeadLayout(
        TaskKind.DETECTION,
        {**{f"conv_block.{i}": f"block.{i}" for i in (0, 1, 3, 4)}, "conv_block.6": "predict"},
    ),
    HeadLayout(TaskKind.REGRESSION, {"linear": "regress"}),
)


def head_layouts(state: Mapping[str, Tensor]) -> dict[str, HeadLayout]:
    """Return the layout of every head by task. Raises UserError if there is no head, or one of an unknown kind."""
    modules: dict[str, set[str]] = {}
    for key in _below(HEADS, state):
        task_id, _, rest = key.partition(".")
        modules.setdefault(task_id, set()).add(rest.rpartition(".")[0])
    if not modules:
        raise UserError(
            "the checkpoint has no keys heads.<task_id>..., so it is not the official baseline's; choose another file"
        )
    layouts = {}
    for task_id, names in modules.items():
        if not _TASK_ID.fullmatch(task_id):
            raise UserError(f"the checkpoint's head {task_id!r} has an unusable name; use letters, digits, _ and -")
        layout = next((layout for layout in _LAYOUTS if names & layout.modules.keys()), None)
        if layout is None:
            raise UserError(
                f"the checkpoint's head {task_id!r} (modules {', '.join(sorted(names))}) is none of the official "
                "baseline's four kinds; convert a checkpoint of the unchanged baseline"
            )
        layouts[task_id] = layout
    return layouts


def task_of(task_id: str, layout: HeadLayout, state: Mapping[str, Tensor]) -> TaskSpec:
    """Return the task that a head answers, with the class count of its tensors.

    Raises UserError if the shape is impossible for the kind, or if the catalogue contradicts it.
    """
    last = f"{HEADS}{task_id}.{list(layout.modules)[-1]}.weight"
    if last not in state or state[last].ndim == 0:
        raise UserError(f"the checkpoint's head {task_id!r} is incomplete: {last} is missing; save it again")
    outputs = state[last].shape[0]
    num_classes = outputs
    match layout.kind:
        case TaskKind.REGRESSION:
            num_classes, odd = divmod(outputs, 2)
            if odd:
                raise UserError(f"{last} gives {outputs} numbers, an odd number for x, y pairs; check the checkpoint")
        case TaskKind.DETECTION:
            num_classes = outputs - 4
            if num_classes != 1:
                raise UserError(f"{last} gives {outputs} numbers per cell, not 5 (a box and its objectness)")
    spec = TaskSpec(task_id, layout.kind, num_classes)
    known = CATALOGUE.get(task_id, spec)
    if known != spec:
        raise UserError(
            f"the checkpoint's head {task_id!r} is {_described(spec)}, but in the challenge that task is "
            f"{_described(known)}; rename the head or leave it out"
        )
    return spec


def own_names(state: Mapping[str, Tensor], layouts: Mapping[str, HeadLayout], backbone: nn.Module) -> dict[str, str]:
    """Return our state dict's key for every key of `state` that has one; `backbone` is timm's EfficientNet-B4."""
    encoder = efficientnet_names(_below(ENCODER, state), backbone)
    names = {}
    for key in state:
        if key.startswith(ENCODER):
            timm_name = encoder.get(key.removeprefix(ENCODER))
            own = timm_name and f"backbone.backbone.{timm_name}"
        elif key.startswith(PYRAMID):
            own = _pyramid_name(key.removeprefix(PYRAMID))
        else:
            own = _head_name(key.removeprefix(HEADS), layouts) if key.startswith(HEADS) else None
        if own:
            names[key] = own
    return names


def _below(prefix: str, state: Mapping[str, Tensor]) -> list[str]:
    return [key.removeprefix(prefix) for key in state if key.startswith(prefix)]


def _described(spec: TaskSpec) -> str:
    return f"{spec.kind} with {spec.num_classes} {'points' if spec.kind is TaskKind.REGRESSION else 'classes'}"


def _pyramid_name(key: str) -> str | None:
    module, _, leaf = key.rpartition(".")
    if module in _LATERALS:
        return f"pyramid.laterals.{_LATERALS.index(module)}.{leaf}"
    match = _LEVEL.fullmatch(module)
    return f"pyramid.levels.{'.'.join(match.groups())}.{leaf}" if match else None


def _head_name(key: str, layouts: Mapping[str, HeadLayout]) -> str | None:
    task_id, _, rest = key.partition(".")
    module, _, leaf = rest.rpartition(".")
    own = layouts[task_id].modules.get(module)
    return own and f"heads.{task_id}.{own}.{leaf}"
