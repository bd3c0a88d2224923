"""One affine resampling of an image and its masks. torchvision's costs a matrix product per pixel."""

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

Matrix = npt.NDArray[np.float64]


class Resampling:
    """Moves what is at p to `matrix` @ p + `offset`, p = (x, y) in continuous pixels (the first pixel is 0..1).

    `size` is the side S. The places where the pixels come from are computed once, for an image and all of its masks.
    """

    def __init__(self, matrix: Matrix, offset: Matrix, size: int) -> None:
        inverse = np.linalg.inv(matrix)
        rows = np.column_stack([inverse, -inverse @ offset]) * (2 / size)
        centres = torch.arange(size, dtype=torch.float32) + 0.5
        # In grid_sample's units: -1 and 1 are the outer borders of the image.
        self._places = torch.empty(1, size, size, 2)
        for axis, (across, down, first) in enumerate(rows.tolist()):
            torch.add(across * centres, (down * centres + (first - 1))[:, None], out=self._places[0, :, :, axis])

    def image(self, image: Tensor) -> Tensor:
        """(C, S, S) uint8 -> the same, bilinear; what comes from outside is 0."""
        return self._sampled(image, "bilinear").round().to(torch.uint8)

    def mask(self, mask: Tensor) -> Tensor:
        """(S, S) uint8 -> the same, each pixel from the nearest; what comes from outside is 0."""
        return self._sampled(mask[None], "nearest")[0].to(torch.uint8)

    def _sampled(self, image: Tensor, mode: str) -> Tensor:
        return F.grid_sample(image[None].float(), self._places, mode=mode, align_corners=False)[0]
