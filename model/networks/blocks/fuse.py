"""The universal prompt of UniSeg (arXiv 2304.03493): one learned map per task, fused with the deepest features."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def he_start(module: nn.Module) -> None:
    """Start a convolution with He's normal weights for LeakyReLU 0.01, as nnU-Net does; leave other modules alone."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(module.weight, a=0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def conv_norm(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution with bias, instance norm, LeakyReLU 0.01: the block of nnU-Net, in 2D."""
    conv = nn.Conv2d(channels_in, channels_out, 3, stride, 1)
    he_start(conv)
    return nn.Sequential(conv, nn.InstanceNorm2d(channels_out, affine=True), nn.LeakyReLU(0.01, inplace=True))


class UniversalPrompt(nn.Module):
    """Learned prompt (1, T, grid, grid) and FUSE: three blocks from C + T channels to one map per task.

    The last block ends in an instance norm, as published. So the image decides the pattern of a task's map, but not its
    level. `last_norm=False` leaves this norm out.
    """

    def __init__(self, channels: int, num_tasks: int, grid: int = 8, last_norm: bool = True) -> None:
        super().__init__()
        hidden = (channels + num_tasks) // 4
        self.prompt = nn.Parameter(torch.randn(1, num_tasks, grid, grid))
        self.fuse = nn.Sequential(
            conv_norm(channels + num_tasks, hidden), conv_norm(hidden, hidden), conv_norm(hidden, num_tasks)
        )
        if not last_norm:
            self.fuse[-1][1] = nn.Identity()  # type: ignore[operator]

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C + T, h, w): the features, then the map of every task."""
        prompt: Tensor = self.prompt
        if prompt.shape[-2:] != features.shape[-2:]:
            prompt = F.interpolate(prompt, size=features.shape[-2:], mode="bilinear", align_corners=False)
        maps = self.fuse(torch.cat([features, prompt.expand(features.shape[0], -1, -1, -1)], dim=1))
        return torch.cat([features, maps], dim=1)


def features_and_own_map(joined: Tensor, channels: int, task: Tensor) -> Tensor:
    """Keep the features and, of the task maps after them, only each image's own.

    (B, C + T, h, w) and (B,) task indices -> (B, C + 1, h, w). The authors' code uses the first image's task for the
    whole batch; here batches may mix tasks.
    """
    features = joined[:, :channels]
    index = (channels + task).view(-1, 1, 1, 1).expand(-1, 1, *joined.shape[-2:])
    return torch.cat([features, joined.gather(1, index)], dim=1)
