"""UltraUPConvNet (arXiv 2509.11108): ConvNeXt-T and UPerNet, with four one-hot prompts that describe image and task.

The prompts are added to the pyramid's four levels and to the pooled vector, each time scaled by a learned number. In
the published configuration (one segmentation of 2 classes, one classification of 2 and one of 4) it has
31,118,995 parameters with prompts and 31,083,662 without. The published 60,477,123 / 60,441,790 also count a second
ConvNeXt-T that is never called (28,589,128) and an unused 1000-way head (769,000).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from challenge.tasks import TaskKind, TaskSpec
from model.networks.decoders.upernet import RefinedSegmentationHead, UPerNet
from model.networks.encoders import Encoder
from model.networks.heads.pooled import make_head
from model.networks.prompts import ULTRAUPCONVNET, PromptTable
from model.networks.system import DECODER, ENCODER, IMAGES, OUTPUT, TASK, Stage, System, head_stage

_FEATURES = ("f4", "f8", "f16", "f32")


class ScaledPrompt(nn.Module):
    """Adds a linear map of the prompts to features of C channels, times a learned scalar.

    The published scalar starts at 0. Then every prompt gives the same output, and the first step changes only the
    scalar, not the linear map.
    """

    def __init__(self, prompts: PromptTable, channels: int, scale: float) -> None:
        super().__init__()
        self.project = nn.Linear(prompts.width, channels)
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, features: Tensor, codes: Tensor) -> Tensor:
        """(B, C, h, w) and (B, width) prompts -> (B, C, h, w)."""
        added: Tensor = features + self.scale * self.project(codes)[:, :, None, None]
        return added


class PromptedUPerNet(nn.Module):
    """UPerNet with the prompts added to each of its four levels."""

    def __init__(
        self, encoder_channels: Sequence[int], channels: int, prompts: PromptTable | None, scale: float, norm: str
    ) -> None:
        super().__init__()
        self.decoder = UPerNet(encoder_channels, channels, norm)
        self.prompts = prompts
        self.added = nn.ModuleList()
        if prompts is not None:
            self.added.extend(ScaledPrompt(prompts, c, scale) for c in encoder_channels)

    def forward(self, f4: Tensor, f8: Tensor, f16: Tensor, f32: Tensor, task: Tensor | None = None) -> Tensor:
        """Encoder maps, finest first, and (B,) task indices -> (B, channels, S / 4, S / 4)."""
        features: tuple[Tensor, ...] = (f4, f8, f16, f32)
        if self.prompts is not None:
            codes = self.prompts(task)
            features = tuple(add(feature, codes) for add, feature in zip(self.added, features, strict=True))
        decoded: Tensor = self.decoder(*features)
        return decoded


class PromptedPooling(nn.Module):
    """Layer norm of the globally averaged deepest map, plus the prompts."""

    def __init__(self, channels: int, prompts: PromptTable | None, scale: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.prompts = prompts
        self.added = None if prompts is None else ScaledPrompt(prompts, channels, scale)

    def forward(self, f32: Tensor, task: Tensor | None = None) -> Tensor:
        """(B, C, h, w) and (B,) task indices -> (B, C, 1, 1): a map of one cell, because heads expect maps."""
        pooled: Tensor = self.norm(f32.mean(dim=(2, 3)))[:, :, None, None]
        if self.prompts is not None and self.added is not None:
            pooled = self.added(pooled, self.prompts(task))
        return pooled


class UltraUPConvNet(System):
    """Prompted UPerNet on any timm encoder that has strides 4, 8, 16 and 32.

    `vocabulary`: `challenge` (the published prompts, then the challenge's positions and kinds) or `published` (15
    entries, only segmentation and classification). `prompt_scale` is the scalars' start. `norm` of the decoder: `batch`
    as published, or `group`, which does not mix the statistics of batches of different tasks. `profiles` describes your
    own tasks (see `TaskProfile`).
    """

    def __init__(
        self,
        tasks: Sequence[TaskSpec],
        encoder: str = "convnext_tiny",
        channels: int = 256,
        prompts: bool = True,
        prompt_scale: float = 0.0,
        norm: str = "batch",
        vocabulary: str = "challenge",
        profiles: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        super().__init__(tasks)
        table = PromptTable(tasks, ULTRAUPCONVNET, vocabulary, profiles) if prompts else None
        task_input = (TASK,) if prompts else ()
        if prompts:
            self.indices = {spec.task_id: index for index, spec in enumerate(tasks)}
        self.backbone = Encoder(encoder)
        deep_channels = self.backbone.channels[-1]
        self.decoder = PromptedUPerNet(self.backbone.channels, channels, table, prompt_scale, norm)
        self.pooling = PromptedPooling(deep_channels, table, prompt_scale)
        self.heads = nn.ModuleDict()
        self.stages[ENCODER] = Stage(self.backbone, (IMAGES,), _FEATURES)
        self.stages[DECODER] = Stage(self.decoder, (*_FEATURES, *task_input), ("dense",))
        self.stages["pooling"] = Stage(self.pooling, (_FEATURES[-1], *task_input), ("pooled",))
        for spec in tasks:
            name = head_stage(spec.task_id)
            if spec.kind is TaskKind.SEGMENTATION:
                head: nn.Module = RefinedSegmentationHead(channels, spec.num_classes)
            else:
                head = make_head(spec, deep_channels, channels)
            self.heads[spec.task_id] = head
            self.stages[name] = Stage(head, ("dense",) if spec.kind.is_dense else ("pooled",), (OUTPUT,))
            self.paths[spec.task_id] = (ENCODER, DECODER if spec.kind.is_dense else "pooling", name)

    def prompt_parameters(self) -> list[nn.Parameter]:
        """The linear maps of the prompts and their scalars (UniUSNet, arXiv 2406.01154, adapts only these)."""
        added = [module for module in self.modules() if isinstance(module, ScaledPrompt)]
        return [parameter for module in added for parameter in module.parameters()]

    def no_weight_decay(self) -> list[nn.Parameter]:
        """The scalars of the prompts."""
        return [module.scale for module in self.modules() if isinstance(module, ScaledPrompt)]
