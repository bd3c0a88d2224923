"""The comparison page: one file, every run in it, significant differences coloured."""

from pathlib import Path

from evaluate.pages.compare_page import to_html
from evaluate.scores.compare import compare_results
from evaluate.scores.metric_table import Column
from evaluate.scores.result import summarise, write_result
from evaluate.scores.scoring import measure


def test_the_page_holds_every_run_and_marks_what_is_significant(
    data: Path, exact: Path, spoilt: Path, tmp_path: Path
) -> None:
    files = tmp_path / "good.json", tmp_path / "bad.json"
    for file, predictions in zip(files, (exact, spoilt), strict=True):
        write_result(file, summarise(measure(data, predictions, 1), "", "", draws=200))
    html = to_html(compare_results(files, Column.STRICT, draws=200))
    assert "<h1>good, bad</h1>" in html
    assert 'class="worse"' in html
    assert "http://" not in html.replace("http://www.w3.org", "")
