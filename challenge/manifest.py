"""`csv_files/*.csv` -> samples, with file and line in every error (docs/reference/contract.md, 1.2 and 1.3b)."""

import csv
import io
import logging
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from challenge.errors import ManifestError, PathError
from challenge.paths import MANIFEST_FOLDER, RESERVED, inside_root, official_path
from challenge.tasks import CATALOGUE, TaskKind, TaskSpec, nearest, parse_kind

logger = logging.getLogger(__name__)

REQUIRED_COLUMNS = ("image_path", "task_id", "task_name")
_ANSWERED_COLUMNS = (*REQUIRED_COLUMNS, "num_classes", "mask_path")
"""The columns that answers depend on. Other columns hold the truth or are ignored."""
_NO_VALUE = ("nan", "none", "null", "na", "n/a", "#n/a", "<na>")
"""Words of pandas, R and spreadsheets for a cell without a value."""
_NUMBER_WORDS = ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")


@dataclass(frozen=True, slots=True)
class Row:
    """The position of a sample: csv file name and line number (the header is line 1), or a list's name and entry."""

    file: str
    line: int
    unit: str = "line"

    def __str__(self) -> str:
        return f"{self.file}, {self.unit} {self.line}"


@dataclass(frozen=True, slots=True)
class Sample:
    """One manifest row: an image and the task to answer for it.

    `image_path` is the unchanged cell, which the answers repeat. `mask_file` is the path of a segmentation mask below
    the data or output root. `cells` are all cells of the row; the functions of `challenge.targets` read the truth from
    them. `note` says what is unusual about the row, or how it was interpreted.
    """

    image_path: str
    task_id: str
    kind: TaskKind
    num_classes: int
    row: Row
    mask_file: PurePosixPath | None = None
    cells: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    note: str | None = field(default=None, repr=False, compare=False)

    @property
    def group(self) -> str | None:
        """The optional `group` column: rows of one patient or video share it."""
        return filled(self.cells, "group") or None


@dataclass(frozen=True)
class Manifest:
    """All samples in manifest order. Two rows of one image and task with different masks are two samples.

    `repeated` are rows that repeat a sample. A run answers it once, but the official script scores each of them.
    """

    samples: tuple[Sample, ...]
    repeated: tuple[Sample, ...] = ()


def read_manifest(data_root: Path, tasks: Mapping[str, TaskSpec] = CATALOGUE, *, truth: bool = False) -> Manifest:
    """Read every `csv_files/*.csv` below `data_root`, in the order of their names.

    `tasks` are the known tasks: a row's kind and class count come from there, else from its `task_name` and
    `num_classes`. Raises ManifestError (exit code 2) with file, line and remedy.

    A row with more cells than columns, or with different cells in columns of the same name, is ambiguous. That is an
    error if the `truth` is needed or an answer depends on the column; otherwise the sample gets a `note`.
    """
    folder = data_root / MANIFEST_FOLDER
    if not folder.is_dir():
        raise ManifestError(f"there is no folder {folder}; give the folder that contains {MANIFEST_FOLDER}/")
    # Other systems leave files with a leading dot ("._a.csv"); the official scripts skip them too.
    files = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() == ".csv" and not path.name.startswith(".") and path.is_file()
    )
    if not files:
        raise ManifestError(f"{folder} holds no .csv file; put at least one manifest there")
    samples: dict[tuple[str, str, PurePosixPath | None], Sample] = {}
    repeated = []
    for path in files:
        for sample in _read_file(path, tasks, truth):
            key = (sample.image_path, sample.task_id, sample.mask_file)
            if key in samples:
                repeated.append(sample)
                logger.info("%s repeats %s; answered once", sample.row, samples[key].row)
            else:
                samples[key] = sample
    logger.info("%d rows in %d csv files, %d repeated", len(samples) + len(repeated), len(files), len(repeated))
    check_mask_folders(samples.values(), "mask_path")
    return Manifest(tuple(samples.values()), tuple(repeated))


