"""What goes to stdout and stderr: lines that nobody can forge, on streams that may be closed or break on the way."""

import logging
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

_CONTROL = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's categories of what moves the cursor, ends a line, hides or turns text, and of half characters."""
_OF_PROGRESS = ("challenge.host.progress", "inference")
"""The loggers that tell how far a run is, and how it ended."""


def printable(text: str, keep: str = "") -> str:
    r"""Return `text` with every control character written as an escape (`\n`, `\x1b`), but for those in `keep`.

    Names in csv files and folders may hold any character; a line end among them would forge a line of the log.
    """
    if text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in _CONTROL and char not in keep else char
        for char in text
    )


class LineFormatter(logging.Formatter):
    """One line per record, whatever its message holds. Only a traceback below it has line ends of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Format the line of a record."""
        return printable(super().formatMessage(record), keep="\t")

    def formatException(self, ei: Any) -> str:
        """Format the traceback of a record."""
        return printable(super().formatException(ei), keep="\t\n")


class _Lasting:
    """A stream whose reader may go away, or whose disk may fill: what is written then is lost, and nothing else."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write what can be written."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Hand on what can be handed on."""
        with suppress(OSError):
            self._stream.flush()


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Give a process stdout and stderr that can always be written to, until the end of the block.

    What would go to a closed stderr goes to stdout; what would go to a closed stdout goes nowhere.
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
    """Log to stderr; the lines that tell how far the run is go to stdout as well if `copy_progress`.

    Some hosts keep stdout alone. No copy is made for a terminal, or where both are the same file.
    """
    handlers = [logging.StreamHandler(sys.stderr)]
    if copy_progress and _is_another_file(sys.stdout, sys.stderr):
        handlers.append(logging.StreamHandler(cast(TextIO, _Lasting(sys.stdout))))
        handlers[1].addFilter(lambda record: record.name in _OF_PROGRESS)
    for handler in handlers:
        handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=level, handlers=handlers)


def _take_free_descriptors() -> None:
    """Else the next file that is opened would be stdout or stderr, and native code would print into an answer."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number, so this one


def _settle(stream: TextIO) -> None:
    """Forget what a broken stream still holds: the interpreter would fail on it at the very end, with exit code 120."""
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
