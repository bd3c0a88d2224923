"""Image encoders: timm feature extractors at strides 4, 8, 16 and 32."""

import timm
from timm.layers import Conv2dSame
from torch import Tensor, nn

from challenge.errors import UserError
from challenge.tasks import nearest

STRIDES = (4, 8, 16, 32)


class Encoder(nn.Module):
    """A timm backbone without its classifier. Channels and strides come from its `feature_info`.

    With `same_padding_size`, strided convolutions pad as they would for an image of this size (SAME padding).
    """

    def __init__(self, name: str, same_padding_size: int | None = None) -> None:
        super().__init__()
        try:
            probe = timm.create_model(name, features_only=True, pretrained=False)
        except RuntimeError as error:
            raise UserError(f"timm has no feature extractor {name!r}{nearest(name, timm.list_models())}") from error
        reductions = list(probe.feature_info.reduction())
        missing = [stride for stride in STRIDES if stride not in reductions]
        if missing:
            raise UserError(f"the encoder {name!r} has strides {reductions} but not {missing}; choose a pyramid")
        indices = tuple(len(reductions) - 1 - reductions[::-1].index(stride) for stride in STRIDES)
        self.name = name
        self.backbone = timm.create_model(name, features_only=True, pretrained=False, out_indices=indices)
        if same_padding_size is not None:
            _fix_same_padding(self.backbone, same_padding_size)
        self.channels: tuple[int, ...] = tuple(self.backbone.feature_info.channels())

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, S, S) -> four maps (B, C_i, S / stride_i, S / stride_i), finest first."""
        return tuple(self.backbone(images))


def _fix_same_padding(backbone: nn.Module, size: int) -> None:
    """Make the strided convolutions pad as they would for an image of `size`, whatever the input's size.

    For an odd map, SAME padding at stride 2 adds one row more and is symmetric. Image sizes are multiples of 32, so
    only the convolutions that would get an odd map at `size` differ.
    """
    for name, conv in list(backbone.named_modules()):  # in the order of execution
        if not isinstance(conv, Conv2dSame):
            continue
        if size % 2:
            fixed = nn.Conv2d(
                conv.in_channels,
                conv.out_channels,
                conv.kernel_size,
                conv.stride,
                padding=conv.kernel_size[0] // 2,
                groups=conv.groups,
                bias=conv.bias is not None,
            )
            fixed.load_state_dict(conv.state_dict())
            backbone.set_submodule(name, fixed)
        size = -(-size // 2)
