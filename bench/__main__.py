"""`python -m bench ...`: the measurements for the documents."""

import click

from bench.measuring.stopwatch import FailedError
from challenge.cli import Group
from challenge.errors import UserError
from challenge.host.exits import exit_code


def command_line() -> click.Group:
    """Return the command line. Raises ModuleNotFoundError if a package that a command needs is not installed."""
    from bench.breakdown import breakdown
    from bench.end_to_end import end_to_end
    from bench.gpu import gpu
    from bench.load import load
    from bench.predictor import predictor
    from bench.recipes import recipes
    from bench.runtimes import runtimes
    from bench.scaling import scaling
    from bench.scoring import scoring
    from bench.systems import systems
    from bench.training.challenge_folder import challenge_folder
    from bench.training.loader import loader
    from bench.training.near_copies import near_copies
    from bench.training.throughput import throughput

    commands = [
        breakdown,
        challenge_folder,
        end_to_end,
        gpu,
        load,
        loader,
        near_copies,
        predictor,
        recipes,
        runtimes,
        scaling,
        scoring,
        systems,
        throughput,
    ]
    return Group("bench", commands, help="Measure the numbers in the documents. Every command prints its results.")


def run() -> int:
    """Run the command line and return its exit code; the last line on stderr says what went wrong."""
    return exit_code(_call)


def _call() -> object:
    try:
        return command_line()(prog_name="python -m bench", standalone_mode=False)
    except FailedError as error:
        raise UserError(str(error)) from error


if __name__ == "__main__":
    raise SystemExit(run())
