"""Reads UUSIC's `classification.json` (docs/reference/contract.md, 2). `challenge.readers` reads the masks."""

from collections.abc import Mapping
from pathlib import Path

from challenge.paths import UUSIC_JSON_FILE
from challenge.predictions import ClassPrediction
from challenge.readers import Malformed, SubmissionError, finite_numbers, load_json


def read_answers(folder: Path) -> Mapping[str, ClassPrediction] | None:
    """Return image path -> answer of `folder/classification.json`, or None if there is no such file.

    Raises SubmissionError, with the image path, for an answer that breaks the contract.
    """
    if not folder.is_dir():
        raise SubmissionError(f"there is no folder {folder}; give the folder that inference.py wrote")
    path = folder / UUSIC_JSON_FILE
    if not path.is_file():
        return None
    content = load_json(path)
    if not isinstance(content, dict):
        raise SubmissionError(f"{path.name} is not an object; write one with an answer per image path")
    answers = {}
    for image_path, raw in content.items():
        try:
            answers[image_path] = _answer(raw)
        except Malformed as error:
            raise SubmissionError(f"{path.name}, {image_path!r}: {error}") from error
    return answers


def _answer(raw: object) -> ClassPrediction:
    if not isinstance(raw, dict):
        raise Malformed("not an object; write 'probability' and 'prediction'")
    predicted = raw.get("prediction")
    if isinstance(predicted, bool) or not isinstance(predicted, int):
        raise Malformed(f"'prediction' is {predicted!r}; write the class as an integer")
    return ClassPrediction(finite_numbers(raw, "probability"), predicted)
