"""Rows of different tasks that write one mask: the run is split, stopped and resumed like any other."""

import pytest
from contract.faults import as_csv

from model.frozen.options import Options
from model.frozen.run.merge import merge
from model.frozen.run.report import RunReport
from model.frozen.run.submission import run_submission

SHARED = "../Segmentation/shared.png"
ROWS = (
    ("../images/good 0.png", "lung", "segmentation", "2", SHARED),
    ("../images/good 1.png", "organ_cls", "classification", "6", ""),
    ("../images/good 0.png", "thyroid_nodule", "segmentation", "2", "../Segmentation/own.png"),
    ("../images/good 1.png", "breast_lesion", "segmentation", "2", SHARED),
    ("../images/good 1.png", "thyroid_nodule_det", "detection", "1", ""),
    ("../images/good 0.png", "breast_lesion", "segmentation", "2", SHARED),
)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def answer(data, output, weights, stop=lambda: False, **options):
    report = RunReport()
    run_submission(data, output, Options(weights, 1, device="cpu", **options), report, stop)
    return report


@pytest.fixture
def rows(data):
    data.write("good.csv", as_csv(ROWS))
    return data.root


@pytest.fixture
def whole(rows, tiny_weights, tmp_path):
    report = answer(rows, tmp_path / "whole", tiny_weights)
    assert (report.answered, report.rows) == (6, 6)
    assert [fallback["row"] for fallback in report.fallbacks] == ["good.csv, line 2", "good.csv, line 5"]
    return contents(tmp_path / "whole")


@pytest.mark.parametrize("count", [2, 5])
def test_parts_hold_every_row_once_and_merge_to_one_run(rows, whole, tiny_weights, tmp_path, count):
    folders = [tmp_path / f"part-{number}" for number in range(count)]
    reports = [answer(rows, folder, tiny_weights, num_parts=count, part_id=n) for n, folder in enumerate(folders)]
    assert sum(report.rows for report in reports) == 6
    assert sum(len(report.fallbacks) for report in reports) == 2
    merged = RunReport()
    merge(folders, tmp_path / "out", merged)
    assert contents(tmp_path / "out") == whole
    assert (merged.answered, len(merged.fallbacks)) == (6, 2)


def test_the_shared_mask_is_the_last_rows(rows, whole, tiny_weights, tmp_path, data):
    data.write("good.csv", as_csv([ROWS[5]]))
    answer(data.root, tmp_path / "alone", tiny_weights)
    assert whole["Segmentation/shared.png"] == contents(tmp_path / "alone")["Segmentation/shared.png"]


def test_a_resumed_run_answers_only_what_is_left(rows, whole, tiny_weights, tmp_path):
    calls = iter(range(1))
    stopped = answer(rows, tmp_path / "out", tiny_weights, stop=lambda: next(calls, None) is None)
    assert 0 < stopped.answered < 6
    report = answer(rows, tmp_path / "out", tiny_weights, resume=True)
    assert contents(tmp_path / "out") == whole
    assert (report.answered, report.resumed) == (6, stopped.answered)
    timings = report.to_dict()["timings"]
    assert timings["rows_per_s"] == pytest.approx((6 - stopped.answered) / timings["total_s"])
