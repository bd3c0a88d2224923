"""The container's entry point: drops root's permissions, then imports `inference.py`, whose libraries start threads.

It does so only if FMC_UIA_STEP_DOWN is 1, as in the image, and the process is root.
"""

import os
import sys
from collections.abc import Sequence

import click

from challenge.errors import UserError
from challenge.host.exits import exit_code
from challenge.host.places import Places
from challenge.host.stepdown import step_down

SWITCH = "FMC_UIA_STEP_DOWN"
_WRITE_NOTHING = ("-h", "--help", "--list-tasks")


def give_up_rights(arguments: Sequence[str]) -> None:
    """Drop root's permissions and say so on stderr. Raises UserError if the output folder is not writable."""
    try:
        places = Places.of(arguments)
    except click.UsageError:  # the run reports the error
        places = None
    quiet = not set(_WRITE_NOTHING).isdisjoint(arguments)
    try:
        told = step_down(places)
    except UserError:
        if quiet:
            return
        raise
    if told and not quiet:
        click.echo(f"the container {told}", err=True)


def start() -> int:
    """Drop root's permissions if the image asks for it, then run the command line. Return the exit code."""
    if os.environ.get(SWITCH) == "1":
        give_up_rights(sys.argv[1:])
    from inference import run

    return run()


if __name__ == "__main__":
    raise SystemExit(exit_code(start))
