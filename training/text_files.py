"""Small text files of a run: there whole or not at all."""

from pathlib import Path

from challenge.host.atomic import write_atomically


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 so that a crash or a full disk leaves the old file or the new one. Raises OSError."""
    write_atomically(path, [text.encode()])
