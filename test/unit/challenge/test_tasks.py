from collections import Counter

import pytest

from challenge.errors import UserError
from challenge.tasks import CATALOGUE, TaskKind, TaskSpec, check_task_names, nearest, parse_kind, with_extra_tasks


def test_the_catalogue_has_the_contracts_27_tasks() -> None:
    kinds = Counter(spec.kind for spec in CATALOGUE.values())
    assert kinds == {
        TaskKind.SEGMENTATION: 12,
        TaskKind.CLASSIFICATION: 9,
        TaskKind.DETECTION: 3,
        TaskKind.REGRESSION: 3,
    }
    assert all(name == spec.task_id for name, spec in CATALOGUE.items())


@pytest.mark.parametrize(
    ("task_id", "kind", "num_classes"),
    [
        ("fetal_abdomen_multi", TaskKind.SEGMENTATION, 5),
        ("fetal_head_pos_cls", TaskKind.CLASSIFICATION, 8),
        ("uterine_fibroid_det", TaskKind.DETECTION, 1),
        ("IUGC", TaskKind.REGRESSION, 3),
    ],
)
def test_specs(task_id: str, kind: TaskKind, num_classes: int) -> None:
    assert CATALOGUE[task_id] == TaskSpec(task_id, kind, num_classes)


def test_the_catalogue_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        CATALOGUE["new"] = TaskSpec("new", TaskKind.DETECTION, 1)  # type: ignore[index]


def test_extra_tasks_are_added_and_outrank_the_catalogue() -> None:
    tasks = with_extra_tasks([TaskSpec("mine", TaskKind.REGRESSION, 4), TaskSpec("lung", TaskKind.SEGMENTATION, 3)])
    assert len(tasks) == 28
    assert tasks["lung"].num_classes == 3
    assert CATALOGUE["lung"].num_classes == 2


@pytest.mark.parametrize("text", ["Regression", "regression", " REGRESSION "])
def test_kinds_in_any_case(text: str) -> None:
    assert parse_kind(text) is TaskKind.REGRESSION


@pytest.mark.parametrize("text", ["", "segment", "nan"])
def test_unknown_kinds(text: str) -> None:
    assert parse_kind(text) is None


def test_dense_kinds() -> None:
    assert [kind for kind in TaskKind if kind.is_dense] == [TaskKind.SEGMENTATION, TaskKind.DETECTION]


def test_nearest_name() -> None:
    assert nearest("breast_2clz", CATALOGUE) == " (did you mean 'breast_2cls'?)"
    assert nearest("qqqq", CATALOGUE) == ""


def test_unknown_names_are_refused_with_a_hint() -> None:
    check_task_names(["lung", "FUGC"], CATALOGUE)
    with pytest.raises(UserError, match=r"unknown task 'lungs' \(did you mean 'lung'\?\)"):
        check_task_names(["FUGC", "lungs"], CATALOGUE)
