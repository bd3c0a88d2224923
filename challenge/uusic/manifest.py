"""Reads `/input_json` into samples, with file and entry number in every error (docs/reference/contract.md, 2)."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from challenge.errors import ManifestError, PathError
from challenge.manifest import Manifest, Row, Sample, check_mask_folders
from challenge.paths import RESERVED, UUSIC_JSON_FILE, inside_root
from challenge.tasks import TaskKind, TaskSpec
from challenge.uusic.heads import choose_head

logger = logging.getLogger(__name__)

_SHOWN = 100  # characters of a cell in an error
_KINDS = (TaskKind.SEGMENTATION, TaskKind.CLASSIFICATION)
_TRUTH_CELLS = {"label": "mask", "mask_path_relative": "true_mask", "group": "group"}
"""Keys of a list with true answers -> the cells that `challenge.targets` and the scores read."""


def read_list(path: Path, tasks: Mapping[str, TaskSpec]) -> Manifest:
    """Read the list of images in a JSON file; see `parse_list`. Raises ManifestError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ManifestError(f"{path} cannot be read ({error.strerror}); give the list with --input-json") from error
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{path.name} is not JSON ({error}); write the list again") from error
    return parse_list(content, path.name, tasks)


def parse_list(content: object, name: str, tasks: Mapping[str, TaskSpec]) -> Manifest:
    """Return the samples of a list of `{"img_path_relative", "task", "dataset_name", "organ"}`.

    `tasks` are the known ones, of the weights and the catalogue; they decide which candidate head answers. A repeated
    row is answered once. An unknown organ or data set is logged, and noted in the sample. Raises ManifestError for
    malformed entries, for paths that leave the folder, and for two different rows with the same target.
    """
    if not isinstance(content, list):
        raise ManifestError(f"{name} is not a list; write a list with one object per image and task")
    samples: dict[tuple[TaskKind, str], Sample] = {}
    repeated = []
    warned: set[str] = set()
    for number, entry in enumerate(content, start=1):
        sample = _sample(entry, Row(name, number, "entry"), tasks)
        earlier = samples.setdefault(_target(sample), sample)
        if earlier is not sample:
            _check_repeated(earlier, sample)
            repeated.append(sample)
        elif sample.note and sample.note not in warned:
            warned.add(sample.note)
            logger.warning("%s: %s (said once)", sample.row, sample.note)
    logger.info("%d entries in %s, %d repeated", len(samples) + len(repeated), name, len(repeated))
    check_mask_folders(samples.values(), "img_path_relative")
    return Manifest(tuple(samples.values()), tuple(repeated))


def mask_target(image_path: str) -> PurePosixPath:
    """Return the path of an image's mask below the output folder. Raises PathError if it leaves the folder.

    Every "img" becomes "mask", in folders and in the file's name, as in the organisers' code.
    """
    return _inside(image_path.replace("img", "mask"))


def _inside(text: str) -> PurePosixPath:
    if ".." in text.replace("\\", "/").split("/"):
        raise PathError(f"the path {text[:_SHOWN]!r} leaves the data folder")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise PathError(
            f"the path {text[:_SHOWN]!r} contains half a character"
        )  # JSON can escape it, UTF-8 cannot encode it
    return inside_root(text)


def _sample(entry: object, row: Row, tasks: Mapping[str, TaskSpec]) -> Sample:
    if not isinstance(entry, dict):
        raise ManifestError(f"{row} is not an object; write one object per image and task")
    image_path, task = entry.get("img_path_relative"), entry.get("task")
    kind = next((kind for kind in _KINDS if isinstance(task, str) and task.strip().lower() == kind), None)
    if not isinstance(image_path, str):
        raise ManifestError(f"{row}: 'img_path_relative' is missing or not text; write the image's path")
    if kind is None:
        raise ManifestError(f"{row}: the task {str(task)[:_SHOWN]!r} is unknown; write {' or '.join(_KINDS)}")
    dataset, organ = (str(entry.get(key) or "") for key in ("dataset_name", "organ"))
    try:
        _inside(image_path)
        mask_file = mask_target(image_path) if kind is TaskKind.SEGMENTATION else None
    except PathError as error:
        raise PathError(f"{row}: {error}; correct 'img_path_relative'") from error
    if mask_file and mask_file.parts[0].casefold() in RESERVED | {UUSIC_JSON_FILE}:
        raise PathError(f"{row}: the mask {str(mask_file)!r} has a reserved name; rename the image")
    choice = choose_head(dataset, organ, kind, tasks)
    cells = {"dataset_name": dataset, "organ": organ}
    cells |= {cell: str(entry[key]) for key, cell in _TRUTH_CELLS.items() if entry.get(key) is not None}
    spec = choice.spec
    return Sample(image_path, spec.task_id, kind, spec.num_classes, row, mask_file, cells, choice.note)


def _target(sample: Sample) -> tuple[TaskKind, str]:
    """Return where the answer goes: a mask file, or a key of the JSON file."""
    return sample.kind, str(sample.mask_file or sample.image_path)


def _check_repeated(earlier: Sample, later: Sample) -> None:
    if (earlier.image_path, earlier.task_id) != (later.image_path, later.task_id):
        place = str(later.mask_file) if later.mask_file else UUSIC_JSON_FILE
        raise ManifestError(f"{earlier.row} and {later.row} both have the target {place!r}; remove one of them")
    logger.info("%s repeats %s; answered once", later.row, earlier.row)
