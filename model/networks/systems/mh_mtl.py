"""MH-MTL, the official FMC_UIA 2026 baseline (arXiv 2602.01055): shared encoder, FPN, one head per task.

Dense tasks use the pyramid's map, global ones the encoder's deepest map. With EfficientNet-B4 and the 27 subtasks
it has 19,461,676 parameters. The published 20,268,076 include 806,400 of a classification tail that is never used.
"""

from collections.abc import Sequence

from torch import nn

from challenge.tasks import TaskSpec
from model.networks.decoders.fpn import FPN
from model.networks.encoders import Encoder
from model.networks.heads.pooled import make_head
from model.networks.system import ENCODER, IMAGES, OUTPUT, PYRAMID, Stage, System, head_stage

_FEATURES = ("f4", "f8", "f16", "f32")


class MHMTL(System):
    """Multi-head multi-task network on any timm encoder that has strides 4, 8, 16 and 32.

    `same_padding_size`: see `Encoder`; 380 for the official baseline, whose B4 pads 256x256 images as if they were
    380x380.
    """

    def __init__(
        self,
        tasks: Sequence[TaskSpec],
        encoder: str = "tf_efficientnet_b4",
        pyramid_channels: int = 256,
        segmentation_channels: int = 128,
        dropout: float = 0.2,
        same_padding_size: int | None = None,
    ) -> None:
        super().__init__(tasks)
        backbone = Encoder(encoder, same_padding_size)
        pyramid = FPN(backbone.channels, pyramid_channels, segmentation_channels, dropout)
        self.backbone = backbone
        self.pyramid = pyramid
        self.heads = nn.ModuleDict()
        self.stages[ENCODER] = Stage(backbone, (IMAGES,), _FEATURES)
        self.stages[PYRAMID] = Stage(pyramid, _FEATURES, ("dense",))
        for spec in tasks:
            head = make_head(spec, backbone.channels[-1], pyramid.channels, dropout)
            name = head_stage(spec.task_id)
            self.heads[spec.task_id] = head
            self.stages[name] = Stage(head, ("dense",) if spec.kind.is_dense else _FEATURES[-1:], (OUTPUT,))
            self.paths[spec.task_id] = (ENCODER, PYRAMID, name) if spec.kind.is_dense else (ENCODER, name)
