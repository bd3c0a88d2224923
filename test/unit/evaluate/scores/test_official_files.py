"""The organisers' two files and Codabench's columns, against an independent computation and the contract's layout."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unit.evaluate.answers import FILES
from unit.evaluate.folders import read_csv, write_csv
from unit.evaluate.official import Table, official_table
from unit.evaluate.test_command_line import run

from challenge.tasks import TaskKind

COLUMNS = ("Segmentation_DSC", "Segmentation_HD", "Classification_Accuracy", "Classification_AUC",
           "Classification_F1_macro", "Classification_F1_weighted", "Classification_MCC", "Detection_IoU",
           "Regression_MRE")  # fmt: skip


def written(data: Path, predictions: Path, folder: Path) -> tuple[Table, str, str]:
    """The two files' contents and the last line that was printed."""
    done = run("score", "--data-root", data, "--predictions", predictions, "--official-files", folder, "--jobs", 1,
               "--draws", 2)  # fmt: skip
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in folder.iterdir()) == ["evaluation_results.json", "evaluation_summary.txt"]
    table = json.loads((folder / "evaluation_results.json").read_text(encoding="utf-8"))
    return table, (folder / "evaluation_summary.txt").read_text(encoding="utf-8"), done.stdout.splitlines()[-1]


def assert_equal(found: Any, expected: Any, where: str = "") -> None:
    """The same keys in the same order, the same types, and numbers to 1e-6."""
    assert type(found) is type(expected), where
    if isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key in expected:
            assert_equal(found[key], expected[key], f"{where}/{key}")
    else:
        assert found == pytest.approx(expected, abs=1e-6), where


def test_results_have_the_scripts_keys_order_and_numbers(data: Path, spoilt: Path, tmp_path: Path) -> None:
    table, _, _ = written(data, spoilt, tmp_path / "new" / "out")
    assert_equal(table, official_table(data, spoilt))
    assert list(table) == ["segmentation", "classification", "detection", "regression"]
    assert list(table["segmentation"]["cardiac_multi"]["per_class"]) == [f"class_{c}" for c in range(4)]


def test_results_are_unrounded_with_an_indent_of_two(data: Path, spoilt: Path, tmp_path: Path) -> None:
    written(data, spoilt, tmp_path)
    text = (tmp_path / "evaluation_results.json").read_text()
    assert text == json.dumps(json.loads(text), indent=2)
    assert max(len(number) for number in text.replace(",", " ").split() if number.startswith("0.")) > 12


def test_tasks_without_samples_kinds_without_files_and_kinds_without_rows(
    own_data: Path, submission: Path, tmp_path: Path
) -> None:
    shutil.rmtree(submission / "masks" / "carotid_artery")
    (submission / FILES[TaskKind.DETECTION]).unlink()
    file = submission / FILES[TaskKind.CLASSIFICATION]
    file.write_text(json.dumps([entry for entry in json.loads(file.read_text()) if entry["task_id"] == "breast_2cls"]))
    (own_data / "csv_files" / "FUGC.csv").unlink()
    table, summary, line = written(own_data, submission, tmp_path / "out")
    assert_equal(table, official_table(own_data, submission))
    assert table["segmentation"]["carotid_artery"] == {"DSC": 0.0, "HD": 0.0, "num_samples": 0, "per_class": {}}
    assert table["classification"]["breast_3cls"]["num_samples"] == 0
    assert table["detection"] == {}
    assert "regression" not in table
    assert "[Regression Tasks]" not in summary
    assert "carotid_artery" not in summary
    assert "Detection_IoU n/a" in line
    assert "Regression_MRE n/a" in line
    assert "Segmentation_DSC 1.0000" in line


def test_a_task_that_the_script_skips_is_absent(own_data: Path, spoilt: Path, tmp_path: Path) -> None:
    path = own_data / "csv_files" / "FUGC.csv"
    write_csv(path, [row | {"task_name": "regression"} for row in read_csv(path)])
    table, _, line = written(own_data, spoilt, tmp_path / "out")
    assert "regression" not in table
    assert_equal(table, official_table(own_data, spoilt))
    assert "Regression_MRE n/a" in line


def test_summary(data: Path, spoilt: Path, tmp_path: Path) -> None:
    table, summary, _ = written(data, spoilt, tmp_path)

    def mean(kind: str, name: str) -> str:
        return f"{np.mean([task[name] for task in table[kind].values()]):.4f}"

    masks, classes = table["segmentation"], table["classification"]
    box, points = table["detection"]["thyroid_nodule_det"], table["regression"]["FUGC"]
    expected = [
        "=" * 80,
        "Evaluation Summary",
        "=" * 80,
        "",
        "[Segmentation Tasks]",
        f"  Average DSC: {mean('segmentation', 'DSC')}",
        f"  Average HD:  {mean('segmentation', 'HD')}",
        "  Number of tasks: 2",
        "  Task details:",
        *(f"    {name}: DSC={task['DSC']:.4f}, HD={task['HD']:.4f}, samples=12" for name, task in masks.items()),
        "",
        "[Classification Tasks]",
        f"  Average Accuracy:    {mean('classification', 'Accuracy')}",
        f"  Average AUC:         {mean('classification', 'AUC')}",
        f"  Average F1 (macro):  {mean('classification', 'F1_macro')}",
        f"  Average F1 (weight): {mean('classification', 'F1_weighted')}",
        f"  Average MCC:         {mean('classification', 'MCC')}",
        "  Number of tasks:     2",
        "  Task details:",
        *(
            f"    {name}: Acc={task['Accuracy']:.4f}, AUC={task['AUC']:.4f}, F1={task['F1_macro']:.4f}, "
            f"MCC={task['MCC']:.4f}, samples=12"
            for name, task in classes.items()
        ),
        "",
        "[Detection Tasks]",
        f"  Average IoU: {box['IoU']:.4f}",
        "  Number of tasks: 1",
        "  Task details:",
        f"    thyroid_nodule_det: IoU={box['IoU']:.4f}, samples=12",
        "",
        "[Regression Tasks]",
        f"  Average MRE: {points['MRE']:.4f}",
        "  Number of tasks: 1",
        "  Task details:",
        f"    FUGC: MRE={points['MRE']:.4f}, samples=12",
        "",
        "=" * 80,
        "",
    ]
    assert summary == "\n".join(expected)


def test_codabench_has_nine_columns_in_one_line(data: Path, spoilt: Path, tmp_path: Path) -> None:
    table, _, line = written(data, spoilt, tmp_path)
    words = line.removeprefix("Codabench: ").split()
    assert tuple(words[::2]) == COLUMNS
    for column, text in zip(words[::2], words[1::2], strict=True):
        kind, name = column.split("_", 1)
        assert text == f"{np.mean([task[name] for task in table[kind.lower()].values()]):.4f}"


def test_uusic_has_no_such_files(data: Path, exact: Path, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[]")
    done = run("score", "--profile", "uusic", "--data-root", data, "--predictions", exact,
               "--input-json", tmp_path / "list.json", "--official-files", tmp_path / "out")  # fmt: skip
    assert done.exit_code == 2
    assert "--official-files" in done.output.splitlines()[-1]
    assert not (tmp_path / "out").exists()
