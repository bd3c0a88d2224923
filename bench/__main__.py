"""`python -m bench ...`: what is measured for the documents."""

import click

from bench.breakdown import breakdown
from bench.end_to_end import end_to_end
from bench.load import load
from bench.near_copies import near_copies
from bench.runtimes import runtimes
from bench.scaling import scaling
from bench.scoring import scoring
from bench.systems import systems
from bench.throughput import throughput
from challenge.cli import Group, run


@click.group(cls=Group)
def main() -> None:
    """Measure what the documents state; every command prints what it found."""


for command in (breakdown, end_to_end, load, near_copies, runtimes, scaling, scoring, systems, throughput):
    main.add_command(command)

if __name__ == "__main__":
    raise SystemExit(run(main, "python -m bench"))
