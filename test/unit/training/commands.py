"""How a command of `python -m training` is expected to end."""

import re

from click.testing import Result


def assert_refused(result: Result, reason: str) -> None:
    """The command ended with exit code 2, and the last line matches the regular expression `reason`."""
    assert result.exit_code == 2, result.output
    assert re.search(reason, result.output.splitlines()[-1])
