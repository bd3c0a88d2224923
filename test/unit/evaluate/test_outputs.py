"""Targets of `python -m evaluate`: inputs are never replaced, streams are written into, a full disk is reported."""

import json
import os
import resource
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import IO, Any

import pytest
from unit.evaluate.folders import read_csv, write_csv
from unit.evaluate.test_command_line import run

from challenge.host.limits import available_cpus
from evaluate import outputs
from evaluate.scores.scoring import default_jobs

ROOM = 300
"""Bytes that a file may take in the tests of a full disk."""


def options(command: str, target: Path) -> list[object]:
    """The options by which a command is told to write `target`."""
    folder = target.parent
    return {
        "score": ["score", "--json", target, "--draws", 2, "--jobs", 1],
        "official": ["score", "--official-files", folder, "--draws", 2, "--jobs", 1],
        "check": ["check", "--zip", target],
        "report": ["report", "--output", folder, "--draws", 2, "--jobs", 1],
        "gallery": ["gallery", "--output", folder, "--per-task", 1],
    }[command]


COMMANDS = {
    "score": "scores.json",
    "official": "evaluation_results.json",
    "check": "out.zip",
    "report": "index.html",
    "gallery": "index.html",
}


@pytest.fixture
def few(own_data: Path) -> Path:
    """A data folder with two rows of two tasks."""
    for path in (own_data / "csv_files").iterdir():
        if path.stem in ("carotid_artery", "FUGC"):
            write_csv(path, read_csv(path)[:2])
        else:
            path.unlink()
    return own_data


@pytest.fixture
def answers(few: Path, submission: Path) -> Path:
    """Answers to only the two rows."""
    for name in ("classification", "detection"):
        (submission / f"{name}_predictions.json").write_text("[]")
    file = submission / "regression_predictions.json"
    file.write_text(json.dumps(json.loads(file.read_text())[:2]))
    return submission


def listing(*folders: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}


def asked(command: str, few: Path, answers: Path, target: Path) -> Any:
    return run(*options(command, target), "--data-root", few, "--predictions", answers)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("place", ["data", "answers", "a link into the data"])
