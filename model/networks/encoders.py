"""Image encoders: timm feature extractors at strides 4, 8, 16 and 32."""

import timm
from timm.layers import Conv2dSame, LayerNorm2d
from torch import Tensor, nn

from challenge.errors import UserError
from challenge.tasks import nearest

STRIDES = (4, 8, 16, 32)
_PATCH = 16


class SimplePyramid(nn.Module):
    """Four levels out of the last map of a plain ViT, at stride 16 (ViTDet, arXiv 2203.16527, section 3).

    Finer levels come from transposed convolutions, the coarser one from a maximum over 2x2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.up4 = nn.Sequential(
            nn.ConvTranspose2d(channels, channels // 2, 2, stride=2),
            LayerNorm2d(channels // 2),
            nn.GELU(),
            nn.ConvTranspose2d(channels // 2, channels // 4, 2, stride=2),
        )
        self.up8 = nn.ConvTranspose2d(channels, channels // 2, 2, stride=2)
        self.down32 = nn.MaxPool2d(2)
        self.channels = (channels // 4, channels // 2, channels, channels)

    def forward(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """(B, C, S / 16, S / 16) -> maps at strides 4, 8, 16 and 32 with C / 4, C / 2, C and C channels."""
        return self.up4(tokens), self.up8(tokens), tokens, self.down32(tokens)


class Encoder(nn.Module):
    """A timm backbone without its classifier. Channels and strides come from its `feature_info`.

    A plain ViT with patches of 16 pixels gets a `SimplePyramid`. With `same_padding_size`, strided convolutions pad as
    they would for an image of this size (SAME padding).
    """

    def __init__(self, name: str, same_padding_size: int | None = None) -> None:
        super().__init__()
        try:
            probe = timm.create_model(name, features_only=True, pretrained=False)
        except RuntimeError as error:
            raise UserError(f"timm has no feature extractor {name!r}{nearest(name, timm.list_models())}") from error
        reductions = list(probe.feature_info.reduction())
        self.name = name
        self.pyramid: SimplePyramid | None = None
        if set(reductions) == {_PATCH}:
            self.backbone = timm.create_model(
                name, features_only=True, pretrained=False, out_indices=(-1,), dynamic_img_size=True
            )
            self.pyramid = SimplePyramid(self.backbone.feature_info.channels()[-1])
            self.channels: tuple[int, ...] = self.pyramid.channels
            return
        missing = [stride for stride in STRIDES if stride not in reductions]
        if missing:
            raise UserError(
                f"the encoder {name!r} has strides {reductions} but not {missing}; choose a pyramid, or a ViT with "
                "patches of 16 pixels"
            )
        indices = tuple(len(reductions) - 1 - reductions[::-1].index(stride) for stride in STRIDES)
        self.backbone = timm.create_model(name, features_only=True, pretrained=False, out_indices=indices)
        if same_padding_size is not None:
            _fix_same_padding(self.backbone, same_padding_size)
        self.channels = tuple(self.backbone.feature_info.channels())

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, S, S) -> four maps (B, C_i, S / stride_i, S / stride_i), finest first."""
        maps = tuple(self.backbone(images))
        return self.pyramid(maps[-1]) if self.pyramid else maps


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
