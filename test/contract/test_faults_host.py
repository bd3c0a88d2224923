"""Unusual hosts: their file systems, streams and signals; names with control characters."""

import errno
import json
import os
import signal

import pytest
from contract.faults import answers, as_csv

from model.frozen.pipeline import Pipeline


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_file_systems_that_lack_calls(data, call, untouched, monkeypatch, number):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    for name in ("fsync", "posix_fallocate", "chmod", "link"):
        monkeypatch.setattr(os, name, refuse, raising=False)
    ended = call(data.root, "--strict")
    assert (ended.code, ended.answers) == (0, untouched)


@pytest.mark.parametrize("redirection", ["2>&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full", ">/dev/full 2>&1"])
def test_streams_that_are_closed_or_full(process, untouched, tmp_path, redirection):
    if "/dev/full" in redirection and not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full here")
    assert process(redirection).returncode == 0
    assert answers(tmp_path / "out") == untouched
    assert process(redirection, "--weights", "nothing", output="two").returncode == 2


def test_output_for_a_closed_stderr_goes_to_stdout(process):
    lines = process("2>&-").stdout.splitlines()
    assert lines[-1].endswith("0 of them with a fallback")
    assert process("2>&-", "--weights", "nothing").stdout.startswith("there is no nothing/weights.json; ")


def test_a_host_that_keeps_stdout_alone_sees_progress(process):
    done = process("")
    told = done.stdout.splitlines()
    assert [line.split(" INFO ")[1].split(" in ")[0] for line in told] == ["rows: 4", "4 rows answered"]
    assert set(told) < set(done.stderr.splitlines())
    together = process("2>&1").stdout.splitlines()
    assert len(together) == len(set(together))


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGXCPU, signal.SIGTERM, signal.SIGINT])
def test_signals_of_schedulers_stop_a_run_that_goes_on(data, call, untouched, monkeypatch, tmp_path, number):
    for copy in range(20):
        (data.root / "images" / f"{copy}.png").symlink_to("good 1.png")
    data.add(*((f"../images/{copy}.png", "organ_cls", "classification", "6", "") for copy in range(20)))
    whole, run = call(data.root), Pipeline.run

    def interrupted(*arguments):
        for count, sample in enumerate(run(*arguments)):
            if count == 0:
                signal.raise_signal(number)
            yield sample

    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "run", interrupted)
        stopped = call(data.root, output=tmp_path / "stopped")
    assert (stopped.code, stopped.report["exit_code"], stopped.report["status"]) == (128 + number,) * 2 + ("stopped",)
    assert 0 < stopped.report["answered"] < stopped.report["rows"]
    again = call(data.root, "--resume", output=tmp_path / "stopped")
    assert (again.code, again.answers) == (0, whole.answers)


def test_names_forge_no_line_and_are_repeated_exactly(process, data, tmp_path):
    forged = "\n2026-01-01 00:00:00,000 INFO 9 rows answered\x1b[2J\x9b1m"
    image, task = f"../images/x{forged}.png", f"task{forged}"
    data.write(f"z{forged}.csv", as_csv([(image, task, "classification", "2", "")]))
    done = process("", "--strict", "--report", "run.json")
    assert done.returncode == 3
    controls = {chr(code) for code in (*range(32), *range(127, 160))} - {"\n"}
    assert not controls.intersection(done.stderr + done.stdout)
    assert not [line for line in done.stderr.splitlines() if line.startswith("2026-01-01")]
    (entry,) = [entry for key, entry in answers(tmp_path / "out").items() if key[0] == image]
    assert entry["task_id"] == task
    (fallback,) = json.loads((tmp_path / "run.json").read_text("utf-8"))["fallbacks"]
    assert (fallback["image_path"], fallback["row"]) == (image, f"z{forged}.csv, line 2")


def test_an_error_with_a_forged_name_is_one_line(process, data):
    data.write("z\n\x1b[2J.csv", b"image_path\n")
    done = process("")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(r"z\n\x1b[2J.csv lacks the column(s) task_id, task_name")
    assert "\x1b" not in done.stderr


def test_a_manifest_whose_name_is_not_text(data, call, untouched):
    os.rename(data.root / "csv_files" / "good.csv", os.fsencode(data.root / "csv_files") + b"/\xff.csv")
    ended = call(data.root)
    assert (ended.code, ended.answers) == (0, untouched)
    data.add(("../images/nothing.png", "organ_cls", "classification", "6", ""), name=os.fsdecode(b"\xfe.csv"))
    assert list(call(data.root).fallbacks) == [os.fsdecode(b"\xfe.csv, line 2")]
