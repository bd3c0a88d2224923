"""Exit codes, and the promise that the last line of stderr is one sentence that says what went wrong."""

import sys
import traceback
from collections.abc import Callable
from enum import IntEnum

import click

from challenge.disk import DiskFullError
from challenge.errors import UserError


class Exit(IntEnum):
    """What a command ends with; a signal adds 128 + its number (130 Ctrl-C, 143 SIGTERM)."""

    OK = 0
    UNEXPECTED = 1
    USER = 2
    WITH_FALLBACKS = 3


def exit_code(command: Callable[[], object]) -> int:
    """Run a click command (standalone mode off) and return the process's exit code."""
    try:
        code = command()
        return code if isinstance(code, int) else Exit.OK
    except click.ClickException as error:
        error.show()
        return Exit.USER
    except (UserError, DiskFullError) as error:
        click.echo(str(error), err=True)
        return Exit.USER if isinstance(error, UserError) else Exit.UNEXPECTED
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; run the same command with --resume", err=True)
        return 130
    except Exception as error:  # the last resort: whatever it is, the last line must say it in one sentence
        traceback.print_exc(file=sys.stderr)
        click.echo(f"unexpected {type(error).__name__}: {' '.join(str(error).split())}", err=True)
        return Exit.UNEXPECTED
