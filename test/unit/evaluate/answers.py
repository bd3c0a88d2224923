"""A submission made from the truth: exact, or with seeded errors. Test helper, independent of the code under test."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from challenge import targets
from challenge.imaging.decode import read_size
from challenge.manifest import Sample, read_manifest
from challenge.masks.true_masks import read_true_mask
from challenge.paths import find_image
from challenge.tasks import TaskKind

FILES = {
    TaskKind.CLASSIFICATION: "classification_predictions.json",
    TaskKind.DETECTION: "detection_predictions.json",
    TaskKind.REGRESSION: "regression_predictions.json",
}


def write_answers(data_root: Path, output: Path, *, spoil: float = 0.0, seed: int = 0) -> None:
    """Answer every row of `data_root` with the truth, moved by up to about `spoil` of the image's size."""
    rng = np.random.default_rng(seed)
    entries: dict[TaskKind, list[dict[str, Any]]] = {kind: [] for kind in FILES}
    for sample in read_manifest(data_root).samples:
        if sample.kind is TaskKind.SEGMENTATION:
            write_mask(output / str(sample.mask_file), moved(true_mask(data_root, sample), spoil, rng))
        else:
            entries[sample.kind].append(answer(data_root, sample, spoil, rng))
    for kind, content in entries.items():
        write_json(output, kind, content)


def write_json(output: Path, kind: TaskKind, content: Iterable[dict[str, Any]]) -> None:
    output.mkdir(parents=True, exist_ok=True)
    (output / FILES[kind]).write_text(json.dumps(list(content)), encoding="utf-8")


def write_mask(path: Path, labels: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels).save(path, format="PNG")


def true_mask(data_root: Path, sample: Sample) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return read_true_mask(find_image(data_root, str(sample.mask_file)), sample.num_classes).labels


def moved(
    labels: np.ndarray[Any, np.dtype[np.uint8]], spoil: float, rng: np.random.Generator
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Shift the mask; now and then lose its last class."""
    if not spoil:
        return labels
    shift = np.rint(rng.normal(0, spoil, 2) * labels.shape).astype(int)
    changed = np.roll(labels, tuple(shift), axis=(0, 1))
    if rng.random() < spoil:
        changed = np.where(changed == changed.max(), np.uint8(0), changed)
    return np.ascontiguousarray(changed)


def answer(data_root: Path, sample: Sample, spoil: float, rng: np.random.Generator) -> dict[str, Any]:
    head = {"image_path": sample.image_path, "task_id": sample.task_id}
    if sample.kind is TaskKind.CLASSIFICATION:
        scores = rng.normal(0, 20 * spoil, sample.num_classes) if spoil else np.zeros(sample.num_classes)
        scores[targets.label(sample) or 0] += 2.0 if spoil else 50.0
        probabilities = np.exp(scores - scores.max())
        probabilities /= probabilities.sum()
        predicted = int(probabilities.argmax())
        return head | {"predicted_class": predicted, "predicted_probs": probabilities.tolist()}
    size = np.array(read_size(find_image(data_root, sample.image_path)) or (256, 256), float)
    if sample.kind is TaskKind.DETECTION:
        corners = np.array(targets.box(sample) or (0, 0, *size)).reshape(2, 2)
        corners = np.sort(np.clip(corners + rng.normal(0, spoil, 2) * size, 0, size), axis=0)
        return head | {
            "bbox_normalized": (corners / size).ravel().tolist(),
            "bbox_pixels": corners.ravel().tolist(),
        }
    points = np.array([point or (0.0, 0.0) for point in targets.points(sample)])
    points = points + rng.normal(0, spoil, points.shape) * size if spoil else points
    return head | {
        "predicted_points_normalized": (points / size).ravel().tolist(),
        "predicted_points_pixels": points.ravel().tolist(),
    }
