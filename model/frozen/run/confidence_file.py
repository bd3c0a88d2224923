"""The confidence of every row in a file of its own (`--confidence`), which `python -m evaluate confidence` reads."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from challenge.errors import UserError
from challenge.host.disk import DiskFullError, is_full
from challenge.host.output_files import write_file
from model.frozen.run.journal import Record
from model.frozen.run.report import RunReport

SCHEMA = 1


def write_confidence(path: Path, records: Iterable[Record], report: RunReport) -> None:
    """Write the confidence of all rows answered so far as JSON. `report` says whose answers they are.

    Raises DiskFullError if that is what is wrong, else UserError.
    """
    about = {"schema": SCHEMA, "weights": report.weights, "answer_files": report.answer_files}
    head = json.dumps(about, ensure_ascii=False)[:-1]
    rows = ",\n".join(json.dumps(_row(record), ensure_ascii=False, allow_nan=False) for record in records)
    # File names may hold bytes that are not UTF-8; JSON escapes them as Python does.
    data = f'{head}, "rows": [\n{rows}\n]}}\n'.encode(errors="backslashreplace")
    try:
        write_file(path, data)
    except OSError as error:
        if is_full(error):
            raise DiskFullError.again(path.parent, path.name, len(data)) from error
        raise UserError(f"{path} cannot be written ({error.strerror or error}); give another path") from error


def _row(record: Record) -> dict[str, Any]:
    return {
        "row": record.row,
        "image_path": record.image_path,
        "task_id": record.task_id,
        "confidence": record.confidence,
        "spread": record.spread,
    }