def filled(cells: Mapping[str, str], column: str) -> str:
    """Return what a cell says, or "" if it says that there is no value, as pandas, R and spreadsheets do."""
    text = cells.get(column, "").strip()
    return "" if text.casefold() in _NO_VALUE else text


def check_mask_folders(samples: Collection[Sample], column: str) -> None:
    """Raise PathError if the mask of one row is a folder of another row's mask; `column` names the masks."""
    masks = {sample.mask_file: sample for sample in samples if sample.mask_file}
    for mask_file, sample in masks.items():
        for folder in mask_file.parents if mask_file else ():
            if folder in masks:
                raise PathError(
                    f"{sample.row}: {column}: {str(mask_file)!r} lies below the mask of {masks[folder].row}; "
                    "correct one of them"
                )


def superseded(samples: Iterable[Sample]) -> list[Sample]:
    """Return the samples whose mask a later one overwrites (docs/reference/contract.md, 1.3b); a warning names each."""
    last: dict[PurePosixPath, Sample] = {}
    lost = []
    for sample in samples:
        if sample.mask_file is None:
            continue
        earlier = last.get(sample.mask_file)
        if earlier is not None:
            logger.warning(
                "%s and %s write the same mask %s; the later row wins", earlier.row, sample.row, sample.mask_file
            )
            lost.append(earlier)
        last[sample.mask_file] = sample
    return lost


def _read_file(path: Path, tasks: Mapping[str, TaskSpec], truth: bool) -> Iterator[Sample]:
    lines = _lines(path)
    first = next((cells for _, cells in lines if cells), [])  # blank lines may stand above the header
    header = [name.strip().casefold() for name in first]
    missing = [name for name in REQUIRED_COLUMNS if name not in header]
    if missing:
        found = " ".join(", ".join(header).split())[:500]
        raise ManifestError(f"{path.name} lacks the column(s) {', '.join(missing)}; found: {found}; add the column(s)")
    doubled = sorted({name for name in header if name and header.count(name) > 1})
    vague = doubled if truth else _ANSWERED_COLUMNS
    for line, cells in lines:
        if any(cell.strip() for cell in cells):
            row = Row(path.name, line)
            pairs = list(zip_longest(header, cells[: len(header)], fillvalue=""))
            oddities = [*_surplus(len(header), cells, row, truth), *_contradictions(pairs, doubled, row, vague)]
            by_name = dict(reversed(pairs[: len(cells)]))  # the first of several columns of the same name counts
            yield _sample(MappingProxyType(by_name), row, tasks, oddities)


def _surplus(columns: int, cells: Sequence[str], row: Row, truth: bool) -> Iterator[str]:
    """Yield a sentence if a row has more cells than columns, for example because of an unquoted comma."""
    if any(cell.strip() for cell in cells[columns:]):
        text = f"{len(cells)} cells for {columns} columns; put cells that hold a comma in quotes"
        if truth:
            raise ManifestError(f"{row}: {text}")
        yield text


def _contradictions(
    pairs: Sequence[tuple[str, str]], doubled: Sequence[str], row: Row, vague: Collection[str]
) -> Iterator[str]:
    """Yield a sentence for each of the `doubled` columns whose cells differ; raise an error for those in `vague`."""
    for name in doubled:
        first, *others = (cell.strip() for column, cell in pairs if column == name)
        other = next((cell for cell in others if cell != first), first)
        if other == first:
            continue
        text = f"two columns {name!r} hold {first!r} and {other!r}"
        if name in vague:
            raise ManifestError(f"{row}: {text}; remove one of them")
        yield f"{text}; the first counts"


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield each row's first line number (1 for the header) and its cells."""
    text = _decode(path)
    # ';' is what spreadsheets write where the comma is the decimal sign.
    header_line = text.lstrip("\r\n").splitlines()[0]
    delimiter = ";" if header_line.count(";") > header_line.count(",") else ","
    csv.field_size_limit(len(text) + 1)  # outlines in ignored columns are longer than its default
    # Strict, so that a quote that is never closed is an error and does not swallow the rows that follow.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise ManifestError(f"{path.name}, line {line}: not valid csv ({error}); correct the quotes") from error


