"""The figures of a run report, from records written by hand."""

import json
import time

import pytest

from challenge.host.exits import Exit
from challenge.tasks import TaskKind
from model.frozen.run.journal import Record
from model.frozen.run.report import RunReport


def record(index, kind=TaskKind.DETECTION, **more):
    return Record(index, kind, f"a.csv, line {index}", f"{index}.png", "t", {}, **more)


@pytest.fixture
def report():
    """Seven of eight rows answered, three of them by an earlier process, in at least a hundred seconds."""
    report = RunReport(started=time.monotonic() - 100, rows=8, resumed=3, duplicates=2, part="1/4")
    for index in range(5):
        report.add(record(index))
    report.add(record(5, TaskKind.SEGMENTATION, reason="cut off"))
    report.add(record(6, TaskKind.REGRESSION, note="16 bit", reason="late"))
    return report


def test_counts_fallbacks_and_notes(report):
    table = report.to_dict()
    assert (table["rows"], table["answered"], table["resumed"], table["duplicates"]) == (8, 7, 3, 2)
    assert table["part"] == "1/4"
    assert table["counts"] == {"detection": 5, "segmentation": 1, "regression": 1}
    assert table["fallbacks"] == [
        {"row": "a.csv, line 5", "image_path": "5.png", "task_id": "t", "reason": "cut off"},
        {"row": "a.csv, line 6", "image_path": "6.png", "task_id": "t", "reason": "late"},
    ]
    assert table["notes"] == [{"row": "a.csv, line 6", "image_path": "6.png", "task_id": "t", "note": "16 bit"}]


def test_rows_of_an_earlier_process_do_not_count_as_speed(report):
    timings = report.to_dict()["timings"]
    assert timings["total_s"] >= 100
    assert timings["rows_per_s"] == pytest.approx(4 / timings["total_s"])


def test_a_run_that_fails_early_says_so(tmp_path):
    report = RunReport()
    report.write(tmp_path / "deep" / "report.json")
    table = json.loads((tmp_path / "deep" / "report.json").read_text())
    assert (table["status"], table["exit_code"], table["answered"]) == ("failed", 1, 0)
    assert table["timings"]["first_prediction_s"] is None


def test_the_last_line(report):
    assert report.last_word() is None
    report.exit_code = Exit.WITH_FALLBACKS
    assert report.last_word() == (
        "2 rows got a fallback, the first at a.csv, line 5: cut off; see --report"
    )  # fmt: skip
    report.status = "stopped"
    assert report.last_word() == "stopped by a signal after 7 of 8 rows; run the same command with --resume"
