"""Compares two output folders of the same rows."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from challenge.manifest import Sample
from challenge.paths import JSON_FILES
from challenge.tasks import TaskKind

PROBABILITY, PIXELS, MASK_SHARE = 1e-4, 0.05, 0.999
"""Tolerances for the same network in float32: the largest difference of probabilities, and of boxes and points in
native pixels; the least share of equal mask pixels."""

_NUMBERS = {
    TaskKind.CLASSIFICATION: "predicted_probs",
    TaskKind.DETECTION: "bbox_pixels",
    TaskKind.REGRESSION: "predicted_points_pixels",
}


@dataclass(frozen=True)
class Agreement:
    """Largest differences over all rows, in probability and in native pixels, and the share of equal mask pixels."""

    probability: float
    box: float
    point: float
    mask_share: float
    rows: int

    @property
    def holds(self) -> bool:
        """Whether all differences are within the tolerances."""
        return (
            self.probability <= PROBABILITY and max(self.box, self.point) <= PIXELS and (self.mask_share >= MASK_SHARE)
        )


def compare(samples: Sequence[Sample], reference: Path, answers: Path) -> Agreement:
    """Compare two output folders of `samples`. Raises KeyError or OSError if one of them lacks a row."""
    largest = dict.fromkeys(_NUMBERS, 0.0)
    expected, found = (_numbers(folder) for folder in (reference, answers))
    equal = pixels = 0
    for sample in samples:
        if sample.mask_file is None:
            key = (sample.image_path, sample.task_id)
            largest[sample.kind] = max(largest[sample.kind], float(np.abs(expected[key] - found[key]).max()))
        else:
            masks = [np.asarray(Image.open(folder / sample.mask_file)) for folder in (reference, answers)]
            equal += int((masks[0] == masks[1]).sum())
            pixels += masks[0].size
    share = equal / pixels if pixels else 1.0
    probability, box, point = largest.values()
    return Agreement(probability, box, point, share, len(samples))


def _numbers(folder: Path) -> dict[tuple[str, str], np.ndarray[Any, Any]]:
    return {
        (entry["image_path"], entry["task_id"]): np.array(entry[_NUMBERS[kind]])
        for kind, name in JSON_FILES.items()
        for entry in json.loads((folder / name).read_text("utf-8"))
    }
