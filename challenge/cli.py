"""What all command lines share: option types, `-h`, `--log-level`, one log format, one way to end with an error."""

from typing import Any

import click

from challenge.errors import UserError
from challenge.host.console import log_to_stderr
from challenge.host.disk import DiskFullError, is_full
from challenge.host.exits import exit_code, tell
from challenge.host.places import EXISTING_FILE, FILE, FOLDER

__all__ = ["EXISTING_FILE", "FILE", "FOLDER", "LOG_LEVEL", "SETTINGS", "Group", "run"]

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
"""`context_settings` of a command that stands alone; commands of a `Group` have them already."""

LOG_LEVEL = click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"], case_sensitive=False)


class Group(click.Group):
    """Commands with `-h` and `--log-level`, which logs to stderr. An error ends them with one sentence.

    The exit code is 2 for a UserError and 1 for a full disk; all other errors are for `run` to report.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        settings["context_settings"] = {**SETTINGS, **settings.get("context_settings", {})}
        super().__init__(*args, **settings)
        self.params.append(_log_level_option())

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn an error that the user can act on into one sentence and an exit code."""
        try:
            return super().invoke(ctx)
        except (UserError, DiskFullError) as error:
            ctx.exit(tell(error))
        except OSError as error:
            if not is_full(error):
                raise
            ctx.exit(tell(DiskFullError(f"the disk is full ({error}); free some space and repeat the command")))


def run(command: click.Command, name: str | None = None) -> int:
    """Run a command line, shown as `name` in its help. Return the exit code; the last line on stderr says why."""
    return exit_code(lambda: command(prog_name=name, standalone_mode=False))


def _log_level_option() -> click.Option:
    return click.Option(
        ["--log-level"],
        type=LOG_LEVEL,
        default="INFO",
        show_default=True,
        expose_value=False,
        callback=_start_log,
        help="Least severe log lines to show.",
    )


def _start_log(_: click.Context, __: click.Parameter, level: str) -> None:
    log_to_stderr(level)
