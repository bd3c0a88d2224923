"""Problems in csv files that the organisers' script fails on or ignores, although this reader accepts them."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from challenge.manifest import Sample
from challenge.paths import MANIFEST_FOLDER
from evaluate.scores.scoring import skipped_tasks

_NEEDED = ("image_path", "task_id", "task_name", "num_classes")


def csv_problems(data_root: Path, samples: Sequence[Sample]) -> Iterator[tuple[str, str]]:
    """Yield each problem of the csv files that `samples` come from, with its place."""
    for name in sorted({sample.row.file for sample in samples}):
        yield from ((problem, name) for problem in _file_problems(data_root / MANIFEST_FOLDER / name))
    first: dict[str, Sample] = {}
    for sample in samples:
        first.setdefault(sample.task_id, sample)
    for sample in first.values():
        if not _is_number(sample.cells.get("num_classes", "")):
            yield (
                "the official script fails on a task whose first row has no num_classes; write the number",
                f"{sample.row} ({sample.task_id})",
            )
    for problem in skipped_tasks(samples).values():
        place, _, what = problem.partition(": ")
        yield what, place


def _file_problems(path: Path) -> Iterator[str]:
    if path.suffix != ".csv":
        yield "the official script ignores this file, because its name does not end in .csv; rename it"
    text = path.read_bytes().decode("utf-8-sig")
    header = next(csv.reader(io.StringIO(text, newline="")), [])
    for name in _NEEDED:
        if name not in header:
            yield f"the official script fails without the column {name}, spelt so and separated by commas; add it"


def _is_number(text: str) -> bool:
    try:
        return float(text).is_integer()
    except ValueError:
        return False
