"""A trained system -> ONNX graphs, one per stage, and `weights.json`."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from challenge.imaging.geometry import Fit
from challenge.imaging.resampling import Resampling
from model.frozen.metadata import Graph, TaskMetadata, WeightsMetadata, write_metadata
from model.frozen.outputs.postprocess import Postprocess, Postprocessing
from model.networks.system import IMAGES, TASK, Stage, System
from training.export.folding import fold_padding
from training.export.rearranging import rearranged

logger = logging.getLogger(__name__)

OPSET = 18
_BATCH = 2  # a batch of one would let the exporter fix the axis


@dataclass(frozen=True)
class ExportFacts:
    """What the network itself does not know and `weights.json` records. `trained_on` etc. are by task id."""

    name: str
    system: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int = 256
    resampling: Resampling = Resampling.ANTIALIASED
    fit: Fit = Fit.STRETCH
    tidy_coordinates: bool = True
    trained_on: Mapping[str, str] = field(default_factory=dict)
    fallback: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    precisions: tuple[str, ...] = ("float32",)
    refinements: Mapping[str, Postprocessing] = field(default_factory=dict)
    default_postprocess: Postprocess = Postprocess.NONE
    extra: Mapping[str, Any] = field(default_factory=dict)


class FromPixels(nn.Module):
    """The first stage as the container feeds it: (B, S, S, 3) uint8 RGB in, normalised inside the graph."""

    def __init__(self, stage: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.stage = stage
        self.mean = nn.Buffer(torch.tensor(mean).view(1, -1, 1, 1))
        self.std = nn.Buffer(torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Any:
        """Normalise and pass on."""
        pixels = images.permute(0, 3, 1, 2).float()
        return self.stage((pixels / 255 - self.mean) / self.std)


def export(network: System, facts: ExportFacts, output: Path) -> WeightsMetadata:
    """Write every stage of `network` as `output/**.onnx`, and `weights.json`; return what was written.

    Tasks without an entry in `facts.trained_on` are marked to answer with the prior.
    """
    network = network.cpu().eval().float().to(memory_format=torch.contiguous_format)
    graphs: dict[str, Graph] = {}
    images = torch.randint(0, 256, (_BATCH, facts.image_size, facts.image_size, 3), dtype=torch.uint8)
    start = {IMAGES: images, TASK: torch.zeros(_BATCH, dtype=torch.int64)}
    values: dict[tuple[str, ...], dict[str, Tensor]] = {(): start}
    with torch.no_grad():
        for path in network.paths.values():
            for length, name in enumerate(path):
                before, after = path[:length], path[: length + 1]
                if after in values:
                    continue
                stage = network.stages[name]
                module = rearranged(stage.module)
                if IMAGES in stage.inputs:
                    module = FromPixels(module, facts.mean, facts.std).eval()
                inputs = tuple(values[before][key] for key in stage.inputs)
                result = module(*inputs)
                outputs = (result,) if isinstance(result, Tensor) else result
                values[after] = values[before] | dict(zip(stage.outputs, outputs, strict=True))
                if name not in graphs:
                    graphs[name] = _export_stage(module, stage, inputs, name, output)
    tasks = {}
    for task_id, spec in network.tasks.items():
        trained_on = facts.trained_on.get(task_id)
        tasks[task_id] = TaskMetadata(
            spec=spec,
            path=network.paths[task_id],
            answers="network" if trained_on else "prior",
            trained_on=trained_on,
            index=network.indices.get(task_id),
            class_names=facts.class_names.get(task_id, ()),
            scores=facts.scores.get(task_id, {}),
            fallback=facts.fallback.get(task_id),
            postprocessing=facts.refinements.get(task_id, Postprocessing()),
        )
    written = WeightsMetadata(
        name=facts.name,
        system=facts.system,
        opset=OPSET,
        image_size=facts.image_size,
        mean=facts.mean,
        std=facts.std,
        resampling=facts.resampling,
        fit=facts.fit,
        tidy_coordinates=facts.tidy_coordinates,
        graphs=graphs,
        tasks=tasks,
        precisions=facts.precisions,
        default_postprocess=facts.default_postprocess,
        extra=facts.extra,
    )
    write_metadata(written, output)
    logger.info("%d graphs for %d tasks", len(graphs), len(tasks))
    return written


def _export_stage(module: nn.Module, stage: Stage, inputs: tuple[Tensor, ...], name: str, output: Path) -> Graph:
    folder, _, leaf = name.rpartition(".")
    file = f"{folder}s/{leaf}.onnx" if folder else f"{leaf}.onnx"
    path = output / file
    path.parent.mkdir(parents=True, exist_ok=True)
    names = (*stage.inputs, *stage.outputs)
    torch.onnx.export(
        module,
        inputs,
        str(path),
        input_names=list(stage.inputs),
        output_names=list(stage.outputs),
        dynamic_axes={key: {0: "batch"} for key in names},
        opset_version=OPSET,
        dynamo=False,
    )
    fold_padding(path, {key: value.numpy() for key, value in zip(stage.inputs, inputs, strict=True)})
    onnx.checker.check_model(str(path))
    return Graph(file, hashlib.sha256(path.read_bytes()).hexdigest(), stage.inputs, stage.outputs)
