"""Turns the paths of a manifest into paths on disk, for input and output; no other module does."""

import logging
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath

from challenge.errors import ImageError, PathError
from challenge.tasks import TaskKind

logger = logging.getLogger(__name__)

MANIFEST_FOLDER = "csv_files"
JSON_FILES = {
    TaskKind.CLASSIFICATION: "classification_predictions.json",
    TaskKind.DETECTION: "detection_predictions.json",
    TaskKind.REGRESSION: "regression_predictions.json",
}
"""The JSON file of each kind that has one, at the root of the output folder."""
UUSIC_JSON_FILE = "classification.json"
"""The one JSON file of UUSIC's answers, at the root of the output folder."""
JOURNAL = ".journal"
"""The journal of an unfinished run, at the root of the output folder."""
RESERVED = frozenset({*JSON_FILES.values(), JOURNAL})
"""Names at the root of the output folder that no mask, and no folder of masks, may have."""
_DRIVE = re.compile(r"^[A-Za-z]:")
_NAME_BYTES, _PATH_BYTES = 255, 2048


def inside_root(text: str) -> PurePosixPath:
    r"""Return the path, below the data root, that a manifest cell means.

    Cells are relative to `csv_files/`, so one leading `../` means the root; a cell without it is relative to the root
    too. `\` is a separator like `/`. Raises PathError for a path that is empty, absolute, outside the root, or longer
    than file systems allow.
    """
    cleaned = text.strip(" \t\r\n").replace("\\", "/")
    if not cleaned:
        raise PathError("the path is empty")
    if "\0" in cleaned:
        raise PathError(f"the path {text!r} holds a NUL character")
    if cleaned.startswith(("/", "~")) or _DRIVE.match(cleaned):
        raise PathError(f"the path {text!r} is absolute; write it relative to {MANIFEST_FOLDER}/")
    parts = [part for part in cleaned.split("/") if part not in ("", ".")]
    if parts and parts[0] == "..":
        parts = parts[1:]
    if not parts or any(part == ".." for part in parts) or _DRIVE.match(parts[0]):
        raise PathError(f"the path {text!r} leaves the data folder")
    if max(len(part.encode()) for part in parts) > _NAME_BYTES or len(cleaned.encode()) > _PATH_BYTES:
        raise PathError(f"the path {text[:40]!r}... is longer than {_NAME_BYTES} bytes a name or {_PATH_BYTES} in all")
    return PurePosixPath(*parts)


def official_path(text: str) -> str:
    """Return a manifest's path as the official script reads it: without any `../`, wherever it stands."""
    return text.replace("../", "")


def find_image(data_root: Path, text: str) -> Path:
    """Return the file below `data_root` that an `image_path` cell means.

    Tries the exact name, then its other Unicode normal forms (NFC, NFD), then a single case-insensitive match, which is
    logged. Raises ImageError if there is no such file, PathError if the path leaves the folder.
    """
    found, exact = _find(data_root, text)
    if not exact:
        logger.info("%r was found as %s", text, found)
    return found


def find_quietly(data_root: Path, text: str) -> Path | None:
    """Return the same as `find_image` without logging; None where it would raise an error."""
    try:
        return _find(data_root, text)[0]
    except (ImageError, PathError):
        return None


def _find(data_root: Path, text: str) -> tuple[Path, bool]:
    """Return the file, and whether its name is the one in `text` (in any Unicode form)."""
    relative = inside_root(text)
    try:
        if found := _exactly(data_root, relative):
            return found, True
        found = _ignoring_case(data_root, relative)
    except OSError as error:  # a name longer than the file system allows, a folder that may not be listed
        raise ImageError(f"no such file: {text!r} ({error.strerror or error})") from error
    if found is None:
        raise ImageError(f"no such file: {text!r}")
    return found, False


def _exactly(data_root: Path, relative: PurePosixPath) -> Path | None:
    for form in (None, "NFC", "NFD"):
        name = str(relative) if form is None else unicodedata.normalize(form, str(relative))
        for base in (data_root, data_root / MANIFEST_FOLDER):
            if (base / name).is_file():
                return base / name
    return None


def _ignoring_case(root: Path, relative: PurePosixPath) -> Path | None:
    current = root
    for part in relative.parts:
        if not current.is_dir():
            return None
        matches = _entries(current, current.stat().st_mtime_ns).get(_fold(part), [])
        if len(matches) != 1:
            return None
        current = matches[0]
    return current if current.is_file() else None


@lru_cache(maxsize=16)  # each row of a manifest may ask for the same large folder
def _entries(folder: Path, _changed: int) -> Mapping[str, list[Path]]:
    """Return a folder's entries by folded name; `_changed` makes a changed folder a new cache entry."""
    found: dict[str, list[Path]] = {}
    for entry in folder.iterdir():
        found.setdefault(_fold(entry.name), []).append(entry)
    return found


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def output_file(output_dir: Path, relative: PurePosixPath) -> Path:
    """Return `output_dir / relative` and make its folders; links must not lead out of `output_dir`.

    Raises PathError if a folder on the way is a link that leaves `output_dir`, or if the file itself is a link.
    """
    check_links(output_dir, [relative])  # first, because a folder would be made at the link's target
    target = output_dir / relative
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def check_links(output_dir: Path, files: Iterable[PurePosixPath]) -> None:
    """Raise PathError if one of `files` below `output_dir` is a link, or if a link leads its folder out."""
    root, inside = Path(os.path.realpath(output_dir)), set()
    for file in files:
        target = output_dir / file
        if file.parent not in inside and Path(os.path.realpath(target.parent)).is_relative_to(root):
            inside.add(file.parent)
        if file.parent not in inside or target.is_symlink():
            raise PathError(f"{target} leaves the output folder through a link; remove the link")
