"""Writing to stdout and stderr: file names cannot forge log lines, and closed or broken streams do no harm."""

import logging
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

_CONTROL = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories of characters that move the cursor, end a line, hide or reorder text, and of surrogates."""
_OF_PROGRESS = ("challenge.host.progress", "inference")
"""The loggers that report a run's progress and its end."""


def printable(text: str, keep: str = "") -> str:
    r"""Return `text` with every control character written as an escape (`\n`, `\x1b`), but for those in `keep`.

    Names in csv files and folders may hold any character; a line break in one could forge a log line.
    """
    if text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in _CONTROL and char not in keep else char
        for char in text
    )


class LineFormatter(logging.Formatter):
    """Writes one line per record, whatever its message holds. Only a traceback adds lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Format the line of a record."""
        return printable(super().formatMessage(record), keep="\t")

    def formatException(self, ei: Any) -> str:
        """Format the traceback of a record."""
        return printable(super().formatException(ei), keep="\t\n")


class _Lasting:
    """A stream whose reader may go away or whose disk may fill: then the text is lost, but the run continues."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text if the stream allows it."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush if the stream allows it."""
        with suppress(OSError):
            self._stream.flush()


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Make stdout and stderr writable in any case, until the end of the block.

    Text for a closed stderr goes to stdout; text for a closed stdout is dropped.
    """
    _take_free_descriptors()
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w") as nowhere:
        sys.stdout = sys.stdout or nowhere
        sys.stderr = cast(TextIO, _Lasting(sys.stderr or sys.stdout))
        try:
            yield
        finally:
            for stream in filter(None, before):
                _settle(stream)
            sys.stdout, sys.stderr = before


def say(text: str) -> None:
    """Write a line to stderr."""
    sys.stderr.write(f"{printable(text)}\n")
    sys.stderr.flush()


def log_to_stderr(level: str, *, copy_progress: bool = False) -> None:
    """Log to stderr. With `copy_progress`, progress lines go to stdout too, because some hosts only keep stdout.

    Nothing is copied to a terminal, or if both streams are the same file.
    """
    handlers = [logging.StreamHandler(sys.stderr)]
    if copy_progress and _is_another_file(sys.stdout, sys.stderr):
        handlers.append(logging.StreamHandler(cast(TextIO, _Lasting(sys.stdout))))
        handlers[1].addFilter(lambda record: record.name in _OF_PROGRESS)
    for handler in handlers:
        handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=level, handlers=handlers)


def _take_free_descriptors() -> None:
    """Occupy closed descriptors 0 to 2, so that no opened file gets one and receives the output of native code."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest free number: this one


def _settle(stream: TextIO) -> None:
    """Drop the text that a broken stream still holds; otherwise the interpreter would end with exit code 120."""
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _is_another_file(stdout: TextIO, stderr: TextIO) -> bool:
    try:
        return not stdout.isatty() and not os.path.sameopenfile(stdout.fileno(), stderr.fileno())
    except (OSError, ValueError):  # no file at all
        return False
