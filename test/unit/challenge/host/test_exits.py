"""Exit codes of a command's ends, and which system errors mean a full disk."""

import errno

import click
import pytest

from challenge.errors import UserError
from challenge.host.disk import DiskFullError, is_full
from challenge.host.exits import Exit, exit_code


def ends_with(error):
    def command():
        raise error

    return exit_code(command)


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (UserError("name a folder"), 2, "name a folder"),
        (click.UsageError("no such option"), 2, "no such option"),
        (DiskFullError("no room"), 1, "no room"),
        (KeyboardInterrupt(), 130, "interrupted; run the same command with --resume"),
        (RuntimeError("two\nlines"), 1, "unexpected RuntimeError: two lines"),
    ],
)
def test_every_end_has_an_exit_code_and_a_reason_in_the_last_line(capsys, error, code, told):
    assert ends_with(error) == code
    assert capsys.readouterr().err.strip().splitlines()[-1].endswith(told)


def test_the_return_value_of_a_command_is_its_exit_code():
    assert [exit_code(lambda value=value: value) for value in (0, 3, 143, None, "text")] == [0, 3, 143, 0, 0]
    assert [Exit.OK, Exit.UNEXPECTED, Exit.USER, Exit.WITH_FALLBACKS] == [0, 1, 2, 3]


def test_disk_quota_and_the_largest_file_count_as_full_and_nothing_else():
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    assert all(is_full(OSError(number, "x")) for number in full)
    assert not any(is_full(OSError(number, "x")) for number in (errno.EIO, errno.EACCES, errno.EROFS, errno.ENOENT))


def test_a_missing_package_is_one_sentence_without_a_traceback(capsys):
    def command():
        raise ModuleNotFoundError("No module named 'jinja2'", name="jinja2")

    assert exit_code(command) == Exit.USER
    assert "'jinja2', which is not installed here; `make env`" in capsys.readouterr().err


def test_a_missing_module_of_this_project_is_a_bug(capsys):
    def command():
        raise ModuleNotFoundError("No module named 'training.gone'", name="training.gone")

    assert exit_code(command) == Exit.UNEXPECTED
    assert "Traceback" in capsys.readouterr().err
