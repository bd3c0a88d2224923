"""Where the training data of weights come from: sources and licences by task, and the text of the LICENSE beside them.

A run that begins with other weights keeps theirs, and so do the weights that it is exported as.
"""

import json
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from challenge.class_names import checked_names
from challenge.errors import UserError

LICENCE_FILE = "LICENSE"
_WEIGHTS = "weights.json"


@dataclass(frozen=True)
class Source:
    """Where a task's training data comes from, and what its classes are called; each may be unknown, and empty."""

    source: str = ""
    licence: str = ""
    classes: tuple[str, ...] = ()

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> "Source":
        """Return a source that was recorded as plain data, or written as TOML."""
        classes = table.get("classes")
        return cls(table["source"], table["licence"], checked_names(classes) if classes else ())

    def with_more(self, rows: int) -> "Source":
        """Return the source of a task whose `rows` images were followed by others, of which nothing was said."""
        licence = f"{self.licence}; not stated for the further data" if self.licence else ""
        return Source(f"{self.source or 'other data'}; {rows} images; then further data", licence, self.classes)


@dataclass(frozen=True)
class Provenance:
    """Sources by task, and the text of a LICENSE, empty if there is none."""

    sources: Mapping[str, Source] = field(default_factory=dict)
    licence: str = ""

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> "Provenance":
        """Return what a run or weights recorded as plain data."""
        sources = {task_id: Source.from_table(entry) for task_id, entry in table.get("sources", {}).items()}
        return cls(sources, table.get("licence", ""))

    def after(self, rows_before: Mapping[str, int], trained: Collection[str]) -> "Provenance":
        """Return the provenance of a run that trained some tasks on data other than before."""
        again = {task_id: self.sources.get(task_id, Source()) for task_id in trained if task_id in rows_before}
        more = {task_id: source.with_more(rows_before[task_id]) for task_id, source in again.items()}
        return Provenance({**self.sources, **more}, self.licence)


def read_provenance(weights: Path, recorded: Provenance, rows: Mapping[str, int]) -> Provenance:
    """Return what a weights folder says of its data: what is `recorded` with the tensors, else `weights.json`, LICENSE.

    A sentence of `trained_on` ends with the number of images (`rows` by task), which is taken away again.
    """
    sources = dict(recorded.sources)
    table = _table(weights / _WEIGHTS)
    for task_id, task in table.get("tasks", {}).items():
        ending = f"{rows.get(task_id)} images"
        text = str(task.get("trained_on") or "").removesuffix(ending).rstrip("; ")
        licence = table.get("licences", {}).get(task_id, "")
        if task_id not in sources and (text or licence):
            sources[task_id] = Source(text, licence)
        if (names := task.get("class_names")) and task_id in sources and not sources[task_id].classes:
            sources[task_id] = replace(sources[task_id], classes=tuple(names))
    return Provenance(sources, read_licence(weights) or recorded.licence)


def read_licence(folder: Path) -> str:
    """Return the text of a folder's LICENSE; empty if there is none. Raises UserError if it cannot be read."""
    path = folder / LICENCE_FILE
    try:
        return path.read_text("utf-8") if path.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); make it readable UTF-8") from error


def read_sources(path: Path | None) -> dict[str, Source]:
    """Return the sources by task that a TOML file names. Raises UserError if it is malformed."""
    if path is None:
        return {}
    try:
        table = tomllib.loads(path.read_text("utf-8-sig"))
        return {task_id: Source.from_table(entry) for task_id, entry in table.items()}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is not a table of sources ({error}); each task needs source and licence") from error


def _table(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}  # a network.safetensors may lie alone
    return table if isinstance(table, dict) else {}
