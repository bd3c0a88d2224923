"""Atlas, the default: dense heads read masks, boxes and keypoints from one dense map of the image.

Encoder and pyramid are the official baseline's (arXiv 2602.01055). Dense heads work on maps at stride 4, so a position
is never regressed from a pooled vector. Classes are read from several levels of the encoder.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from challenge.errors import UserError
from challenge.tasks import TaskKind, TaskSpec
from model.networks.decoders.fpn import FPN
from model.networks.encoders import Encoder
from model.networks.heads.dense import Adapter, BoxHead, HeatmapHead, MapHead
from model.networks.heads.ellipse import EllipseHead
from model.networks.heads.mask_box import MASK, MaskBoxHead, SharedMask
from model.networks.system import IMAGES, OUTPUT, Stage, System

_FEATURES = ("f4", "f8", "f16", "f32")
_CLASS_FEATURES = _FEATURES[1:]


class LevelsHead(nn.Module):
    """Mean of each level, layer norm over all of them, dropout, linear layer."""

    def __init__(self, channels: Sequence[int], num_classes: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(sum(channels))
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(sum(channels), num_classes)

    def forward(self, *levels: Tensor) -> Tensor:
        """Maps (B, C_i, s_i, s_i) -> (B, K) logits."""
        pooled = torch.cat([level.mean(dim=(2, 3)) for level in levels], dim=1)
        logits: Tensor = self.classify(self.dropout(self.norm(pooled)))
        return logits


class Atlas(System):
    """Masks are logits at stride 4, resized to native pixels.

    `one_box` and `reach`: see `BoxHead` and `HeatmapHead`. `adapter`: channels of the `Adapter` before every dense
    head, 0 for none. `ellipses` names keypoint tasks whose four points are the ends of an ellipse's axes, with the
    usual width by height of their images; other tasks get heatmaps. `box_masks` gives detection tasks the segmentation
    task whose mask of the same image their box uses.
    """

    def __init__(
        self,
        tasks: Sequence[TaskSpec],
        encoder: str = "tf_efficientnet_lite0",
        pyramid_channels: int = 128,
        channels: int = 64,
        dropout: float = 0.1,
        one_box: bool = True,
        reach: int = 0,
        adapter: int = 0,
        ellipses: Mapping[str, float] | None = None,
        box_masks: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(tasks)
        self.backbone = Encoder(encoder)
        self.pyramid = FPN(self.backbone.channels, pyramid_channels, channels, dropout)
        self.heads, self.adapters = nn.ModuleDict(), nn.ModuleDict()
        self.stages["encoder"] = Stage(self.backbone, (IMAGES,), _FEATURES)
        self.stages["pyramid"] = Stage(self.pyramid, _FEATURES, ("dense",))
        for spec in tasks:
            match spec.kind:
                case TaskKind.SEGMENTATION:
                    head: nn.Module = MapHead(channels, spec.num_classes, depth=1)
                case TaskKind.CLASSIFICATION:
                    head = LevelsHead(self.backbone.channels[1:], spec.num_classes, dropout)
                case TaskKind.DETECTION:
                    head = BoxHead(channels, one_box)
                case TaskKind.REGRESSION if ellipses and spec.task_id in ellipses:
                    if spec.num_classes != 4:
                        raise UserError(f"ellipses: {spec.task_id} has {spec.num_classes} points; an ellipse has 4")
                    head = EllipseHead(channels, ellipses[spec.task_id])
                case TaskKind.REGRESSION:
                    head = HeatmapHead(channels, spec.num_classes, reach)
            name = f"head.{spec.task_id}"
            is_dense = spec.kind is not TaskKind.CLASSIFICATION
            source = ("dense",) if is_dense else _CLASS_FEATURES
            self.heads[spec.task_id] = head
            if adapter and is_dense:
                self.adapters[spec.task_id] = Adapter(channels, adapter)
            self.stages[name] = Stage(self._head(spec.task_id), source, (OUTPUT,))
            self.paths[spec.task_id] = ("encoder", "pyramid", name) if is_dense else ("encoder", name)
        for box, mask in (box_masks or {}).items():
            self._join(box, mask, one_box)

    def _join(self, box: str, mask: str, one_box: bool) -> None:
        """Route the path of the task `box` through the head of the task `mask`, if the network has both."""
        if not {box, mask} <= set(self.tasks):
            return
        if self.tasks[box].kind is not TaskKind.DETECTION or self.tasks[mask].kind is not TaskKind.SEGMENTATION:
            raise UserError(f"box_masks: {box} must be a detection task and {mask} a segmentation task")
        if not one_box:
            raise UserError("box_masks needs one_box: the best cell of a grid cannot use a mask; set one_box = true")
        source, name = f"head.{mask}", f"head.{box}"
        self.stages[source] = Stage(SharedMask(self._head(mask)), ("dense",), (OUTPUT, MASK))
        self.stages[name] = Stage(MaskBoxHead(self._head(box)), ("dense", MASK), (OUTPUT,))
        self.paths[box] = (*self.paths[mask], name)

    def _head(self, task_id: str) -> nn.Module:
        """Return the task's head, with its adapter in front if it has one."""
        head = self.heads[task_id]
        return nn.Sequential(self.adapters[task_id], head) if task_id in self.adapters else head
