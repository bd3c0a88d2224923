"""The interface of every system: named stages, and a path of stages for each task.

Every stage is exported as a graph, so the trained and the frozen network run the same path.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Self

import torch
from torch import Tensor, nn

from challenge.errors import UserError
from challenge.tasks import TaskSpec
from model.networks.encoders import Encoder

IMAGES = "images"
TASK = "task"
OUTPUT = "output"
"""Names of values that every system has: the images, the tasks' numbers, the answer."""
MAP = "map"
"""Name of the map that a box or points are read from, if the last stage of their path gives it too."""

ENCODER, PYRAMID, DECODER = "encoder", "pyramid", "decoder"
"""Names of stages that several systems have; they are the names of the exported graphs too."""

_HEAD = "head."


@dataclass(frozen=True)
class Stage:
    """A module with named inputs and outputs; a path hands values from stage to stage by these names."""

    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def head_stage(task_id: str) -> str:
    """Return the name of the stage that answers a task."""
    return f"{_HEAD}{task_id}"


def is_head_stage(name: str) -> bool:
    """Return whether a stage answers a task."""
    return name.startswith(_HEAD)


class System(nn.Module):
    """A multi-task network. Subclasses fill `stages` and `paths` in their constructor.

    Raw outputs, with S the image size (contract, section 1.4; K, M from the task):

    | kind | shape | meaning |
    |---|---|---|
    | segmentation | (B, K, s, s), s <= S | logits |
    | classification | (B, K) | logits |
    | detection | (B, 5, s, s) | x0, y0, x1, y1 in 0..1 of the image, then the objectness logit |
    | regression | (B, 2M) | x1, y1, x2, y2, ... in 0..1 of the image |

    The last stage of a box or points may also give `MAP`, (B, M, s, s) logits: the softmax of a map says where a point
    is, or which cells speak for the box (M = 1).

    A stage with an input `task` gets each image's task number from `indices` ((B,) int64), so its result depends on
    the task. Stages without this input are shared.

    S must be a multiple of `size_multiple`. For an encoder that is not a pyramid, `timm_name` is the timm model whose
    weights `load_encoder` accepts.
    """

    timm_name: str | None = None
    size_multiple = 32

    def __init__(self, tasks: Sequence[TaskSpec]) -> None:
        super().__init__()
        self.tasks: Mapping[str, TaskSpec] = {spec.task_id: spec for spec in tasks}
        self.stages: dict[str, Stage] = {}
        self.paths: dict[str, tuple[str, ...]] = {}
        self.indices: dict[str, int] = {}

    @property
    def encoder(self) -> nn.Module:
        """The shared encoder, which has its own learning rate."""
        return self.stages[ENCODER].module

    def train(self, mode: bool = True) -> Self:
        """Set the mode of every stage too, because some wrap modules that are registered elsewhere."""
        super().train(mode)
        for stage in self.stages.values():
            stage.module.train(mode)
        return self

    def load_encoder(self, state: Mapping[str, Tensor]) -> None:
        """Fill the whole encoder from the state dict of `timm_name`. Raises UserError if it does not fit."""
        raise UserError(f"{type(self).__name__} cannot load timm's weights; set encoder.weights = 'none'")

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Parameters of the shared encoder; what was built around a pretrained backbone is not among them."""
        encoder = self.encoder
        return list((encoder.backbone if isinstance(encoder, Encoder) else encoder).parameters())

    def other_parameters(self) -> list[nn.Parameter]:
        """All parameters outside the encoder: decoders and heads."""
        encoder = {id(parameter) for parameter in self.encoder_parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in encoder]

    def no_weight_decay(self) -> list[nn.Parameter]:
        """Parameters without weight decay, which would only pull them to zero: prompts, embeddings, scalars, if any."""
        return []

    def prompt_parameters(self) -> list[nn.Parameter]:
        """Parameters that turn prompts into features; a new data set may train only these. None by default."""
        return []

    def auxiliary_loss(self) -> Tensor | None:
        """Return what the last forward pass adds to the task's loss, if anything (the experts' balance loss)."""
        return None

    def forward(self, images: Tensor, task_id: str) -> Tensor:
        """(B, 3, S, S) float32 images, normalised by the weights' mean and std -> the raw output of the table above.

        In training mode a dense head may return its maps instead of positions, as its loss expects.
        """
        return self.answers(images, (task_id,))[task_id]

    def answers(self, images: Tensor, task_ids: Iterable[str]) -> dict[str, Tensor]:
        """Return the raw outputs of several tasks on the same images; the stages that they share run once."""
        return {task_id: values[OUTPUT] for task_id, values in self.values(images, task_ids).items()}

    def supervised(self, images: Tensor, task_ids: Iterable[str]) -> dict[str, tuple[Tensor, ...]]:
        """Return what the loss sees of several tasks on the same images: see `scales`."""
        return self.scales(self.values(images, task_ids))

    def supervised_mixed(self, images: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, ...]]:
        """Return what the loss sees of a batch in which every task has images of its own (B_t, 3, S, S), by task."""
        return self.scales(self.mixed_values(images))

    def scales(self, values: Mapping[str, Mapping[str, Tensor]]) -> dict[str, tuple[Tensor, ...]]:
        """Return by task, from the values on its path, the raw output, and the same at coarser scales if there are any.

        The finest comes first. Coarser ones, (B, K, s, s) logits of masks, are for training alone.
        """
        return {task_id: (own[OUTPUT],) for task_id, own in values.items()}

    def values(self, images: Tensor, task_ids: Iterable[str]) -> dict[str, dict[str, Tensor]]:
        """Return all named values on each task's path, the raw output among them, by task."""
        done: dict[tuple[str, ...], dict[str, Tensor]] = {}
        found = {}
        for task_id in task_ids:
            values = {IMAGES: images}
            if task_id in self.indices:
                values[TASK] = torch.full((len(images),), self.indices[task_id], device=images.device)
            path: tuple[str, ...] = ()
            for name in self.paths[task_id]:
                stage = self.stages[name]
                path = (*path, name, task_id) if TASK in stage.inputs else (*path, name)
                if path not in done:
                    result = stage.module(*(values[key] for key in stage.inputs))
                    results = (result,) if isinstance(result, Tensor) else result
                    done[path] = dict(zip(stage.outputs, results, strict=True))
                values.update(done[path])
            found[task_id] = values
        return found

    def mixed_values(self, images: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """Return all named values on each task's path, by task, if every task has images of its own.

        A stage that several paths have in common runs once, on the images of all their tasks, so that batch norm sees
        the whole batch. Where a stage asks for the task, it gets that of each image.
        """
        order = sorted(images, key=self.paths.__getitem__)  # tasks that share stages stand side by side
        counts = {task_id: len(images[task_id]) for task_id in order}
        values = {IMAGES: torch.cat([images[task_id] for task_id in order])}
        if self.indices:
            numbers = [self.indices[task_id] for task_id in order for _ in range(counts[task_id])]
            values[TASK] = torch.tensor(numbers, device=values[IMAGES].device)
        return self._mixed(values, counts, 0)

    def _mixed(
        self, values: Mapping[str, Tensor], counts: Mapping[str, int], depth: int
    ) -> dict[str, dict[str, Tensor]]:
        """Run the stages from `depth` on for tasks that share all earlier ones; `counts` are the images of each."""
        found: dict[str, dict[str, Tensor]] = {}
        start = 0
        for name, group in groupby(counts, key=lambda task_id: self.paths[task_id][depth]):
            members = {task_id: counts[task_id] for task_id in group}
            stop = start + sum(members.values())
            part = {key: value[start:stop] for key, value in values.items()}
            start, stage = stop, self.stages[name]
            result = stage.module(*(part[key] for key in stage.inputs))
            part.update(zip(stage.outputs, (result,) if isinstance(result, Tensor) else result, strict=True))
            if name == head_stage(next(iter(members))):
                found.update(dict.fromkeys(members, part))
            else:
                found.update(self._mixed(part, members, depth + 1))
        return found
