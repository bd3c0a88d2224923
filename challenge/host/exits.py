"""Exit codes; the last line on stderr is one sentence that says what went wrong."""

import io
import sys
import traceback
from collections.abc import Callable
from enum import IntEnum

import click

from challenge.errors import UserError, WeightsError
from challenge.host.console import lasting_streams, printable, say
from challenge.host.disk import DiskFullError
from challenge.host.shortage import shortage
from challenge.host.signals import Stopped

_OWN_PACKAGES = frozenset({"challenge", "model", "evaluate", "training", "bench", "inference"})


class Exit(IntEnum):
    """Exit codes. A signal gives 128 + its number (130 Ctrl-C, 143 SIGTERM)."""

    OK = 0
    UNEXPECTED = 1
    USER = 2
    WITH_FALLBACKS = 3


def exit_code(command: Callable[[], object]) -> int:
    """Run a click command (standalone mode off) and return the exit code, even if stdout or stderr break."""
    with lasting_streams():
        return _exit_code(command)


def tell(error: UserError | DiskFullError) -> Exit:
    """Write the error's sentence to stderr and return its exit code."""
    if isinstance(error, WeightsError) and (reason := shortage(error)):  # a runtime that lacks memory blames its graph
        return _told_shortage(reason)
    say(str(error))
    return Exit.USER if isinstance(error, UserError) else Exit.UNEXPECTED


def _exit_code(command: Callable[[], object]) -> int:
    try:
        code = command()
        return code if isinstance(code, int) else Exit.OK
    except click.ClickException as error:
        error.show(shown := io.StringIO())
        sys.stderr.write(printable(shown.getvalue(), keep="\n"))
        return Exit.USER
    except (UserError, DiskFullError) as error:
        return tell(error)
    except Stopped as stopped:
        say(str(stopped))
        return 128 + stopped.number
    except (KeyboardInterrupt, click.Abort):
        say("interrupted; run the same command with --resume")
        return 130
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] in _OWN_PACKAGES:  # a bug, and no matter of installation
            return _unexpected(error)
        say(
            f"this command needs the package {error.name!r}, which is not installed here; `make env` makes an "
            "environment with everything"
        )
        return Exit.USER
    except Exception as error:  # the last resort: the last line must be one sentence
        if reason := shortage(error):
            return _told_shortage(reason)
        return _unexpected(error)


def _told_shortage(reason: str) -> Exit:
    say(f"{reason}; an interrupted run continues with --resume")
    return Exit.UNEXPECTED


def _unexpected(error: Exception) -> Exit:
    sys.stderr.write(printable(traceback.format_exc(), keep="\t\n"))
    say(f"unexpected {type(error).__name__}: {' '.join(str(error).split())}")
    return Exit.UNEXPECTED
