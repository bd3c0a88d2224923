"""Predictions -> UUSIC's files: 0/255 masks and one `classification.json` (docs/reference/contract.md, 2)."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from challenge import writers
from challenge.host.atomic import write_atomically
from challenge.manifest import Sample
from challenge.paths import UUSIC_JSON_FILE, output_file
from challenge.predictions import BlankMask, ClassPrediction, MaskFile, MaskPrediction, Prediction
from challenge.tasks import TaskKind
from challenge.writers import JsonObject


def write_mask(output_dir: Path, sample: Sample, prediction: MaskPrediction | BlankMask) -> MaskFile:
    """Write a mask of native size, 255 where the class is not 0, as PNG whatever the ending. Return what was written.

    Raises PathError if a link leads out of `output_dir`, OSError if the file cannot be written.
    """
    if isinstance(prediction, MaskPrediction):
        prediction = MaskPrediction(np.where(prediction.labels > 0, np.uint8(255), np.uint8(0)))
    return writers.write_mask(output_dir, sample, prediction)


def write_json(output_dir: Path, entries: Callable[[TaskKind], Iterable[JsonObject]]) -> None:
    """Write `classification.json`: one object with all `entries`, or an empty one."""
    target = output_file(output_dir, PurePosixPath(UUSIC_JSON_FILE))
    write_atomically(target, _object(entries(TaskKind.CLASSIFICATION)))


def entry(sample: Sample, prediction: Prediction) -> JsonObject:
    """Return one answer as an object whose only key is the image's path."""
    if not isinstance(prediction, ClassPrediction):
        raise TypeError(f"UUSIC has no JSON for a {type(prediction).__name__}")
    answer = {"probability": list(prediction.probabilities), "prediction": prediction.predicted_class}
    return {sample.image_path: answer}


def _object(entries: Iterable[JsonObject]) -> Iterator[bytes]:
    separator = "{\n"
    for found in entries:
        for image_path, answer in found.items():
            key = json.dumps(image_path, ensure_ascii=False)
            yield f"{separator}{key}: {json.dumps(answer, allow_nan=False)}".encode()
            separator = ",\n"
    yield b"{}\n" if separator == "{\n" else b"\n}\n"
