"""The run report's figures of this process."""

import errno
import json
import os
import subprocess
import sys

import pytest

from challenge.host.disk import DiskFullError
from challenge.tasks import TaskKind
from model.frozen.run.journal import Record
from model.frozen.run.report import RunReport


def with_rows(*rows):
    report = RunReport()
    for number, row in enumerate(rows):
        report.add(Record(number, TaskKind.CLASSIFICATION, row, "a\n\x1b.png", "organ_cls", {}, reason="why"))
    return report


def test_resumed_rows_do_not_count_in_rows_per_second(monkeypatch):
    report = with_rows("1", "2", "3", "4", "5")
    report.resumed = 3
    monkeypatch.setattr(RunReport, "seconds", lambda _: 4.0)
    assert report.to_dict()["timings"]["rows_per_s"] == 0.5
    report.resumed = 5
    assert report.to_dict()["timings"]["rows_per_s"] == 0


def test_a_report_knows_the_files_of_answers_that_are_there(tmp_path):
    (tmp_path / "detection_predictions.json").write_bytes(b"[]\n")
    report = RunReport()
    report.sign(tmp_path, ["detection_predictions.json", "regression_predictions.json"])
    digest = "37517e5f3dc66819f61f5a7bb8ace1921282415f10551d2defa5c3eb0985b570"
    assert report.to_dict()["answer_files"] == {"detection_predictions.json": digest}


def test_names_are_repeated_exactly_even_if_not_text(tmp_path):
    row = "a\n\x1b[2Jü\u2028\udcff.csv, line 2"
    with_rows(row).write(tmp_path / "report.json")
    (fallback,) = json.loads((tmp_path / "report.json").read_text("utf-8"))["fallbacks"]
    assert fallback == {"row": row, "image_path": "a\n\x1b.png", "task_id": "organ_cls", "reason": "why"}


def test_no_room_for_the_report_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "report.json").write_text("{}")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match=r"^no room is left for the report .*report\.json of [\d,]+ bytes; "):
        RunReport().write(tmp_path / "report.json")
    assert os.listdir(tmp_path) == ["report.json"]
    assert (tmp_path / "report.json").read_text() == "{}"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process's peak is its own already")
def test_peak_memory_excludes_the_starting_process(repository):
    ours = bytearray(400 << 20)
    ours[::4096] = b"1" * len(ours[::4096])  # touched, so that it is resident
    script = "from model.frozen.run.report import peak_memory_mib; print(peak_memory_mib())"
    child = subprocess.run([sys.executable, "-c", script], cwd=repository, capture_output=True, text=True, check=True)
    assert 5 < float(child.stdout) < 300
