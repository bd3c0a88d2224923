"""Predictions -> UUSIC's files: 0/255 masks and one `classification.json` (contract, section 2)."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from challenge import writers
from challenge.manifest import Sample
from challenge.paths import output_file
from challenge.predictions import BlankMask, ClassPrediction, MaskPrediction, Prediction
from challenge.uusic.manifest import CLASSIFICATION_FILE


def write_mask(output_dir: Path, sample: Sample, prediction: MaskPrediction | BlankMask) -> None:
    """Write a mask of native size, 255 where the class is not 0, as a PNG whatever the ending.

    Raises PathError if a link leads out of `output_dir`, OSError if it cannot be written.
    """
    if isinstance(prediction, MaskPrediction):
        prediction = MaskPrediction(np.where(prediction.labels > 0, np.uint8(255), np.uint8(0)))
    writers.write_mask(output_dir, sample, prediction)


def write_json(output_dir: Path, answers: Sequence[tuple[Sample, Prediction]]) -> None:
    """Write `classification.json`: image path -> answer, in the order of `answers`; an empty object without any."""
    target = output_file(output_dir, PurePosixPath(CLASSIFICATION_FILE))
    writers.write_atomically(target, _object(answers))


def class_answer(prediction: ClassPrediction) -> dict[str, object]:
    """Return the JSON object of one answer."""
    return {"probability": list(prediction.probabilities), "prediction": prediction.predicted_class}


def _object(answers: Sequence[tuple[Sample, Prediction]]) -> Iterator[bytes]:
    separator = "{\n"
    for sample, prediction in answers:
        if isinstance(prediction, ClassPrediction):
            key = json.dumps(sample.image_path, ensure_ascii=False)
            yield f"{separator}{key}: {json.dumps(class_answer(prediction), allow_nan=False)}".encode()
            separator = ",\n"
    yield b"{}\n" if separator == "{\n" else b"\n}\n"
