"""What goes to stdout and stderr: lines that nobody can forge, on streams that may be closed or break on the way."""

import io
import logging
import os
import stat
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO, cast

_CONTROL = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's categories of what moves the cursor, ends a line, hides text or turns its direction, and of half characters."""
PROGRESS = "challenge.progress"
"""The logger that tells how far a run is."""


def printable(text: str, keep: str = "") -> str:
    r"""Return `text` with every control character written as an escape (`\n`, `\x1b`), but for those in `keep`.

    Names in csv files and folders may hold any character; a line end among them would forge a line of the log.
    """
    if text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode()
        if unicodedata.category(char) in _CONTROL and char not in keep
        else char
        for char in text
    )


class LineFormatter(logging.Formatter):
    """One line per record, whatever its message holds. Only a traceback below it has line ends of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802, the library's name
        """Format the line of a record."""
        return printable(super().formatMessage(record), keep="\t")

    def formatException(self, ei) -> str:  # noqa: N802, the library's name
        """Format the traceback of a record."""
        return printable(super().formatException(ei), keep="\t\n")
