"""`predictions.zip` for Codabench: the files at the zip's root, proven by reading it again."""

import os
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from challenge.paths import JSON_FILES
from challenge.readers import SubmissionError

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same folder gives the same zip, byte for byte


def pack(folder: Path, files: Sequence[str], target: Path) -> None:
    """Zip `files`, which are paths relative to `folder`, under those very names, and re-open the zip to prove it.

    `target` appears only when complete. Raises SubmissionError if it lies within `folder` or does not hold exactly
    the files afterwards.
    """
    if target.resolve().is_relative_to(folder.resolve()):
        raise SubmissionError(f"{target} lies within the folder to be packed; give a path outside of it")
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(suffix=".zip", prefix=".", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(files):
                archive.writestr(_entry(file), (folder / file).read_bytes())
        verify(temporary, files)
        temporary.chmod(0o644)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def verify(archive: Path, files: Sequence[str]) -> None:
    """Open a zip and raise SubmissionError unless it holds exactly `files`, undamaged, with the JSON at its root."""
    with zipfile.ZipFile(archive) as opened:
        damaged = opened.testzip()
        names = opened.namelist()
    if damaged:
        raise SubmissionError(f"{archive.name}: {damaged} is damaged in the zip; check the disk and pack again")
    if sorted(names) != sorted(files):
        odd = sorted(set(names) ^ set(files))
        raise SubmissionError(f"{archive.name}: the zip's content differs from the folder's, first in {odd[:1]}")
    nested = [name for name in JSON_FILES.values() if name not in names]
    if nested:
        raise SubmissionError(f"{archive.name}: {nested[0]} is not at the zip's root; pack from inside the folder")


def _entry(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return info
