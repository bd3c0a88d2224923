"""`python -m training`: help everywhere, and how errors end."""

import pytest
from click.testing import CliRunner
from unit.training.commands import assert_refused

from training.__main__ import main


@pytest.mark.parametrize("arguments", [[], *([name] for name in sorted(main.commands))])
def test_help_has_a_short_form_everywhere(arguments):
    done = CliRunner().invoke(main, [*arguments, "-h"])
    assert (done.exit_code, done.output.startswith("Usage:")) == (0, True)


def test_a_missing_run_is_one_sentence(tmp_path):
    arguments = ["score", str(tmp_path / "none"), "--data-root", str(tmp_path)]
    assert_refused(CliRunner().invoke(main, arguments), "^there is no checkpoint in .*; train first, or give another")
