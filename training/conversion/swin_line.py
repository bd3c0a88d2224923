"""Converts checkpoints of PerceptGuide, UniUSNet and the UUSIC 2025 baseline, which share one Swin-Unet.

Key names: the authors' repositories Zehui-Lin/PerceptGuide, Zehui-Lin/UniUSNet and uusic2025/challenge. The keys say
which network it is, and its sizes. All were trained on BGR images in 0..1.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from challenge.errors import UserError
from challenge.imaging.geometry import Fit
from challenge.tasks import TaskKind, TaskSpec
from model.networks import build
from model.networks.prompts import PERCEPTGUIDE, ULTRAUPCONVNET, Vocabulary
from model.networks.system import System
from training.conversion.checkpoint_files import KeyReport, check_free, fill, some
from training.conversion.shared_heads import choose_tasks, fitting_tasks, own_profiles, write_weights
from training.torch_files import read_state_dict

SYSTEM = "perceptguide"


@dataclass(frozen=True)
class Network:
    """One network of the line. `others` are the tasks of `heads.toml` that its data sets teach."""

    name: str
    form: str
    vocabulary: Vocabulary
    class_counts: tuple[int, ...]
    others: tuple[str, ...]

    @property
    def tasks(self) -> dict[str, TaskSpec]:
        """The tasks that the network can answer, by id."""
        return fitting_tasks(self.vocabulary, self.class_counts, self.others)


_OTHERS = ("cardiac", "kidney", "appendix_2cls", "fatty_liver_2cls")
NETWORKS = {
    "perceptguide": Network(
        "PerceptGuide", "published", PERCEPTGUIDE, (2,), (*_OTHERS, "thyroid_gland", "thyroid_2cls", "carotid_2cls")
    ),
    "uniusnet": Network("UniUSNet", "additive", ULTRAUPCONVNET, (2,), _OTHERS),
    "uusic25": Network(
        "the UUSIC 2025 baseline", "additive", ULTRAUPCONVNET, (2, 4), (*_OTHERS, "breast_luminal_4cls")
    ),
}
"""The three networks, by a short name."""

_PARTS = ("patch_embed.", "layers.", "norm.", "layers_task_seg_", "norm_task_", "layers_task_cls_", "dec_prompt_mlp")
_COMPUTED = ("attn.relative_position_index", "attn_mask")
_STEM = "patch_embed.proj.weight"
_PROMPTS = ("position", "task", "mode", "type")  # "mode" is the input type, "type" the nature
_BLOCK = {
    "norm1": "norm1",
    "norm2": "norm2",
    "attn.qkv": "attention.qkv",
    "attn.proj": "attention.project",
    "attn": "attention",
    "mlp.fc1": "mlp.0",
    "mlp.fc2": "mlp.2",
    **{f"{prompt}_prompt_proj_mlp": f"attention.guide.embed.{i}" for i, prompt in enumerate(_PROMPTS)},
}
_LEAF = {
    "relative_position_bias_table": "bias_table",
    **{f"hyper_param_{prompt}": f"guide.hyper.{i}" for i, prompt in enumerate(_PROMPTS)},
}
_PLACES = (
    (r"patch_embed\.proj", "backbone.embed"),
    (r"patch_embed\.norm", "backbone.embed_norm"),
    (r"norm", "backbone.norm"),
    (r"layers\.(\d)\.res_scale\.reduction", "backbone.merges.{0}.reduce"),
    (r"layers\.(\d)\.res_scale\.norm", "backbone.merges.{0}.norm"),
    (r"layers_task_seg_up\.(\d)(?:\.res_scale)?\.(expand|norm)", "dense_branch.expand.{0}.{1}"),
    (r"layers_task_seg_skip\.(\d)", "dense_branch.join.{before}"),
    (r"norm_task_seg", "dense_branch.norm"),
    (r"layers_task_seg_head\.0\.(expand|norm)", "expansion.{0}"),
    (r"layers_task_cls_up\.(\d)\.res_scale\.linear", "global_branch.reduce.{0}.0"),
    (r"layers_task_cls_up\.(\d)\.res_scale\.norm", "global_branch.reduce.{0}.1"),
    (r"layers_task_cls_skip\.(\d)", "global_branch.join.{before}"),
    (r"norm_task_cls", "global_branch.norm"),
    (r"dec_prompt_mlp", "added.deep"),
    (r"dec_prompt_mlp_cls2", "added.wide"),
    (r"dec_prompt_mlp_seg2_cls3", "added.middle"),
    (r"dec_prompt_mlp_seg3", "added.narrow"),
)
"""Modules outside the blocks. `{before}` is the number less one: theirs count an empty place 0."""

_STAGE = re.compile(r"(layers|layers_task_seg_up|layers_task_cls_up)\.(\d)\.blocks\.(\d+)\.(.+)")
_CLASSIFIER = re.compile(r"layers_task_cls_head(?:\.(\d)|_(\d)cls\.0)")


def convert_file(checkpoint: Path, output: Path, names: Sequence[str] = (), fit: Fit = Fit.CROP) -> KeyReport:
    """Write `checkpoint` as frozen weights for the tasks `names` (all that fit, if empty) to the folder `output`.

    `fit` is how images are brought onto the square grid; the authors crop.

    Raises UserError if the checkpoint cannot be used, a task does not fit, or `output` already holds weights.
    """
    check_free(output)
    state = without_swin(read_state_dict(checkpoint))
    network = network_of(state)
    tasks = choose_tasks(names, network.tasks, network.name)
    system, report = convert(state, tasks)
    about = {"name": SYSTEM, "options": _options(state, network, tasks)}
    write_weights(system, report, about, checkpoint, output, system.size_multiple, fit)
    return report


def convert(state: Mapping[str, Tensor], tasks: Sequence[TaskSpec]) -> tuple[System, KeyReport]:
    """Return the network with the checkpoint's weights, in eval mode, and the report of its keys.

    The first layer's input channels are reversed, so that RGB images give the answers of BGR ones. Raises UserError
    if a tensor of ours stays empty or the checkpoint has parts that our network lacks.
    """
    network = network_of(state)
    system = build(SYSTEM, tasks, **_options(state, network, tasks))
    own = system.state_dict()
    names = {key: [name for name in own_names(key, tasks) if name in own] for key in state}
    left_out = [key for key in state if key.endswith(_COMPUTED) or (not names[key] and _is_head(key))]
    used = {key: ", ".join(ours) for key, ours in names.items() if ours}
    report = KeyReport(used, left_out, [key for key in state if key not in used and key not in left_out], _PARTS)
    if foreign := [key for key in report.unknown if report.part(key)]:
        raise UserError(f"the checkpoint has {len(foreign)} tensors that {network.name} lacks ({some(foreign)})")
    values = {name: (key, _as_ours(key, state[key])) for key, ours in names.items() for name in ours}
    fill(system, values, f"a complete checkpoint of {network.name}")
    return system.eval(), report


def network_of(state: Mapping[str, Tensor]) -> Network:
    """Return which network of the line a state dict is of."""
    if any(key.startswith("layers_task_cls_skip.") for key in state):
        return NETWORKS["perceptguide"]
    classes = {_classes(key) for key in state if _classes(key)}
    return NETWORKS["uusic25" if 4 in classes else "uniusnet"]


def without_swin(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict without the prefix `swin.` that the authors' outer module puts before every key."""
    return {key.removeprefix("swin."): value for key, value in state.items()}


