"""Run reports of every schema are read; the sample of the newest one is what a run writes."""

import json
from pathlib import Path

from evaluate.scores.run_report import SCHEMAS, read_run_report
from model.frozen.run.report import SCHEMA, RunReport

SAMPLES = [Path(__file__).parent / "samples" / f"run_report_schema_{number}.json" for number in SCHEMAS]


def test_every_schema_says_the_same() -> None:
    first, *others = map(read_run_report, SAMPLES)
    assert all(other == first for other in others)


def test_a_run_writes_the_newest_schema() -> None:
    newest = json.loads(SAMPLES[-1].read_text(encoding="utf-8"))
    assert newest["schema"] == SCHEMA == SCHEMAS[-1]
    assert list(newest) == list(RunReport().to_dict())


def test_the_runtime_has_that_name_since_schema_2() -> None:
    old, new = (json.loads(path.read_text(encoding="utf-8"))["device"] for path in SAMPLES)
    assert (old["engine"], new["runtime"]) == ("onnxruntime", "onnxruntime")
    assert "engine" not in new
