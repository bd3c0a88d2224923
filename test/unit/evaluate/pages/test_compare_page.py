"""The comparison page: one file, every run in it, significant differences coloured."""

from pathlib import Path

import pytest

from challenge.class_names import ClassNames
from challenge.errors import UserError
from challenge.tasks import TaskKind
from evaluate.pages.changed_rows import changed_rows
from evaluate.pages.compare_page import to_html
from evaluate.scores.cases import BoxCase
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
    assert "<h1>bad against good</h1>" in html
    assert "the folder of predictions is not here" not in html
    assert "No pictures: the data folder is not here." in html
    assert 'class="worse"' in html
    assert "http://" not in html.replace("http://www.w3.org", "")


def test_rows_that_changed_most_are_shown_beside_each_other(
    data: Path, exact: Path, spoilt: Path, tmp_path: Path
) -> None:
    files = tmp_path / "good.json", tmp_path / "bad.json"
    for file, predictions in zip(files, (exact, spoilt), strict=True):
        write_result(file, summarise(measure(data, predictions, 1), str(data), str(predictions), draws=20))
    comparison = compare_results(files, Column.STRICT, draws=20, names=["the good <one>", "spoilt"])
    changes = {found.kind: found for found in changed_rows(comparison, ClassNames())}
    assert set(changes) == set(TaskKind)
    for found in changes.values():
        assert len(found.worse) == 4
        assert not found.better
    worst = changes[TaskKind.DETECTION].worse[0]
    ious = [case.iou for case in comparison.results[1].cases if isinstance(case, BoxCase)]
    assert worst.before.score == "IoU 1.000"
    assert worst.after.score == f"IoU {min(ious):.3f}"
    html = to_html(comparison)
    assert "<h1>spoilt against the good &lt;one&gt;</h1>" in html
    assert html.count('class="pair"') == 16
    assert "Worse in spoilt" in html
    assert html.count('role="img"') == 4  # a chart of differences per kind


def test_every_run_needs_a_name_of_its_own(data: Path, exact: Path, tmp_path: Path) -> None:
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file in files:
        write_result(file, summarise(measure(data, exact, 1), "", "", draws=2))
    for names in (["one"], ["same", "same"]):
        with pytest.raises(UserError, match="give a different --name for each"):
            compare_results(files, Column.STRICT, draws=2, names=names)
