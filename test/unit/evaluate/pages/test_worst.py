"""The worst cases: chosen by score, drawn on a sheet per kind, listed."""

import json

import pytest
from click.testing import CliRunner
from PIL import Image, ImageDraw

from challenge.class_names import ClassNames
from challenge.errors import UserError
from challenge.tasks import TaskKind
from evaluate.__main__ import main
from evaluate.pages.worst import worst, write_sheets
from evaluate.scores.cases import Outcome
from evaluate.scores.result import read_result


@pytest.fixture(scope="module")
def scores(data, spoilt, tmp_path_factory):
    path = tmp_path_factory.mktemp("scores") / "scores.json"
    arguments = ["score", "--data-root", data, "--predictions", spoilt, "--json", path, "--draws", 2]
    assert CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False).exit_code == 0
    return path


def test_the_worst_come_first_and_nothing_worse_is_left_out(scores):
    result = read_result(scores)
    cases = worst(result, TaskKind.DETECTION, 4)
    overlaps = [case.iou for case in cases]
    assert overlaps == sorted(overlaps)
    tasks = {task.spec.task_id for task in result.tasks_of(TaskKind.DETECTION)}
    others = [case for case in result.cases if case.task_id in tasks and case not in cases]
    assert all(case.outcome is not Outcome.ANSWERED or case.iou >= overlaps[-1] for case in others)


def test_the_command_draws_a_sheet_per_kind_and_lists_its_cases(scores, data, spoilt, tmp_path):
    arguments = ["worst", scores, "--data-root", data, "--predictions", spoilt, "--output", tmp_path, "--count", 6]
    printed = CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False).stdout
    kinds = {kind.value.lower() for kind in read_result(scores).kinds}
    assert {path.name for path in tmp_path.iterdir()} == {f"worst-{kind}.jpg" for kind in kinds}
    for path in tmp_path.iterdir():
        with Image.open(path) as sheet:
            assert sheet.width > 5 * 300  # five beside each other, the sixth below
            assert len(set(sheet.convert("L").get_flattened_data())) > 50
    assert printed.count("\n  ") == 6 * len(kinds)


def test_scores_of_another_folder_are_refused(scores, data, spoilt, tmp_path):
    table = json.loads(scores.read_text())
    for case in table["cases"]:
        case["row"] = f"other {case['row']}"
    (tmp_path / "other.json").write_text(json.dumps(table))
    with pytest.raises(UserError, match="has no row other"):
        list(write_sheets(read_result(tmp_path / "other.json"), data, spoilt, tmp_path, 3))


def test_sheets_say_which_line_is_what_and_name_files_and_classes(scores, data, spoilt, tmp_path, monkeypatch):
    texts = []
    original = ImageDraw.ImageDraw.text

    def text(self, position, words, *arguments, **how):
        texts.append(words)
        return original(self, position, words, *arguments, **how)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    names = ClassNames({"breast_2cls": ("benign", "malignant"), "cardiac_multi": ("outside", "LV", "wall", "LA")})
    result = read_result(scores)
    sheets = dict(write_sheets(result, data, spoilt, tmp_path, 12, names))
    assert {"prediction", "truth", "answer", "true class"} <= set(texts)
    assert {"LV", "wall", "LA", "benign", "malignant"} <= set(texts)
    assert any(text.startswith("said ") for text in texts)
    for case in (case for kind in TaskKind for case in worst(result, kind, 12)):
        assert case.image_path.rsplit("/", 1)[-1] in texts
    lines = sheets[tmp_path / "worst-classification.jpg"]
    assert any("said benign, is malignant" in line or "said malignant, is benign" in line for line in lines)
