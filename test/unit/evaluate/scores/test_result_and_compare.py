"""Result files are written and read back; comparisons are paired, aligned by row, and report what differs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.evaluate.answers import FILES, write_answers
from unit.evaluate.folders import read_csv, write_csv

from challenge.errors import UserError
from challenge.tasks import TaskKind
from evaluate.scores.compare import compare_results
from evaluate.scores.compare_text import to_markdown
from evaluate.scores.metric_table import Column
from evaluate.scores.result import read_result, summarise, write_result
from evaluate.scores.scoring import measure


@pytest.fixture(scope="module")
def results(data: Path, exact: Path, spoilt: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Result files of a perfect and of a spoilt run."""
    folder = tmp_path_factory.mktemp("results")
    for name, predictions in (("good", exact), ("bad", spoilt)):
        write_result(folder / f"{name}.json", summarise(measure(data, predictions, 1), "data", name, draws=200))
    return folder / "good.json", folder / "bad.json"


def test_result_file_comes_back_with_the_same_numbers(results: tuple[Path, Path], data: Path, spoilt: Path) -> None:
    again = read_result(results[1])
    direct = summarise(measure(data, spoilt, 1), "data", "bad", draws=200)
    assert again == direct


def test_result_file_has_every_row_and_no_nan(results: tuple[Path, Path]) -> None:
    content = json.loads(results[1].read_text(), parse_constant=pytest.fail)
    assert content["schema"] == 1
    assert len(content["cases"]) == content["counts"]["rows"] == 72
    first = next(case for case in content["cases"] if case["task_id"] == "cardiac_multi")
    assert first["row"] == "cardiac_multi.csv, line 2"
    assert len(first["dice"]) == len(first["hausdorff"]) == 4
    task = content["tasks"]["cardiac_multi"]
    assert set(task["metrics"]["DSC"]["strict"]) == {"value", "low", "high"}
    assert len(task["parts"]["DSC"]["official"]) == 4


@pytest.mark.parametrize("content", ["", "[]", '{"schema": 2}', '{"schema": 1}'])
def test_a_file_that_is_not_a_result_is_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UserError, match=r"x\.json"):
        read_result(tmp_path / "x.json")


def test_a_run_compared_with_itself_does_not_differ(results: tuple[Path, Path]) -> None:
    comparison = compare_results([results[0], results[0]], Column.STRICT, draws=200)
    for lines in comparison.lines.values():
        for line in lines:
            [difference] = line.differences
            assert difference is not None
            assert (difference.value, difference.significant) == (0.0, False)
            assert difference.p == 1.0


@pytest.mark.parametrize("column", list(Column))
def test_a_worse_run_differs_significantly(results: tuple[Path, Path], column: Column) -> None:
    comparison = compare_results(results, column, draws=500)
    means = {line.metric.name: line for lines in comparison.lines.values() for line in lines if line.task_id is None}
    for name in ("DSC", "HD", "IoU", "MRE"):
        [difference] = means[name].differences
        assert difference is not None
        assert not difference.better
        assert difference.significant
        assert difference.low <= difference.value <= difference.high
        assert means[name].values[1] - means[name].values[0] == pytest.approx(difference.value)
    assert means["DSC"].differences[0].value < 0 < means["MRE"].differences[0].value
    backwards = compare_results(results[::-1], column, draws=500)
    assert backwards.lines[TaskKind.SEGMENTATION][0].differences[0].better


