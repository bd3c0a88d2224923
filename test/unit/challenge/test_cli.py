"""What all command lines share: help, log lines, and how they end."""

import errno
import signal

import click
import pytest
from click.testing import CliRunner

from challenge.cli import FILE, FOLDER, Group, run
from challenge.errors import UserError
from challenge.host.disk import DiskFullError
from challenge.host.signals import Stopped


@pytest.fixture
def commands():
    @click.group(cls=Group)
    def main():
        """Do things."""

    @main.command()
    @click.option("--folder", type=FOLDER)
    @click.option("--file", "file", type=FILE)
    def paths(folder, file):
        """Take two paths."""

    return main


def failing(commands, error):
    @commands.command()
    def fail():
        raise error

    return commands


@pytest.mark.parametrize(
    ("error", "code", "last_line"),
    [
        (UserError("give a folder"), 2, "give a folder"),
        (DiskFullError("make room"), 1, "make room"),
        (OSError(errno.ENOSPC, "No space left"), 1,
         "the disk is full ([Errno 28] No space left); free some space and repeat the command"),
    ],
)  # fmt: skip
def test_an_error_is_one_sentence_and_an_exit_code(commands, error, code, last_line):
    ended = CliRunner().invoke(failing(commands, error), ["fail"])
    assert (ended.exit_code, ended.output.splitlines()[-1]) == (code, last_line)


def test_other_errors_are_left_to_run(commands, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["x", "fail"])
    assert run(failing(commands, OSError(errno.EIO, "Input/output error"))) == 1
    assert "unexpected OSError" in capsys.readouterr().err.splitlines()[-1]


def test_a_run_that_a_signal_ended_gives_the_signals_exit_code(commands, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["x", "fail"])
    assert run(failing(commands, Stopped(signal.SIGTERM, "stopped by SIGTERM"))) == 128 + signal.SIGTERM
    assert capsys.readouterr().err == "stopped by SIGTERM\n"


@pytest.mark.parametrize("arguments", [["-h"], ["--help"], ["paths", "-h"], ["paths", "--help"]])
def test_help_has_a_short_name_everywhere(commands, arguments):
    ended = CliRunner().invoke(commands, arguments)
    assert ended.exit_code == 0
    assert "-h, --help" in ended.output


def test_a_file_is_not_a_folder_and_a_folder_not_a_file(commands, tmp_path):
    file = tmp_path / "file"
    file.touch()
    for option, path in (("--folder", file), ("--file", tmp_path)):
        ended = CliRunner().invoke(commands, ["paths", option, str(path)])
        assert (ended.exit_code, option in ended.output) == (2, True)


def test_the_log_level_takes_either_case(commands):
    for level in ("debug", "ERROR"):
        assert CliRunner().invoke(commands, ["--log-level", level, "paths"]).exit_code == 0