def own_names(key: str, tasks: Sequence[TaskSpec]) -> list[str]:
    """Return our names for a published key: several if tasks share a head, none if nothing uses it."""
    if key == "layers_task_seg_head.1.weight":
        return [f"heads.{spec.task_id}.weight" for spec in tasks if spec.kind is TaskKind.SEGMENTATION]
    if classes := _classes(key):
        leaf = key.rpartition(".")[2]
        fit = [s for s in tasks if s.kind is TaskKind.CLASSIFICATION and s.num_classes == classes]
        return [f"heads.{spec.task_id}.classify.{leaf}" for spec in fit]
    own = _block_name(key) or _place_name(key)
    return [own] if own else []


def _classes(key: str) -> int:
    """Return how many classes a classifier's key is for; 0 for other keys."""
    module, _, _ = key.rpartition(".")
    match = _CLASSIFIER.fullmatch(module)
    if not match:
        return 0
    return int(match[2]) if match[2] else {"0": 2, "1": 4}.get(match[1], 0)


def _is_head(key: str) -> bool:
    return key == "layers_task_seg_head.1.weight" or bool(_classes(key))


def _block_name(key: str) -> str | None:
    match = _STAGE.fullmatch(key)
    if not match:
        return None
    place, stage, block, rest = match.groups()
    module, _, leaf = rest.rpartition(".")
    if module not in _BLOCK:
        return None
    branch, first = {"layers": ("backbone", 0), "layers_task_seg_up": ("dense_branch", 1)}.get(
        place, ("global_branch", 0)
    )
    return f"{branch}.stages.{int(stage) - first}.{block}.{_BLOCK[module]}.{_LEAF.get(leaf, leaf)}"


def _place_name(key: str) -> str | None:
    module, _, leaf = key.rpartition(".")
    for pattern, own in _PLACES:
        if match := re.fullmatch(pattern, module):
            before = int(match[1]) - 1 if "{before}" in own else 0
            return f"{own.format(*match.groups(), before=before)}.{leaf}"
    return None


def _as_ours(key: str, value: Tensor) -> Tensor:
    """Reverse the stem from BGR to RGB, and drop the empty axes of the hyper vectors: (1, heads, d, 1)."""
    if key == _STEM:
        return value.flip(1)
    return value[0, :, :, 0] if ".hyper_param_" in key and value.ndim == 4 else value


def _options(state: Mapping[str, Tensor], network: Network, tasks: Sequence[TaskSpec]) -> dict[str, Any]:
    """Return the system's options as the tensors' shapes give them."""
    tables = [state.get(f"layers.{i}.blocks.0.attn.relative_position_bias_table") for i in range(4)]
    shapes = [table.shape for table in tables if table is not None and table.ndim == 2]
    if _STEM not in state or len(shapes) < len(tables):
        raise UserError(
            "the checkpoint has no Swin encoder of four stages (patch_embed.*, layers.*), so it is of none of "
            f"{', '.join(network.name for network in NETWORKS.values())}; choose another file"
        )
    blocks = [len({key.split(".")[3] for key in state if key.startswith(f"layers.{i}.blocks.")}) for i in range(4)]
    return {
        "channels": len(state[_STEM]),
        "depths": blocks,
        "heads": [heads for _, heads in shapes],
        "window": (math.isqrt(shapes[0][0]) + 1) // 2,
        "prompts": any(key.startswith("dec_prompt_mlp") or ".hyper_param_" in key for key in state),
        "form": network.form,
        "vocabulary": "published",
        "profiles": own_profiles(tasks),
    }