def _decode(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ManifestError(f"{path.name} cannot be read ({error.strerror}); make it readable") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ManifestError(f"{path.name}, line {line}: not UTF-8; save the file as UTF-8") from error
    if not text.strip():
        raise ManifestError(f"{path.name} is empty; write at least the header line, or remove the file")
    return text


def _sample(cells: Mapping[str, str], row: Row, tasks: Mapping[str, TaskSpec], oddities: Sequence[str]) -> Sample:
    image_path, task_id = cells.get("image_path", ""), cells.get("task_id", "").strip()
    if not image_path.strip() or not task_id:
        raise ManifestError(f"{row}: image_path or task_id is empty; fill it in or remove the row")
    known = tasks.get(task_id)
    kind = known.kind if known else parse_kind(cells.get("task_name", ""))
    if kind is None:
        hint = nearest(task_id, tasks)
        raise ManifestError(
            f"{row}: neither the task {task_id!r}{hint} nor the task_name {cells.get('task_name', '')!r} is known; "
            f"write one of {', '.join(TaskKind)} as task_name"
        )
    num_classes = known.num_classes if known else _num_classes(cells, kind, row)
    mask_file = _mask_file(cells, image_path, task_id, num_classes, row) if kind is TaskKind.SEGMENTATION else None
    notes = [*oddities, *_elsewhere(cells, mask_file)]
    return Sample(image_path, task_id, kind, num_classes, row, mask_file, cells, "; ".join(notes) or None)


def _elsewhere(cells: Mapping[str, str], mask_file: PurePosixPath | None) -> Iterator[str]:
    """Yield a sentence if the official script would look for the answer elsewhere than it is written."""
    task_id = cells.get("task_id", "")
    if mask_file is None and task_id != task_id.strip():
        yield f"the official script looks for answers of {task_id!r}, but they are written as {task_id.strip()!r}"
    text = filled(cells, "mask_path")
    if mask_file and text and PurePosixPath(official_path(text)) != mask_file:
        yield f"the official script reads the mask {official_path(text)!r}, but it is written to {str(mask_file)!r}"


def _num_classes(cells: Mapping[str, str], kind: TaskKind, row: Row) -> int:
    """Return `num_classes` of a task unknown to the weights and the catalogue, at least the minimum of its kind."""
    least = 2 if kind in (TaskKind.SEGMENTATION, TaskKind.CLASSIFICATION) else 1
    text = cells.get("num_classes", "").strip()
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value.is_integer():
        logger.warning("%s: num_classes %r of an unknown task is not a whole number; taken as %d", row, text, least)
        return least
    return max(least, min(int(value), 256))


def _mask_file(cells: Mapping[str, str], image_path: str, task_id: str, num_classes: int, row: Row) -> PurePosixPath:
    if text := filled(cells, "mask_path"):
        try:
            mask_file = inside_root(text)
        except PathError as error:
            raise PathError(f"{row}: mask_path: {error}; correct the cell") from error
        if mask_file.parts[0].casefold() in RESERVED:
            raise PathError(f"{row}: mask_path: {text!r} is the name of an answer file; correct the cell")
        return mask_file
    stem = PurePosixPath(image_path.replace("\\", "/")).stem
    word = _NUMBER_WORDS[num_classes] if num_classes < len(_NUMBER_WORDS) else str(num_classes)
    try:
        return inside_root(f"Segmentation/{word}/{task_id}/{stem}.png")
    except PathError as error:
        raise PathError(f"{row}: task_id: {error}; correct the cell") from error
