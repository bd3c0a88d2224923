"""`predictions.zip` for Codabench: the files at the zip's root, verified by reading the zip again."""

import io
import os
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from challenge.host.disk import flush, set_mode
from challenge.host.output_files import is_stream
from challenge.paths import JSON_FILES
from challenge.readers import SubmissionError
from evaluate.outputs import output_error, write_output

_EPOCH = (1980, 1, 1, 0, 0, 0)  # fixed, so that the same folder gives the same zip, byte for byte


def pack(folder: Path, files: Sequence[str], target: Path) -> None:
    """Zip `files` (paths relative to `folder`, which are also their names in the zip) and verify the zip.

    `target` appears only when it is complete, unless it is a device or a FIFO. Raises SubmissionError if it lies in
    `folder` or does not contain exactly the files; DiskFullError or UserError if it cannot be written.
    """
    if target.resolve().is_relative_to(folder.resolve()):
        raise SubmissionError(f"{target} lies in the folder to be packed; give a path outside of it")
    if is_stream(target):
        packed = io.BytesIO()
        _fill(packed, folder, files)
        verify(packed, files)
        write_output(target, packed.getvalue())
        return
    try:
        _replace(Path(os.path.realpath(target)), folder, files)
    except OSError as error:
        raise output_error(target, sum((folder / file).stat().st_size for file in files), error) from error


def _replace(target: Path, folder: Path, files: Sequence[str]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(suffix=".zip", prefix=".", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w+b") as stream:
            _fill(stream, folder, files)
            stream.flush()
            flush(stream.fileno())
        verify(temporary, files)
        set_mode(temporary, 0o644)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _fill(stream: IO[bytes], folder: Path, files: Sequence[str]) -> None:
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(files):
            archive.writestr(_entry(file), (folder / file).read_bytes())


def verify(archive: Path | IO[bytes], files: Sequence[str]) -> None:
    """Raise SubmissionError unless a zip contains exactly `files`, undamaged, with the JSON files at its root."""
    name = archive.name if isinstance(archive, Path) else "the zip"
    with zipfile.ZipFile(archive) as opened:
        damaged = opened.testzip()
        names = opened.namelist()
    if damaged:
        raise SubmissionError(f"{name}: {damaged} is damaged in the zip; check the disk and pack again")
    if sorted(names) != sorted(files):
        first = min(set(names) ^ set(files), default="a name that occurs twice")
        raise SubmissionError(f"{name}: the zip differs from the folder, first in {first}")
    nested = [file for file in JSON_FILES.values() if file not in names]
    if nested:
        raise SubmissionError(f"{name}: {nested[0]} is not at the zip's root; pack from inside the folder")


def _entry(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return info
