"""Writing files: no input is replaced, a file appears complete or not at all, a full disk gives one clear error."""

from collections.abc import Iterable
from pathlib import Path

from challenge.errors import UserError
from challenge.host.disk import DiskFullError, is_full
from challenge.host.output_files import check_file_target, write_file


def check_targets(targets: Iterable[Path | None], inputs: Iterable[Path | None]) -> None:
    """Raise UserError, before any work, if a target lies in an input (a folder or a file), or may not be written."""
    roots = [path for path in inputs if path]
    for target in targets:
        if target:
            check_file_target(target, roots)


def write_output(path: Path, data: bytes) -> None:
    """Write a file as `challenge.host.output_files.write_file` does. Raises DiskFullError, else UserError."""
    try:
        write_file(path, data)
    except OSError as error:
        raise output_error(path, len(data), error) from error


def output_error(path: Path, size: int, error: OSError) -> DiskFullError | UserError:
    """Return the error, one sentence, for a file of about `size` bytes that could not be written."""
    if is_full(error):
        return DiskFullError.again(path.parent, path.name, size)
    return UserError(f"{path} cannot be written ({error.strerror or error}); give another path")
