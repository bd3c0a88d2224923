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
from model.networks.heads.dense import Adapter, BoxHead, HeatmapHead, MapHead, WithMap
from model.networks.heads.ellipse import EllipseHead
from model.networks.heads.mask_box import MASK, MaskBoxHead, SharedMask
from model.networks.heads.progression import ProgressionHead
from model.networks.system import ENCODER, IMAGES, MAP, OUTPUT, PYRAMID, Stage, System, head_stage

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
    task whose mask of the same image their box uses. `progression_masks` gives keypoint tasks the segmentation task
    whose symphysis (class 1) and fetal head (class 2) show the points of the angle of progression;
    `progression_share` is their weight against the heatmaps.
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
        progression_masks: Mapping[str, str] | None = None,
        progression_share: float = 0.5,
    ) -> None:
        super().__init__(tasks)
        self.backbone = Encoder(encoder)
        self.pyramid = FPN(self.backbone.channels, pyramid_channels, channels, dropout)
        self.heads, self.adapters = nn.ModuleDict(), nn.ModuleDict()
        self.stages[ENCODER] = Stage(self.backbone, (IMAGES,), _FEATURES)
        self.stages[PYRAMID] = Stage(self.pyramid, _FEATURES, ("dense",))
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
            name = head_stage(spec.task_id)
            is_dense = spec.kind is not TaskKind.CLASSIFICATION
            source = ("dense",) if is_dense else _CLASS_FEATURES
            self.heads[spec.task_id] = head
            if adapter and is_dense:
                self.adapters[spec.task_id] = Adapter(channels, adapter)
            outputs = (OUTPUT, MAP) if isinstance(head, HeatmapHead | BoxHead) else (OUTPUT,)
            self.stages[name] = Stage(self._head(spec.task_id), source, outputs)
            self.paths[spec.task_id] = (ENCODER, PYRAMID, name) if is_dense else (ENCODER, name)
        if box_masks and not one_box:
            raise UserError("box_masks needs one_box: the best cell of a grid cannot use a mask; set one_box = true")
        for box, mask in (box_masks or {}).items():
            if self._can_join("box_masks", box, TaskKind.DETECTION, mask):
                self._join(box, mask, MaskBoxHead(self._head(box)))
        for points, mask in (progression_masks or {}).items():
            if self._can_join("progression_masks", points, TaskKind.REGRESSION, mask):
                if (self.tasks[points].num_classes, self.tasks[mask].num_classes) != (3, 3):
                    raise UserError(f"progression_masks: {points} must have 3 points and {mask} 3 classes")
                self._join(points, mask, ProgressionHead(self._head(points), progression_share))

    def _can_join(self, option: str, task_id: str, kind: TaskKind, mask: str) -> bool:
        """Return whether the network has both tasks. Raises UserError if they are not of the kinds that fit."""
        if not {task_id, mask} <= set(self.tasks):
            return False
        if self.tasks[task_id].kind is not kind or self.tasks[mask].kind is not TaskKind.SEGMENTATION:
            raise UserError(f"{option}: {task_id} must be a {kind.lower()} task and {mask} a segmentation task")
        return True

    def _join(self, task_id: str, mask: str, head: nn.Module) -> None:
        """Route the path of a task through the head of the task `mask`; `head` takes the dense map and the mask."""
        source, name = head_stage(mask), head_stage(task_id)
        self.stages[source] = Stage(SharedMask(self._head(mask)), ("dense",), (OUTPUT, MASK))
        self.stages[name] = Stage(head, ("dense", MASK), (OUTPUT, MAP))
        self.paths[task_id] = (*self.paths[mask], name)

    def _head(self, task_id: str) -> nn.Module:
        """Return the task's head, with its map if it reads one, and its adapter in front if it has one."""
        head = self.heads[task_id]
        if isinstance(head, HeatmapHead | BoxHead):
            head = WithMap(head)
        return nn.Sequential(self.adapters[task_id], head) if task_id in self.adapters else head
