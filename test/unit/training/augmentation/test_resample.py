"""The resampling moves images and masks as torchvision does, and as the points move."""

import math

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from training.augmentation.resample import Resampling

SIZE = 48


def motion(degrees, scale, shift):
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = scale * np.array([[cosine, -sine], [sine, cosine]])
    centre = np.full(2, SIZE / 2)
    return matrix, centre - matrix @ centre + np.array(shift)


MOTIONS = [motion(0, 1, (0, 0)), motion(33, 0.8, (3, -2)), motion(-70, 1.7, (-6.5, 4.2)), motion(5, 1, (30, 0))]


@pytest.mark.parametrize("moved", MOTIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_moved_as_torchvision_moves_them(moved, channels):
    image = torch.randint(0, 256, (channels, SIZE, SIZE), dtype=torch.uint8, generator=torch.manual_seed(0))
    rows = np.column_stack([np.linalg.inv(moved[0]), -np.linalg.inv(moved[0]) @ moved[1]])
    expected = F.perspective(image, None, None, InterpolationMode.BILINEAR,
                             coefficients=[*rows.ravel().tolist(), 0.0, 0.0])  # fmt: skip
    found = Resampling(*moved, SIZE).image(image)
    assert found.dtype == torch.uint8
    assert (found.int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize("moved", MOTIONS)
def test_a_class_of_a_mask_comes_from_where_its_pixel_was(moved):
    mask = torch.randint(0, 4, (SIZE, SIZE), dtype=torch.uint8, generator=torch.manual_seed(1))
    found = Resampling(*moved, SIZE).mask(mask)
    assert found.shape == mask.shape
    inverse = np.linalg.inv(moved[0])
    for row in range(0, SIZE, 5):
        for column in range(0, SIZE, 5):
            x, y = inverse @ (np.array([column + 0.5, row + 0.5]) - moved[1])
            if min(abs(x - round(x)), abs(y - round(y))) < 1e-3:
                continue  # between two pixels
            inside = 0 <= x < SIZE and 0 <= y < SIZE
            assert found[row, column] == (mask[int(y), int(x)] if inside else 0)
