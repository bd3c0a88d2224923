"""`predictions.zip` for Codabench: the files at the zip's root, proven by reading it again."""

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

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same folder gives the same zip, byte for byte


def pack(folder: Path, files: Sequence[str], target: Path) -> None:
    """Zip `files`, which are paths relative to `folder`, under those very names, and re-open the zip to prove it.

    `target` appears only when complete; a device or a FIFO is written into. Raises SubmissionError if it lies within
    `folder` or does not hold exactly the files afterwards, DiskFullError, UserError if it cannot be written.
    """
    if target.resolve().is_relative_to(folder.resolve()):
        raise SubmissionError(f"{target} lies within the folder to be packed; give a path outside of it")
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
    """Open a zip and raise SubmissionError unless it holds exactly `files`, undamaged, with the JSON at its root."""
    name = archive.name if isinstance(archive, Path) else "the zip"
    with zipfile.ZipFile(archive) as opened:
        damaged = opened.testzip()
        names = opened.namelist()
    if damaged:
        raise SubmissionError(f"{name}: {damaged} is damaged in the zip; check the disk and pack again")
    if sorted(names) != sorted(files):
        odd = sorted(set(names) ^ set(files))
        raise SubmissionError(f"{name}: the zip's content differs from the folder's, first in {odd[:1]}")
    nested = [file for file in JSON_FILES.values() if file not in names]
    if nested:
        raise SubmissionError(f"{name}: {nested[0]} is not at the zip's root; pack from inside the folder")


def _entry(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return info
