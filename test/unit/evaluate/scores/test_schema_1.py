"""Files of the first edition are still read: a stored sample each of `score --json` and `inference.py --report`."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from evaluate.scores.metric_table import Column
from evaluate.scores.result import read_result, write_result
from evaluate.scores.run_report import Resources, RowRemark, read_resources, read_run_report

SAMPLES = Path(__file__).parent / "samples"
RESULTS = ("scores_schema_1.json", "scores_schema_1_uusic.json")
RUN = SAMPLES / "run_report_schema_1.json"


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_file_gives_its_scores(name: str) -> None:
    content = json.loads((SAMPLES / name).read_text(encoding="utf-8"))
    result = read_result(SAMPLES / name)
    assert result.profile == content["profile"]
    for stored, found in ((content["kinds"], result.kinds), (content["tasks"], result.tasks)):
        assert list(stored) == list(found)
        for key, entry in stored.items():
            assert asdict(found[key].counts) == entry["counts"]
            for metric, columns in entry["metrics"].items():
                for column, estimate in columns.items():
                    assert asdict(found[key].metrics[metric][Column(column)]) == pytest.approx(estimate, abs=1e-12)


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_file_is_written_again_with_the_same_cases(name: str, tmp_path: Path) -> None:
    write_result(tmp_path / "again.json", read_result(SAMPLES / name))
    old, new = (json.loads(path.read_text(encoding="utf-8")) for path in (SAMPLES / name, tmp_path / "again.json"))
    assert new.keys() == old.keys()
    for key in ("schema", "profile", "counts", "bootstrap", "cases", "notes"):
        assert new[key] == old[key]
    assert new.get("resources") == old.get("resources")


def test_the_sample_contains_the_special_cases() -> None:
    cases = read_result(SAMPLES / RESULTS[0]).cases
    assert {case.outcome for case in cases} == {"answered", "missing", "no truth"}
    assert any(case.official is not None for case in cases)


def test_a_run_report_gives_what_the_pages_show() -> None:
    run = read_run_report(RUN)
    assert (run.status, run.exit_code, run.rows, run.answered) == ("complete", 3, 88, 88)
    assert (run.weights, run.sha256[:12], run.device, run.precision) == (
        "atlas_borders",
        "e4d5b31551b6",
        "cpu",
        "float32",
    )
    assert run.fallbacks == (RowRemark("FUGC.csv, line 3", "../images/FUGC/case (1).png", "FUGC", "damaged image"),)
    assert [note.text for note in run.notes] == ["truncated file"]
    assert run.prior_tasks == {"cervix", "cervix_multi"}
    assert run.versions["numpy"] == "2.4.6"
    assert read_resources(RUN) == Resources(2.6213002580000193, 88, 455.87109375, "cpu")
