"""Names of classes: read from weights or a TOML file, checked, and numbers where there are none."""

import json

import pytest

from challenge.class_names import ClassNames, read_class_names
from challenge.errors import UserError
from challenge.tasks import CATALOGUE, TaskKind, TaskSpec

BREAST = CATALOGUE["breast_2cls"]
HEART = CATALOGUE["cardiac_multi"]
NAMES = ClassNames({"breast_2cls": ("benign", "malignant")})


def test_a_task_with_names_has_them_and_another_its_numbers():
    assert NAMES.of(BREAST) == ("benign", "malignant")
    assert NAMES.of(HEART) == ("background", "class 1", "class 2", "class 3")
    assert NAMES.of(CATALOGUE["FUGC"]) == ("point 1", "point 2")
    assert [NAMES.get(BREAST, index) for index in (1, 7, -1)] == ["malignant", "class 7", "class -1"]


def test_names_of_another_number_of_classes_are_not_used():
    three = TaskSpec("breast_2cls", TaskKind.CLASSIFICATION, 3)
    assert NAMES.of(three) == ("class 0", "class 1", "class 2")
    with pytest.raises(UserError, match=r"breast_2cls has 3 classes, but 2 names \(benign, malignant\)"):
        NAMES.check([three])
    NAMES.check([BREAST, HEART])


def test_names_are_read_from_weights_and_from_toml(tmp_path):
    tasks = {"breast_2cls": {"class_names": ["benign", "malignant"]}, "lung": {"kind": "segmentation"}}
    (tmp_path / "weights.json").write_text(json.dumps({"tasks": tasks}))
    toml = '[breast_2cls]\nsource = "BUSI"\nclasses = ["benign", "malignant"]\n[lung]\nsource = "own"\n'
    (tmp_path / "names.toml").write_text(toml)
    assert read_class_names(tmp_path / "weights.json") == read_class_names(tmp_path / "names.toml") == NAMES


@pytest.mark.parametrize(
    "text",
    ["{", "{}", "no toml", '[a]\nclasses = "benign"', '[a]\nclasses = ["x", "x"]', '[a]\nclasses = ["x", ""]',
     "[a]\nclasses = [1, 2]", "a = 1"],
)  # fmt: skip
def test_what_holds_no_names_is_refused_by_name(tmp_path, text):
    (tmp_path / "names.toml").write_text(text)
    with pytest.raises(UserError, match=r"names\.toml holds no class names"):
        read_class_names(tmp_path / "names.toml")
    with pytest.raises(UserError, match="none holds no class names"):
        read_class_names(tmp_path / "none")
