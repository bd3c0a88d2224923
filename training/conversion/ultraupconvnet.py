"""Converts UltraUPConvNet's checkpoint (arXiv 2509.11108) to our weights, without the parts that it never calls.

Key names: the authors' repository yyxl123/UltraUPConvNet. The network has one head for masks of 2 classes, one for
2-way and one for 4-way classification. All data sets share them; here every task gets a copy of the head it needs.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from challenge.errors import UserError
from challenge.imaging.geometry import Fit
from challenge.tasks import TaskKind, TaskSpec
from model.networks import build
from model.networks.prompts import ULTRAUPCONVNET
from model.networks.system import System
from training.conversion.checkpoint_files import KeyReport, check_free, fill, some
from training.conversion.shared_heads import choose_tasks, fitting_tasks, own_profiles, write_weights
from training.torch_files import read_state_dict

SYSTEM = "ultraupconvnet"
NEVER_CALLED = ("seg_head.backbone.", "backbone.head.")
"""A second ConvNeXt-T in the decoder, and the encoder's ImageNet classifier."""

_PARTS = ("backbone.", "seg_head.", "prompt_", "dec_prompt_mlp.", "cls_head_")
_STEM = "backbone.backbone.stem_0.weight"
_LEAF = r"\.(weight|bias|running_mean|running_var|num_batches_tracked)"
_CONV = {"conv": "0", "bn": "1"}
_BLOCK = {"dwconv": "conv_dw", "norm": "norm", "pwconv1": "mlp.fc1", "pwconv2": "mlp.fc2"}
_HEADS = {"cls_head_2cls": 2, "cls_head_4cls": 4}
_OTHERS = ("cardiac", "kidney", "appendix_2cls", "fatty_liver_2cls", "breast_luminal_4cls")
_DECODER = "decoder.decoder"


def published_tasks() -> dict[str, TaskSpec]:
    """Return the tasks that the published heads and prompts can answer, by id."""
    return fitting_tasks(ULTRAUPCONVNET, tuple(_HEADS.values()), _OTHERS)


def convert_file(checkpoint: Path, output: Path, names: Sequence[str] = (), fit: Fit = Fit.CROP) -> KeyReport:
    """Write `checkpoint` as frozen weights for the tasks `names` (all that fit, if empty) to the folder `output`.

    `fit` is how images are brought onto the square grid; the authors crop.

    Raises UserError if the checkpoint cannot be used, a task does not fit, or `output` already holds weights.
    """
    check_free(output)
    tasks = choose_tasks(names, published_tasks(), "UltraUPConvNet")
    state = read_state_dict(checkpoint)
    system, report = convert(state, tasks)
    write_weights(system, report, {"name": SYSTEM, "options": _options(state, tasks)}, checkpoint, output, 224, fit)
    return report


def convert(state: Mapping[str, Tensor], tasks: Sequence[TaskSpec]) -> tuple[System, KeyReport]:
    """Return the network with the checkpoint's weights, in eval mode, and the report of its keys.

    The authors feed BGR. The stem's input channels are reversed, so that RGB gives the same result. Raises UserError
    if a tensor of ours stays empty or the checkpoint has parts that our network lacks.
    """
    system = build(SYSTEM, tasks, **_options(state, tasks))
    own = system.state_dict()
    names = {key: [name for name in own_names(key, tasks) if name in own] for key in state}
    left_out = [key for key in state if not names[key] and key.startswith((*NEVER_CALLED, *_HEADS))]
    used = {key: ", ".join(ours) for key, ours in names.items() if ours}
    report = KeyReport(used, left_out, [key for key in state if key not in used and key not in left_out], _PARTS)
    if foreign := [key for key in report.unknown if report.part(key)]:
        raise UserError(f"the checkpoint has {len(foreign)} tensors that UltraUPConvNet lacks ({some(foreign)})")
    values = {name: (key, _as_ours(name, state[key])) for key, ours in names.items() for name in ours}
    fill(system, values, "a complete checkpoint of UltraUPConvNet")
    return system.eval(), report


