"""Converts the official baseline's checkpoint to our MH-MTL weights, which give the same answers."""

import logging
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from challenge.errors import UserError
from challenge.imaging.resampling import Resampling
from model.networks import build
from model.networks.system import System
from training.conversion.checkpoint_files import TRAINED_ON, KeyReport, check_free, fill, some, source_of, write_report
from training.conversion.official_names import ENCODER, HEADS, PYRAMID, TAIL, head_layouts, own_names, task_of
from training.export.graphs import ExportFacts, export
from training.torch_files import read_state_dict

logger = logging.getLogger(__name__)

SYSTEM = "mh_mtl"
# segmentation-models-pytorch fixes the padding of EfficientNet-B4 for the 380x380 images that it was designed for.
OPTIONS = {"encoder": "tf_efficientnet_b4", "same_padding_size": 380}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_PARTS = (ENCODER, PYRAMID, HEADS)


def convert_file(checkpoint: Path, output: Path) -> KeyReport:
    """Write `checkpoint` as frozen weights, with `conversion.json` beside them, to the folder `output`.

    Raises UserError if the checkpoint cannot be used or `output` already holds weights.
    """
    check_free(output)
    system, report = convert(read_state_dict(checkpoint))
    source = source_of(checkpoint)
    facts = ExportFacts(
        name=checkpoint.stem,
        system=SYSTEM,
        mean=MEAN,
        std=STD,
        resampling=Resampling.OPENCV,
        tidy_coordinates=False,
        trained_on=dict.fromkeys(system.tasks, TRAINED_ON),
        extra={"converted_from": source},
    )
    export(system, facts, output)
    write_report(report, system, source, {"name": SYSTEM, "options": OPTIONS}, output)
    return report


def convert(state: Mapping[str, Tensor]) -> tuple[System, KeyReport]:
    """Return the network with the checkpoint's weights, in eval mode, and the report of its keys.

    Raises UserError if the tasks contradict the catalogue, if a tensor of ours stays empty, or if the checkpoint's
    network has parts that ours lacks (its answers would differ).
    """
    layouts = head_layouts(state)
    system = build(SYSTEM, [task_of(task_id, layout, state) for task_id, layout in layouts.items()], **OPTIONS)
    names = own_names(state, layouts, system.encoder.get_submodule("backbone"))
    report = _report(state, names, system.state_dict())
    for key in report.unknown:
        logger.warning("unknown key, not used: %s", key)
    values = {own: (key, state[key]) for key, own in report.used.items()}
    fill(system, values, "a complete checkpoint of the official baseline (EfficientNet-B4)")
    return system.eval(), report


def _report(state: Mapping[str, Tensor], names: Mapping[str, str], own: Mapping[str, Tensor]) -> KeyReport:
    used = {key: name for key, name in names.items() if name in own}
    left_out = [key for key in state if key.startswith(TAIL)]
    unknown = [key for key in state if key not in used and not key.startswith(TAIL)]
    report = KeyReport(used, left_out, unknown, _PARTS)
    if foreign := [key for key in unknown if report.part(key)]:
        raise UserError(
            f"the checkpoint's network has {len(foreign)} tensors that the official baseline (EfficientNet-B4, FPN) "
            f"lacks ({some(foreign)}), so its answers could not be reproduced"
        )
    return report
