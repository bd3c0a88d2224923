"""Lines that names cannot forge, and streams that break."""

import errno
import logging
import os
import subprocess
import sys

import click
import pytest

from challenge.errors import UserError
from challenge.host.console import LineFormatter, lasting_streams, log_to_stderr, printable, say
from challenge.host.exits import exit_code
from challenge.host.progress import progress


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("../Uterine\u00a0fibroid/ü (1).png", "../Uterine\u00a0fibroid/ü (1).png"),
        ("a\nb\r\x1b[2J\t\0", r"a\nb\r\x1b[2J\t\x00"),
        ("a\x85b\u2028c\u2029", r"a\x85b\u2028c\u2029"),
        ("\x9b31m\u202etxt.exe\u200b\u2066", r"\x9b31m\u202etxt.exe\u200b\u2066"),
        ("half \udcff", r"half \udcff"),
    ],
)
def test_control_characters_are_written_as_escapes(text, expected):
    assert printable(text) == expected
    assert len(printable(text).splitlines()) == 1


def test_permitted_characters_stay():
    assert printable("a\n\tb\x1b", keep="\n\t") == "a\n\tb\\x1b"


def test_a_record_is_one_line_and_its_traceback_has_its_own():
    try:
        raise ValueError("x\x1b[2J")
    except ValueError:
        record = logging.LogRecord("a", logging.INFO, "", 0, "name %s", ("a\nb\x1b",), sys.exc_info())
    first, *others = LineFormatter("%(levelname)s %(message)s").format(record).split("\n")
    assert first == r"INFO name a\nb\x1b"
    assert others[0] == "Traceback (most recent call last):"
    assert others[-1] == r"ValueError: x\x1b[2J"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("x\ny\x1b.csv, line 2: wrong"), 2, r"x\ny\x1b.csv, line 2: wrong"),
        (ValueError("x\x1b y"), 1, r"unexpected ValueError: x\x1b y"),
        (click.UsageError("x\x1b y"), 2, r"Error: x\x1b y"),
    ],
)
def test_the_last_line_is_a_single_line(capsys, error, code, line):
    def fail():
        raise error

    assert exit_code(fail) == code
    said = capsys.readouterr().err
    assert said.splitlines()[-1] == line
    assert "\x1b" not in said


class Broken:
    """A stream whose reader is gone."""

    def __init__(self, number=errno.EPIPE):
        self.number = number

    def write(self, _):
        raise OSError(self.number, "gone")

    def flush(self):
        raise OSError(self.number, "gone")

    def isatty(self):
        return False

    def fileno(self):
        return self.descriptor


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO, errno.ENOSPC])
def test_a_broken_stderr_changes_no_exit_code(monkeypatch, tmp_path, number):
    broken = Broken(number)
    broken.descriptor = os.open(tmp_path / "stderr", os.O_WRONLY | os.O_CREAT)
    monkeypatch.setattr(sys, "stderr", broken)

    def fail():
        say("a word")
        raise UserError("wrong")

    assert exit_code(fail) == 2
    assert sys.stderr is broken
    assert os.path.samestat(os.fstat(broken.descriptor), os.stat(os.devnull))  # what it still holds goes nowhere
    os.close(broken.descriptor)


def test_output_for_a_closed_stderr_goes_to_stdout(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", None)
    with lasting_streams():
        say("a word")
    assert sys.stderr is None
    assert capsys.readouterr().out == "a word\n"


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_no_file_that_is_opened_later_becomes_stdout_or_stderr(repository, tmp_path, closed):
    code = (
        "import os, sys; from challenge.host.console import lasting_streams\n"
        "with lasting_streams(): number = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT); os.write(2, b'native')\n"
        "os.write(number, str(number).encode())"
    )
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", code, str(tmp_path / "answer")]
    subprocess.run(command, cwd=repository, check=True)
    assert int((tmp_path / "answer").read_text()) > 2


def test_two_closed_streams_accept_output_without_an_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with lasting_streams():
        say("a word")
        print("another")
    assert sys.stdout is None


def logged(monkeypatch, folder, *, copy, same=False):
    """Log a record each of three loggers; return the names in the files that were stdout and stderr."""
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.WARNING)
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", out if same else err)
        log_to_stderr("INFO", copy_progress=copy)
        for name in ("challenge.manifest", "challenge.host.progress", "inference"):
            logging.root.handle(logging.LogRecord(name, logging.INFO, "", 0, name, (), None))
    lines = ((folder / name).read_text().splitlines() for name in ("out", "err"))
    return tuple([line.split(" INFO ")[1] for line in found] for found in lines)


ALL, OF_PROGRESS = (
    ["challenge.manifest", "challenge.host.progress", "inference"],
    ["challenge.host.progress", "inference"],
)


@pytest.mark.parametrize(("copy", "copied"), [(True, OF_PROGRESS), (False, [])])
def test_progress_is_copied_to_a_stdout_of_its_own(monkeypatch, tmp_path, copy, copied):
    assert logged(monkeypatch, tmp_path, copy=copy) == (copied, ALL)


def test_nothing_is_printed_twice_if_both_streams_are_one_file(monkeypatch, tmp_path):
    assert logged(monkeypatch, tmp_path, copy=True, same=True) == (ALL, [])


def test_a_name_cannot_move_the_bar_on_a_terminal(monkeypatch, tmp_path):
    monkeypatch.setattr(logging.root, "handlers", [])
    with (tmp_path / "err").open("w") as err:
        monkeypatch.setattr(sys, "stderr", err)
        log_to_stderr("INFO", copy_progress=False)
        for _ in progress([1], terminal=True):
            logging.root.handle(logging.LogRecord("a", logging.INFO, "", 0, "name\n\x1b[2J", (), None))
    text = (tmp_path / "err").read_text()
    assert r"INFO name\n\x1b[2J" in text
    assert "\x1b[2J" not in text
