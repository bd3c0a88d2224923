"""Read a submission's output folder back into predictions, file by file (docs/reference/contract.md, 1.3)."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from challenge.errors import ImageError, UserError
from challenge.imaging.decode import PIXEL_LIMIT
from challenge.manifest import Sample
from challenge.masks.opencv_grey import Form, read_grey
from challenge.paths import JSON_FILES
from challenge.predictions import BoxPrediction, ClassPrediction, MaskPrediction, PointsPrediction, Prediction
from challenge.tasks import TaskKind

_LARGEST_SHARE, _ALWAYS_READ = 16, 1 << 24
"""A mask is decoded if it has at most this many times its image's pixels, or at most this many pixels."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_INT64 = range(-(1 << 63), 1 << 63)

JsonPrediction = ClassPrediction | BoxPrediction | PointsPrediction


class SubmissionError(UserError):
    """An output folder that violates the contract; the message names file, entry and remedy."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One well-formed entry of a JSON file; `place` is the file's name and the entry's number, from 1."""

    place: str
    image_path: str
    task_id: str
    prediction: JsonPrediction


@dataclass(frozen=True)
class Answers:
    """One JSON file: its well-formed entries in order, and one sentence per malformed one."""

    entries: tuple[Entry, ...]
    malformed: tuple[str, ...] = ()
    _last: Mapping[tuple[str, str], Entry] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the entries; the last of several for one image and task counts, as in the official script."""
        object.__setattr__(self, "_last", {(entry.image_path, entry.task_id): entry for entry in self.entries})

    def of(self, sample: Sample) -> Entry | None:
        """Return the entry that counts for a sample."""
        return self._last.get((sample.image_path, sample.task_id))


@dataclass(frozen=True)
class StoredMask:
    """A mask file as the official script reads it: `labels` (H, W) uint8, OpenCV's grey value of every pixel.

    `fault` says what is wrong with the format, which must be a lossless 8-bit single-channel image without an
    orientation tag. `doubt` says why OpenCV may read other values.
    """

    labels: npt.NDArray[np.uint8]
    fault: str | None = None
    doubt: str = ""


@dataclass(frozen=True)
class Submission:
    """An output folder; `answers` holds those JSON files that exist."""

    folder: Path
    answers: Mapping[TaskKind, Answers]

    def find(self, sample: Sample, size: tuple[int, int] | None = None) -> Prediction | None:
        """Return the prediction for a sample, or None if there is none; `size` is its image's (width, height).

        Raises ImageError for a mask that is unreadable, or far larger than its image.
        """
        if sample.kind is TaskKind.SEGMENTATION:
            path = mask_path(self.folder, sample)
            return MaskPrediction(read_stored_mask(path, size).labels) if path.is_file() else None
        answers = self.answers.get(sample.kind)
        entry = answers.of(sample) if answers else None
        return entry.prediction if entry else None


def open_submission(folder: Path) -> Submission:
    """Read the JSON files of an output folder (masks are read on demand). Raises SubmissionError if malformed."""
    if not folder.is_dir():
        raise SubmissionError(f"there is no folder {folder}; give the folder that inference.py wrote")
    found = {kind: read_answers(folder, kind) for kind in JSON_FILES}
    for answers in found.values():
        if answers and answers.malformed:
            others = len(answers.malformed) - 1
            more = f" ({others} more entries of that file are malformed)" if others else ""
            raise SubmissionError(answers.malformed[0] + more)
    return Submission(folder, {kind: answers for kind, answers in found.items() if answers})


def mask_path(folder: Path, sample: Sample) -> Path:
    """Return the path of a segmentation sample's mask in an output folder."""
    return folder / (sample.mask_file or PurePosixPath())


def read_stored_mask(path: Path, size: tuple[int, int] | None = None) -> StoredMask:
    """Read a predicted mask by its content, not its file ending; `size` is the expected (width, height).

    Raises ImageError if it is unreadable, or if its header claims far more pixels than that.
    """
    limit = max(_LARGEST_SHARE * size[0] * size[1], _ALWAYS_READ) if size else PIXEL_LIMIT
    reading = read_grey(path, limit)
    if reading.values is None or reading.form is None:
        why = f" ({reading.doubt}); the official script may read it all the same" if reading.doubt else ""
        raise ImageError(f"{path.name}: not readable as an image{why}")
    return StoredMask(reading.values, _mask_fault(reading.form), reading.doubt)


_BY_MODE = {
    "1": "a 1-bit image, read as 0 and 255",
    "P": "a palette image, read by its colours' grey levels",
    "I;16": "a 16-bit image, of which the high byte alone is read",
}


def _mask_fault(form: Form) -> str | None:
    if form.mode != "L":
        what = _BY_MODE.get(form.mode, f"of mode {form.mode}")
        return f"the mask is {what}; write 8-bit single-channel class indices"
    if form.format in ("JPEG", "MPO"):
        return "the mask is JPEG-compressed, which alters class indices; write it losslessly"
    if form.orientation != 1:
        return (
            f"the mask is turned when it is read, by its orientation tag {form.orientation}; write it without the tag"
        )
    return None


