"""`python -m bench ...`: what is measured for the documents."""

import logging
import sys

import click

from bench.breakdown import breakdown
from bench.end_to_end import end_to_end
from bench.engines import engines
from bench.load import load
from bench.scaling import scaling
from bench.scoring import scoring
from bench.systems import systems
from bench.throughput import throughput
from challenge.host.exits import exit_code


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure what the documents state; every command prints what it found."""
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)


for command in (breakdown, end_to_end, engines, load, scaling, scoring, systems, throughput):
    main.add_command(command)

if __name__ == "__main__":
    raise SystemExit(exit_code(lambda: main(standalone_mode=False)))
