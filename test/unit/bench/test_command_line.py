"""`python -m bench`: help everywhere, and one sentence where a package is not installed."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from bench.__main__ import command_line

COMMANDS = sorted(command_line().commands)


def test_the_commands_are_these():
    assert COMMANDS == [
        "breakdown", "challenge-folder", "end-to-end", "gpu", "load", "loader", "near-copies", "predictor",
        "recipes", "runtimes", "scaling", "scoring", "systems", "throughput",
    ]  # fmt: skip


@pytest.mark.parametrize("arguments", [[], *([name] for name in COMMANDS)])
def test_help_has_a_short_form_everywhere(arguments):
    done = CliRunner().invoke(command_line(), [*arguments, "-h"])
    assert (done.exit_code, done.output.startswith("Usage:")) == (0, True)


def test_a_package_that_is_not_installed_is_one_sentence(repository):
    program = "import sys; sys.modules['torch'] = None; from bench.__main__ import run; raise SystemExit(run())"
    done = subprocess.run([sys.executable, "-c", program, "-h"], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("this command needs the package 'torch', which is not installed here; ")
    assert len(done.stderr.splitlines()) == 1
