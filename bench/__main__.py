"""`python -m bench ...`: how fast things are on this machine."""

import logging
import sys

import click

from bench.scoring import scoring
from bench.throughput import throughput


@click.group()
def main() -> None:
    """Measure speed; every command prints what it measured."""
    logging.basicConfig(level="WARNING", format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)


main.add_command(scoring)
main.add_command(throughput)

if __name__ == "__main__":
    main()