def _options(state: Mapping[str, Tensor], tasks: Sequence[TaskSpec]) -> dict[str, object]:
    prompts = any(key.startswith("prompt_") for key in state)
    profiles = own_profiles(tasks)
    return {"encoder": "convnext_tiny", "vocabulary": "published", "prompts": prompts, "profiles": profiles}


def _as_ours(name: str, value: Tensor) -> Tensor:
    """Reverse the stem from BGR to RGB, and turn tensors of shape (1,) into scalars."""
    if name == _STEM:
        return value.flip(1)
    return value.squeeze(0) if name.endswith(".scale") else value


def own_names(key: str, tasks: Sequence[TaskSpec]) -> list[str]:
    """Return our names for a published key: several if tasks share a head, none if nothing uses it."""
    masks = [spec.task_id for spec in tasks if spec.kind is TaskKind.SEGMENTATION]
    if key.startswith(NEVER_CALLED):
        return []
    if match := re.fullmatch(r"seg_head\.(seg\.1|out)\.(weight|bias)", key):
        return [f"heads.{t}.{'refine' if match[1] == 'out' else 'classify'}.{match[2]}" for t in masks]
    if match := re.fullmatch(r"(cls_head_[24]cls)\.(weight|bias)", key):
        of_kind = [spec for spec in tasks if spec.kind is TaskKind.CLASSIFICATION]
        return [f"heads.{s.task_id}.classify.{match[2]}" for s in of_kind if s.num_classes == _HEADS[match[1]]]
    own = _encoder_name(key) or _decoder_name(key) or _prompt_name(key)
    return [own] if own else []


def _encoder_name(key: str) -> str | None:
    if match := re.fullmatch(r"backbone\.downsample_layers\.(\d)\.(\d)\.(weight|bias)", key):
        stage, part, leaf = match.groups()
        place = f"stem_{part}" if stage == "0" else f"stages_{stage}.downsample.{part}"
        return f"backbone.backbone.{place}.{leaf}"
    if match := re.fullmatch(r"backbone\.stages\.(\d)\.(\d)\.(?:(\w+)\.(weight|bias)|gamma)", key):
        stage, block, part, leaf = match.groups()
        inner = "gamma" if part is None else f"{_BLOCK.get(part, part)}.{leaf}"
        return f"backbone.backbone.stages_{stage}.blocks.{block}.{inner}"
    if match := re.fullmatch(r"backbone\.norm\.(weight|bias)", key):
        return f"pooling.norm.{match[1]}"
    return None


def _decoder_name(key: str) -> str | None:
    if match := re.fullmatch(r"seg_head\.ppm\.cba(\d)\.(conv|bn)" + _LEAF, key):
        return f"{_DECODER}.pooling.branches.{int(match[1]) - 1}.1.{_CONV[match[2]]}.{match[3]}"
    if match := re.fullmatch(r"seg_head\.ppm\.out\.(conv|bn)" + _LEAF, key):
        return f"{_DECODER}.pooling.fuse.{_CONV[match[1]]}.{match[2]}"
    if match := re.fullmatch(r"seg_head\.fpn\.fpn_(in|out)\.fpn_layer(\d)\.(conv|bn)" + _LEAF, key):
        part = "laterals" if match[1] == "in" else "smooth"
        return f"{_DECODER}.{part}.{int(match[2]) - 1}.{_CONV[match[3]]}.{match[4]}"
    if match := re.fullmatch(r"seg_head\.(fuse|seg\.0)\.(conv|bn)" + _LEAF, key):
        return f"{_DECODER}.{'fuse' if match[1] == 'fuse' else 'project'}.{_CONV[match[2]]}.{match[3]}"
    return None


def _prompt_name(key: str) -> str | None:
    if match := re.fullmatch(r"dec_prompt_mlp\.(weight|bias)", key):
        return f"pooling.added.project.{match[1]}"
    if match := re.fullmatch(r"prompt_proj_layers\.(\d)\.(weight|bias)", key):
        return f"decoder.added.{match[1]}.project.{match[2]}"
    if match := re.fullmatch(r"prompt_scale_seg\.(\d)", key):
        return f"decoder.added.{match[1]}.scale"
    return "pooling.added.scale" if key == "prompt_scale_cls" else None
