"""Reads what the picture of a manifest row shows: its image, its prediction and its truth."""

import math
from pathlib import Path

import numpy as np
from PIL import Image

from challenge import targets
from challenge.errors import PathError
from challenge.imaging.decode import read_image
from challenge.manifest import Sample
from challenge.paths import find_image
from challenge.predictions import BoxPrediction, ClassPrediction, MaskPrediction, PointsPrediction, Prediction
from challenge.readers import Submission
from challenge.tasks import TaskKind
from evaluate.scores.true_masks import MissingMaskError, find_true_mask

Drawable = tuple[Image.Image, Prediction | None, Prediction | None]
"""An image with its prediction and its truth, None where there is none."""


def read_row(sample: Sample, data_root: Path, submission: Submission) -> Drawable:
    """Read a row's image, prediction and truth.

    Raises ImageError for an image or a predicted mask that cannot be read, and what `read_truth` raises.
    """
    image = read_picture(sample, data_root)
    return image, submission.find(sample, image.size), read_truth(sample, data_root, image.size)


def read_picture(sample: Sample, data_root: Path) -> Image.Image:
    """Return the row's image, 8 bits deep. Raises ImageError if it cannot be read."""
    return Image.fromarray(read_image(find_image(data_root, sample.image_path)).pixels)


def read_truth(sample: Sample, data_root: Path, size: tuple[int, int]) -> Prediction | None:
    """Return the row's truth in the form of a prediction; None if the row has none.

    `size` is the image's native (width, height). Missing points are NaN. Raises MaskError for a mask whose classes are
    not certain and ManifestError for a malformed cell.
    """
    match sample.kind:
        case TaskKind.SEGMENTATION:
            return _true_mask(sample, data_root)
        case TaskKind.CLASSIFICATION:
            label = targets.label(sample)
            if label is None:
                return None
            return ClassPrediction(tuple(float(index == label) for index in range(sample.num_classes)), label)
        case TaskKind.DETECTION:
            box = targets.box(sample)
            width, height = size
            if box is None:
                return None
            return BoxPrediction(box, (box[0] / width, box[1] / height, box[2] / width, box[3] / height))
        case TaskKind.REGRESSION:
            points = np.array([point or (math.nan, math.nan) for point in targets.points(sample)], np.float64)
            if np.isnan(points).all():
                return None
            return PointsPrediction(tuple(points.ravel().tolist()), tuple((points / size).ravel().tolist()))


def _true_mask(sample: Sample, data_root: Path) -> MaskPrediction | None:
    try:
        return MaskPrediction(find_true_mask(data_root, str(sample.mask_file), sample.num_classes).labels)
    except (MissingMaskError, PathError):
        return None
