import pytest
import torch

from challenge.errors import UserError
from challenge.tasks import CATALOGUE, TaskKind, TaskSpec
from model.networks.prompts import PERCEPTGUIDE, ULTRAUPCONVNET, PromptTable
from model.networks.task_table import TaskProfile, profile, task_table

ALL = tuple(CATALOGUE.values())


def test_every_subtask_has_a_profile_and_no_other():
    assert list(task_table()) == list(CATALOGUE)
    assert {entry.nature for entry in task_table().values()} == {"tumour", "organ"}
    assert {entry.type for entry in task_table().values()} == {"whole"}


def test_every_subtask_has_a_clinical_group():
    groups = {task_id: entry.group for task_id, entry in task_table().items()}
    assert TaskProfile().group not in groups.values()
    assert [t for t, group in groups.items() if group == "breast"] == ["breast_lesion", "breast_2cls", "breast_3cls"]
    assert [t for t, group in groups.items() if group == "lung"] == ["lung", "lung_2cls", "lung_disease_3cls"]


def test_a_task_that_asks_for_the_organ_is_not_told_it():
    assert profile("organ_cls").position == "indis"


@pytest.mark.parametrize(("vocabulary", "width"), [(ULTRAUPCONVNET, 15), (PERCEPTGUIDE, 18)])
def test_published_widths_and_what_the_challenge_appends(vocabulary, width):
    assert sum(vocabulary.sizes) == width
    extended = vocabulary.extended()
    assert extended.position[: len(vocabulary.position)] == vocabulary.position
    assert extended.task == (*vocabulary.task, "detection", "regression")
    assert (extended.type, extended.nature) == (vocabulary.type, vocabulary.nature)
    assert len(set(extended.position)) == len(extended.position)


@pytest.mark.parametrize("vocabulary", [ULTRAUPCONVNET, PERCEPTGUIDE])
def test_prompts_are_four_one_hots(vocabulary):
    table = PromptTable(ALL, vocabulary)
    codes = table(torch.arange(27))
    assert codes.shape == (27, table.width)
    for part in codes.split(list(table.vocabulary.sizes), dim=1):
        assert set(part.unique().tolist()) == {0.0, 1.0}
        assert (part.sum(dim=1) == 1).all()
    assert not table.state_dict()


def test_the_prompts_say_what_the_table_says():
    table = PromptTable(ALL, ULTRAUPCONVNET)
    index = list(CATALOGUE).index("thyroid_nodule_det")
    position, task, kind, nature = table(torch.tensor([index]))[0].split(list(table.vocabulary.sizes))
    words = table.vocabulary
    assert words.position[position.argmax()] == "thyroid"
    assert words.task[task.argmax()] == "detection"
    assert words.type[kind.argmax()] == "whole"
    assert words.nature[nature.argmax()] == "tumour"


def test_own_tasks_are_described_by_the_recipe_or_unspecified(caplog):
    own = {"breast_cyst": {"position": "breast", "nature": "tumour"}}
    assert profile("breast_cyst", own) == TaskProfile(position="breast", nature="tumour")
    assert not caplog.records
    assert profile("breast_cyst") == TaskProfile()
    assert "breast_cyst has no profile" in caplog.text


def test_wrong_prompt_values_are_errors():
    spec = TaskSpec("mine", TaskKind.SEGMENTATION, 2)
    with pytest.raises(UserError, match="did you mean 'thyroid'"):
        PromptTable([spec], ULTRAUPCONVNET, own={"mine": {"position": "thyriod"}})
    with pytest.raises(UserError, match="'mine' is wrong"):
        PromptTable([spec], ULTRAUPCONVNET, own={"mine": {"organ": "thyroid"}})
    with pytest.raises(UserError, match="neither"):
        PromptTable([spec], ULTRAUPCONVNET, vocabulary="mine")