def test_targets_within_what_is_read_are_refused_before_any_work(
    command: str, place: str, few: Path, answers: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(few / "images")
    folder = {"data": few / "images", "answers": answers, "a link into the data": tmp_path / "link"}[place]
    before = listing(few, answers)
    done = asked(command, few, answers, folder / COMMANDS[command])
    assert done.exit_code == 2
    assert "nothing may be replaced" in done.output.splitlines()[-1]
    assert "rows" not in done.output
    assert listing(few, answers) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_links_to_what_is_read_are_refused(command: str, few: Path, answers: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / COMMANDS[command]).symlink_to(few / "csv_files" / "FUGC.csv")
    before = listing(few, answers)
    done = asked(command, few, answers, folder / COMMANDS[command])
    assert done.exit_code == 2
    assert listing(few, answers) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_an_earlier_file_is_replaced(command: str, few: Path, answers: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "out" / COMMANDS[command]
    for _ in range(2):
        assert asked(command, few, answers, target).exit_code == 0
    assert target.stat().st_size > ROOM
    assert not [path.name for path in target.parent.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(("option", "name"), [("--html", "a.json"), ("--markdown", "b.json"), ("--html", "c.csv")])
def test_compare_replaces_no_result(option: str, name: str, few: Path, answers: Path, tmp_path: Path) -> None:
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file in files:
        assert asked("score", few, answers, file).exit_code == 0
    (tmp_path / "c.csv").write_text("image_path")
    before = listing(tmp_path)
    done = run("compare", *files, option, tmp_path / name)
    assert done.exit_code == 2
    assert name in done.output
    assert listing(tmp_path) == before


def test_worst_replaces_its_own_sheets_and_nothing_that_links_elsewhere(
    few: Path, answers: Path, tmp_path: Path
) -> None:
    assert asked("score", few, answers, tmp_path / "scores.json").exit_code == 0
    folder, image = tmp_path / "sheets", few / "images/FUGC/case (0).png"
    command = ("worst", tmp_path / "scores.json", "--data-root", few, "--predictions", answers, "--output", folder)
    assert run(*command).exit_code == 0
    assert run(*command).exit_code == 0
    (folder / "worst-regression.jpg").unlink()
    (folder / "worst-regression.jpg").symlink_to(image)
    before = image.read_bytes()
    assert run(*command).exit_code == 2
    assert image.read_bytes() == before


def test_a_data_folder_in_another_layout_is_not_written_into_the_data(few: Path) -> None:
    for output in (few, few / "uusic"):
        before = listing(few)
        assert run("uusic-folder", "--data-root", few, "--output", output).exit_code == 2
        assert listing(few) == before


class Reader(threading.Thread):
    """Reads a FIFO to its end."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        os.mkfifo(path)
        self.data = b""
        self._stream: IO[bytes] = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb")
        os.set_blocking(self._stream.fileno(), True)
        self._keeper = os.open(path, os.O_WRONLY)  # else the end is reached before the writer comes
        self.start()

    def run(self) -> None:
        self.data = self._stream.read()

    def received(self) -> bytes:
        os.close(self._keeper)
        self.join(timeout=30)
        return self.data


def test_a_fifo_is_written_into(few: Path, answers: Path, tmp_path: Path) -> None:
    for command, name in (("score", "a.json"), ("check", "b.zip")):
        reader = Reader(tmp_path / name)
        done = asked(command, few, answers, tmp_path / name)
        assert done.exit_code == 0, done.output
        data = reader.received()
        assert (tmp_path / name).is_fifo()
        assert done.stdout == ""
        if command == "score":
            assert json.loads(data)["counts"]["rows"] == 4
        else:
            (tmp_path / "received.zip").write_bytes(data)
            assert len(zipfile.ZipFile(tmp_path / "received.zip").namelist()) == 5


def process(command: str, few: Path, answers: Path, target: Path, repository: Path, **how: Any) -> Any:
    arguments = [*options(command, target), "--data-root", few, "--predictions", answers]
    return subprocess.run(
        [sys.executable, "-m", "evaluate", *map(str, arguments)],
        cwd=repository,
        capture_output=True,
        check=False,
        timeout=300,
        **how,
    )


def test_stdout_as_a_target_gets_only_the_file(few: Path, answers: Path, repository: Path) -> None:
    done = process("score", few, answers, Path("/dev/stdout"), repository)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"]["rows"] == 4
    assert b"mean over tasks" in done.stderr


def no_room() -> None:
    """Files of at most ROOM bytes, as a quota sets it."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, ROOM))


@pytest.mark.parametrize(("command", "exists"), [*((command, False) for command in COMMANDS), ("check", True)])
def test_a_full_disk_is_one_sentence_and_leaves_what_was_there(
    command: str, exists: bool, few: Path, answers: Path, tmp_path: Path, repository: Path
) -> None:
    target = tmp_path / "out" / COMMANDS[command]
    if exists:
        target.parent.mkdir()
        target.write_text("{}")
    done = process(command, few, answers, target, repository, preexec_fn=no_room)
    assert done.returncode == 1
    last = done.stderr.decode().splitlines()[-1]
    assert last.startswith(f"no room is left in {target.parent} for {target.name}: about ")
    assert b"Traceback" not in done.stderr
    assert {path.name: path.read_text() for path in target.parent.iterdir()} == ({target.name: "{}"} if exists else {})


def test_other_write_errors_are_one_sentence(
    few: Path, answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, data: bytes) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(outputs, "write_file", refused)
    done = asked("score", few, answers, tmp_path / "a.json")
    assert done.exit_code == 2
    assert f"{tmp_path / 'a.json'} cannot be written (Input/output error)" in done.output.splitlines()[-1]


def test_names_cannot_forge_lines(few: Path, answers: Path, tmp_path: Path) -> None:
    path = few / "csv_files" / "FUGC.csv"
    write_csv(path, [row | {"task_id": "FUGC\nforged\x1b[31m"} for row in read_csv(path)])
    for command in ("score", "check"):
        printed = asked(command, few, answers, tmp_path / COMMANDS[command]).output
        assert "\x1b" not in printed
        assert not any(line.startswith("forged") for line in printed.splitlines())
        assert "\\x1b" in printed or command == "check"


def test_the_default_number_of_processes_obeys_the_limits() -> None:
    assert default_jobs() == available_cpus()
