"""The same network with fewer multiplications, for export alone.

The pyramid's largest convolution reads the sum of a lateral and of a coarse map whose values are repeated. A
convolution of a sum is the sum of two convolutions. The lateral's joins its 1x1 convolution, which has few channels.
That of the repeated map needs 2x2 instead of 3x3 weights at each of the four places that a coarse value is repeated
to. The answers are the same, but for rounding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.networks.decoders.fpn import FPN, larger

# Which of three taps read the first of two neighbouring coarse values and which the second, by the place between them.
_TAPS = {0: ((0,), (1, 2)), 1: ((0, 1), (2,))}
_PLACES = ((0, 0), (0, 1), (1, 0), (1, 1))


def rearranged(module: nn.Module) -> nn.Module:
    """Return `module` in the form that is exported: an `FPN` rearranged, anything else as it is."""
    return RearrangedFPN(module).eval() if isinstance(module, FPN) else module


class RearrangedFPN(nn.Module):
    """An `FPN` whose finest level does not build the sum that it reads. For evaluation only."""

    lateral: Tensor
    bias: Tensor

    def __init__(self, pyramid: FPN) -> None:
        super().__init__()
        self.pyramid = pyramid
        lateral, (block,) = pyramid.laterals[-1], pyramid.levels[-1].children()
        smooth, *after = block.children()
        self.after = nn.Sequential(*after)
        with torch.no_grad():
            weight, squeeze = smooth.get_parameter("weight"), lateral.get_parameter("weight")[:, :, 0, 0]
            self.lateral = nn.Buffer(torch.einsum("ochw,ci->oihw", weight, squeeze))
            self.bias = nn.Buffer(lateral.get_parameter("bias").view(1, -1, 1, 1))
            self.places = nn.ParameterList(_at_place(weight, row, column) for row, column in _PLACES)

    def forward(self, *features: Tensor) -> Tensor:
        """Encoder maps, finest first -> (B, C, S / 4, S / 4), as `FPN` does in evaluation."""
        top, coarser = self.pyramid.coarser(*features[1:])
        # The lateral's bias is added before the border is padded with zeros, as it is inside the sum.
        top = top + self.bias
        parts = [
            F.conv2d(F.pad(top, (1 - column, column, 1 - row, row)), weight)
            for (row, column), weight in zip(_PLACES, self.places, strict=True)
        ]
        repeated = F.pixel_shuffle(torch.stack(parts, dim=2).flatten(1, 2), 2)
        finest = self.after(F.conv2d(features[0], self.lateral, padding=1) + repeated)
        merged: Tensor = larger(coarser) + finest
        return merged


def _at_place(weight: Tensor, row: int, column: int) -> nn.Parameter:
    """3x3 weights (O, I, 3, 3) on repeated values -> 2x2 weights on the values, for one of the four places."""
    rows = torch.stack([weight[:, :, list(taps)].sum(2) for taps in _TAPS[row]], dim=2)
    return nn.Parameter(torch.stack([rows[..., list(taps)].sum(3) for taps in _TAPS[column]], dim=3))
