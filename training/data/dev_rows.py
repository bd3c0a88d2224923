"""Dev rows that a file names, for runs that must be judged by exactly these rows."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from challenge.errors import UserError
from challenge.manifest import Sample
from training.data.row_files import Key, key_of
from training.data.split import Content, split, without_shared

_COLUMNS = ("image_path", "task_id")


@dataclass(frozen=True)
class Named:
    """The rows of a split by a file: `left_out` are neither taught nor scored, as a dev row shares their patient."""

    train: list[Sample]
    dev: list[Sample]
    left_out: list[Sample]


def read_dev_rows(path: Path) -> frozenset[Key]:
    """Read a CSV file with the columns `image_path` and `task_id`; others are ignored. Raises UserError."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            if lacking := [name for name in _COLUMNS if name not in (table.fieldnames or ())]:
                raise UserError(f"{path} has no column {lacking[0]}; data.dev_rows needs image_path and task_id")
            return frozenset((row["image_path"], row["task_id"]) for row in table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"the dev rows {path} cannot be read ({error}); give a CSV file in data.dev_rows") from error


def split_by(
    named: frozenset[Key], samples: Sequence[Sample], dev_fraction: float, seed: int, content: Content
) -> Named:
    """Make the named rows dev rows. Tasks that the file does not mention are split as usual.

    Names of tasks without a row among `samples` are ignored. Raises UserError for a name that is not among the rows
    of its task.
    """
    known = set(map(key_of, samples))
    unknown = sorted(key for key in named - known if key[1] in {sample.task_id for sample in samples})
    if unknown:
        raise UserError(f"data.dev_rows names {unknown[0][0]} of {unknown[0][1]}, which is no row of the data "
                        f"({len(unknown)} such rows); correct the file")  # fmt: skip
    mentioned = {task_id for _, task_id in named}
    others = [sample for sample in samples if sample.task_id not in mentioned]
    dev_keys = named | set(map(key_of, split(others, dev_fraction, seed, content)[1]))
    dev = [sample for sample in samples if key_of(sample) in dev_keys]
    rest = [sample for sample in samples if key_of(sample) not in dev_keys]
    of_dev = {sample.image_path: content[sample.image_path] for sample in dev if sample.image_path in content}
    train, left_out = without_shared(rest, dev, content, of_dev)
    return Named(train, dev, left_out)
