"""The interface of every system: named stages, and the path of stages that each task takes.

The stages are what is exported as separate graphs, so the network in training and the frozen one run the same path.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from challenge.tasks import TaskSpec

IMAGES = "images"
TASK = "task"
OUTPUT = "output"


@dataclass(frozen=True)
class Stage:
    """A module with named inputs and outputs; a path hands values from stage to stage by these names."""

    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class System(nn.Module):
    """A multi-task network. Subclasses fill `stages` and `paths` in their constructor.

    Raw outputs, with S the image size (contract, section 1.4; K, M from the task):

    | kind | shape | meaning |
    |---|---|---|
    | segmentation | (B, K, s, s), s <= S | logits |
    | classification | (B, K) | logits |
    | detection | (B, 5, s, s) | x0, y0, x1, y1 in 0..1 of the image, then the objectness logit |
    | regression | (B, 2M) | x1, y1, x2, y2, ... in 0..1 of the image |

    A stage with an input `task` gets, for every image, the number that `indices` has for its task ((B,) int64), so its
    result depends on the task. Stages without it are shared.

    `exportable`: every stage can be written as ONNX. `promptable`: changing the task alone changes the output.
    `can_swap_encoder`: `encoder=` takes any timm backbone with strides 4, 8, 16 and 32. S must be a multiple of
    `size_multiple`.
    """

    exportable = True
    promptable = False
    can_swap_encoder = False
    size_multiple = 32

    def __init__(self, tasks: Sequence[TaskSpec]) -> None:
        super().__init__()
        self.tasks: Mapping[str, TaskSpec] = {spec.task_id: spec for spec in tasks}
        self.stages: dict[str, Stage] = {}
        self.paths: dict[str, tuple[str, ...]] = {}
        self.indices: dict[str, int] = {}

    @property
    def encoder(self) -> nn.Module:
        """The shared encoder, which has a learning rate of its own."""
        return self.stages["encoder"].module

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Parameters of the shared encoder."""
        return list(self.encoder.parameters())

    def other_parameters(self) -> list[nn.Parameter]:
        """Every parameter that is not the encoder's: decoders and heads."""
        encoder = {id(parameter) for parameter in self.encoder_parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in encoder]

    def auxiliary_loss(self) -> Tensor | None:
        """Return what the last forward pass adds to the task's loss, if anything (a balance of experts)."""
        return None

    def forward(self, images: Tensor, task_id: str) -> Tensor:
        """(B, 3, S, S) float32 images, normalised by the weights' mean and std -> the raw output of the table above."""
        values = {IMAGES: images}
        if task_id in self.indices:
            values[TASK] = torch.full((len(images),), self.indices[task_id], dtype=torch.int64, device=images.device)
        for name in self.paths[task_id]:
            stage = self.stages[name]
            result = stage.module(*(values[key] for key in stage.inputs))
            values.update(zip(stage.outputs, (result,) if isinstance(result, Tensor) else result, strict=True))
        return values[OUTPUT]