def load_json(path: Path) -> object:
    """Return the content of an answer file. Raises SubmissionError if the official script could not read it as JSON."""
    try:
        raw = path.read_bytes()
        if raw.startswith(_BYTE_ORDER_MARK):
            raise SubmissionError(
                f"{path.name} begins with a byte order mark (BOM), on which the official script ends; write it as "
                "UTF-8 without the mark"
            )
        content: object = json.loads(raw.decode("utf-8"), object_pairs_hook=_object)
    except OSError as error:
        raise SubmissionError(f"{path.name} cannot be read ({error.strerror}); make it readable") from error
    except (ValueError, RecursionError) as error:
        raise SubmissionError(f"{path.name} is not JSON ({error}); write it again") from error
    return content


class _Ambiguous(dict[str, Any]):
    """An object with a repeated key. The last value counts."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _Ambiguous(found)


def read_answers(folder: Path, kind: TaskKind) -> Answers | None:
    """Read the JSON file of a kind, or None if it is absent.

    Raises SubmissionError if the file is no list; malformed entries of a list are collected, one sentence each.
    """
    path = folder / JSON_FILES[kind]
    if not path.is_file():
        return None
    content = load_json(path)
    if not isinstance(content, list):
        raise SubmissionError(f"{path.name} holds no list; write a list with one object per row")
    entries, malformed = [], []
    for number, raw in enumerate(content, start=1):
        place = f"{path.name}, entry {number}"
        try:
            entries.append(_entry(place, raw, _PARSERS[kind]))
        except Malformed as error:
            malformed.append(f"{place}{_named(raw)}: {error}")
    return Answers(tuple(entries), tuple(malformed))


class Malformed(Exception):
    """The message says what is wrong with an entry, and what to write instead."""


def _entry(place: str, raw: object, parse: Callable[[Mapping[str, Any]], JsonPrediction]) -> Entry:
    if not isinstance(raw, dict):
        raise Malformed("not an object; write one object per row")
    if isinstance(raw, _Ambiguous):
        raise Malformed("a key stands twice, and the last counts; write each key once")
    for key in ("image_path", "task_id"):
        if not isinstance(raw.get(key), str):
            raise Malformed(f"{key!r} is missing or no text; copy it from the csv")
    return Entry(place, raw["image_path"], raw["task_id"], parse(raw))


def _named(raw: object) -> str:
    if not isinstance(raw, dict) or "image_path" not in raw:
        return ""
    return f" ({raw.get('task_id')}, {raw['image_path']!r})"


def _class(raw: Mapping[str, Any]) -> ClassPrediction:
    predicted = raw.get("predicted_class")
    if isinstance(predicted, bool) or not isinstance(predicted, int):
        raise Malformed(f"'predicted_class' is {predicted!r}; write the class as an integer")
    if predicted not in _INT64:
        raise Malformed("'predicted_class' is a number of more than 64 bits; write the class as an integer")
    return ClassPrediction(finite_numbers(raw, "predicted_probs"), predicted)


def _box(raw: Mapping[str, Any]) -> BoxPrediction:
    pixels, normalized = finite_numbers(raw, "bbox_pixels"), finite_numbers(raw, "bbox_normalized")
    if len(pixels) != 4 or len(normalized) != 4:
        raise Malformed("'bbox_pixels' and 'bbox_normalized' must be four numbers x0, y0, x1, y1 each")
    return BoxPrediction(_four(pixels), _four(normalized))


def _points(raw: Mapping[str, Any]) -> PointsPrediction:
    pixels, normalized = (
        finite_numbers(raw, "predicted_points_pixels"),
        finite_numbers(raw, "predicted_points_normalized"),
    )
    if len(pixels) != len(normalized) or len(pixels) % 2:
        raise Malformed(f"{len(pixels)} numbers in pixels and {len(normalized)} normalized; write x1, y1, x2, y2, ...")
    return PointsPrediction(pixels, normalized)


def finite_numbers(raw: Mapping[str, Any], key: str) -> tuple[float, ...]:
    """Return the list of finite numbers at `key` of a JSON object. Raises Malformed."""
    values = raw.get(key)
    if not isinstance(values, list):
        raise Malformed(f"{key!r} is missing or no list; write a list of numbers")
    for value in values:
        if not _is_finite(value):
            raise Malformed(f"{key!r} holds {value!r}; write finite numbers only")
    return tuple(map(float, values))


def _is_finite(value: object) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer that no float can hold
        return False


def _four(values: Sequence[float]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = values
    return x0, y0, x1, y1


_PARSERS: Mapping[TaskKind, Callable[[Mapping[str, Any]], JsonPrediction]] = {
    TaskKind.CLASSIFICATION: _class,
    TaskKind.DETECTION: _box,
    TaskKind.REGRESSION: _points,
}


def unknown_entries(answers: Answers, samples: Iterable[Sample]) -> list[Entry]:
    """Return the entries whose image and task no sample has."""
    known = {(sample.image_path, sample.task_id) for sample in samples}
    return [entry for entry in answers.entries if (entry.image_path, entry.task_id) not in known]