def test_pairing_makes_a_small_constant_gain_significant(data: Path, tmp_path: Path) -> None:
    """One pixel closer in every image, with errors that differ much between images: seen only if paired."""
    paths = []
    for name, step in (("before", 1.0), ("after", 0.0)):
        write_answers(data, tmp_path / name)
        file = tmp_path / name / FILES[TaskKind.REGRESSION]
        entries = json.loads(file.read_text())
        for index, entry in enumerate(entries):
            entry["predicted_points_pixels"] = [v + 4 * index + step for v in entry["predicted_points_pixels"]]
        file.write_text(json.dumps(entries))
        paths.append(tmp_path / f"{name}.json")
        write_result(paths[-1], summarise(measure(data, tmp_path / name, 1), "", "", draws=100))
    comparison = compare_results(paths, Column.OFFICIAL, draws=500)
    [difference] = comparison.lines[TaskKind.REGRESSION][0].differences
    before, after = (read_result(path).kinds[TaskKind.REGRESSION].metrics["MRE"][Column.OFFICIAL] for path in paths)
    assert difference is not None
    assert difference.significant
    assert difference.better
    assert before.low < after.high  # the runs' own intervals overlap


def test_only_rows_that_all_runs_have_are_compared(
    own_data: Path, exact: Path, results: tuple[Path, Path], tmp_path: Path
) -> None:
    path = own_data / "csv_files" / "FUGC.csv"
    write_csv(path, read_csv(path)[:-3])
    write_result(tmp_path / "fewer.json", summarise(measure(own_data, exact, 1), "", "", draws=100))
    comparison = compare_results([results[0], tmp_path / "fewer.json"], Column.STRICT, draws=100)
    assert comparison.rows == 69
    assert comparison.left_out == (3, 0)
    assert "3 rows of good" in to_markdown(comparison)


def test_markdown_holds_every_run_and_marks_what_is_significant(results: tuple[Path, Path]) -> None:
    comparison = compare_results(results, Column.STRICT, draws=200)
    markdown = to_markdown(comparison)
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    assert all(line.count("|") == table[0].count("|") for line in table)
    assert "| mean over tasks | Dice | 1.0000 |" in markdown
    assert "**-" in markdown


def test_comparisons_that_cannot_be_made_are_refused(results: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least two"):
        compare_results(results[:1], Column.STRICT, draws=100)
    content = json.loads(results[0].read_text())
    for case in content["cases"]:
        case["row"] = "elsewhere.csv, line 1"
    (tmp_path / "other.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="no rows in common"):
        compare_results([results[0], tmp_path / "other.json"], Column.STRICT, draws=100)


def width(files: tuple[Path, Path]) -> tuple[int, float]:
    """The number of groups of a comparison, and the width of the interval of one difference."""
    comparison = compare_results(files, Column.STRICT, draws=2000)
    [difference] = comparison.lines[TaskKind.REGRESSION][0].differences
    assert difference is not None
    assert difference.low is not None
    assert difference.high is not None
    return comparison.groups, difference.high - difference.low


def regrouped(path: Path, group: Callable[[dict[str, Any]], str]) -> Path:
    """A copy of a result file whose rows belong to other groups."""
    content = json.loads(path.read_text())
    for case in content["cases"]:
        case["group"] = group(case)
    target = path.with_name(f"{path.stem} regrouped.json")
    target.write_text(json.dumps(content))
    return target


def test_groups_of_several_rows_are_drawn_together(data: Path, exact: Path, tmp_path: Path) -> None:
    """Rows of a patient with equal errors count as one row: the interval is wider by the square root of two."""
    shutil.copytree(exact, tmp_path / "other")
    file = tmp_path / "other" / FILES[TaskKind.REGRESSION]
    entries = json.loads(file.read_text())
    for index, entry in enumerate(entries):
        entry["predicted_points_pixels"] = [value + index // 2 for value in entry["predicted_points_pixels"]]
    file.write_text(json.dumps(entries))
    for name, predictions in (("one", exact), ("two", tmp_path / "other")):
        write_result(tmp_path / f"{name}.json", summarise(measure(data, predictions, 1), "", "", draws=10))
    grouped = tmp_path / "one.json", tmp_path / "two.json"
    single = tuple(regrouped(path, lambda case: case["row"]) for path in grouped)
    groups, together = width(grouped)
    rows, apart = width((single[0], single[1]))
    assert (groups, rows) == (6, 72)
    assert together / apart == pytest.approx(2**0.5, rel=0.1)
