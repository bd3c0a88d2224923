"""A recipe may name tasks that the data lack; a misspelt name is an error in every table."""

import logging

import pytest
from click.testing import CliRunner
from phantoms import write_folder
from unit.training.recipes import tiny_config

from challenge.errors import UserError
from training.__main__ import main
from training.data.rows import DataSource
from training.distributed import Ranks
from training.loop.runs import train_run
from training.run_folder.trainable import read_start
from training.task_names import check_task_names


def tables(name):
    """Every table that names tasks, with `name` in it."""
    return {
        "data.tasks": {"data": {"tasks": ["breast_2cls", name]}},
        "tasks": {"tasks": {name: {"hflip": False}}},
        "loss.tasks": {"loss": {"tasks": {name: "dice" if name == "cervix" else "ce"}}},
        "balance.tasks": {"balance": {"tasks": {name: 2.0}}},
        "sampling.weights": {"sampling": {"weights": {name: 2.0}}},
    }


def options(name):
    return {
        "system.options.ellipses": {"ellipses": {name: 1.5}},
        "system.options.profiles": {"profiles": {name: {"nature": "organ"}}},
        "system.options.box_masks": {"box_masks": {"thyroid_nodule_det": name}},
    }


@pytest.mark.parametrize("key", tables(""))
def test_a_misspelt_task_is_named_in_every_table(key, four_kinds, tmp_path):
    config = tiny_config(**tables("breast_2cl")[key])
    with pytest.raises(UserError, match=rf"'{key}': there is no task 'breast_2cl' \(did you mean 'breast_2cls'\?\)"):
        train_run(config, DataSource(four_kinds, tmp_path / "cache"), tmp_path / "run", Ranks())
    assert not (tmp_path / "cache").exists()  # no image was read for it


@pytest.mark.parametrize("key", options(""))
def test_a_misspelt_task_is_named_in_the_options_of_systems(key, four_kinds, tmp_path):
    config = tiny_config(system={"name": "atlas", "options": options("thyroid_nodul")[key]})
    with pytest.raises(UserError, match=rf"'{key}': there is no task 'thyroid_nodul' \(did you mean 'thyroid_nodule"):
        check_task_names(config, DataSource(four_kinds, tmp_path))


@pytest.mark.parametrize("name", ["cervix", "my_task"])
def test_known_but_absent_tasks_are_left_out_with_one_line(name, four_kinds, tmp_path, caplog):
    """`cervix` is the challenge's, `my_task` the recipe's own."""
    sections = {"extra_tasks": ["my_task"]}
    for table in tables(name).values():
        sections |= table
    caplog.set_level(logging.INFO, "training.task_names")
    run = train_run(
        tiny_config(**sections, optim={"images": 4}),
        DataSource(four_kinds, tmp_path / "cache"),
        tmp_path / "run",
        Ranks(),
    )
    assert list(run.parts.data.sizes) == ["breast_2cls"]
    lines = [record.getMessage() for record in caplog.records if record.name == "training.task_names"]
    assert len(lines) == 1
    assert f"{name} (data.tasks, tasks, loss.tasks, balance.tasks, sampling.weights)" in lines[0]


def test_a_loss_of_another_kind_is_refused_before_images_are_read(four_kinds, tmp_path):
    config = tiny_config(loss={"tasks": {"breast_2cls": "mse"}})
    with pytest.raises(UserError, match=r"'loss.tasks.breast_2cls' must be one of ce, not 'mse': the task is classif"):
        check_task_names(config, DataSource(four_kinds, tmp_path))


@pytest.fixture(scope="module")
def base(four_kinds, tmp_path_factory):
    """A network with a task outside the challenge, named in every table of its recipe."""
    folder = tmp_path_factory.mktemp("base")
    config = tiny_config(
        optim={"images": 8},
        loss={"tasks": {"fetal_head_biometry": "l1"}},
        sampling={"weights": {"fetal_head_biometry": 0.5, "breast_lesion_det": 2}},
        balance={"tasks": {"fetal_head_biometry": 0.5}},
    )
    train_run(config, DataSource(four_kinds, folder / "cache"), folder / "run", Ranks())
    return folder / "run"


def test_a_network_is_adapted_to_data_that_lack_its_tasks(base, tmp_path):
    write_folder(tmp_path / "two", seed=5, per_task=6, only=("breast_lesion", "cervix"))
    arguments = ["finetune", "--from", base, "--data-root", tmp_path / "two", "--output", tmp_path / "run",
                 "--images", "16", "--set", "loss.tasks.fetal_head_biometry=mse"]  # fmt: skip
    assert CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False).exit_code == 0
    start, config = read_start(tmp_path / "run")
    assert {"fetal_head_biometry", "cervix"} <= {spec.task_id for spec in start.tasks}
    assert config.loss.tasks == {"fetal_head_biometry": "mse"}  # the next round may have such rows again


def test_every_shipped_recipe_speaks_of_known_tasks(repository, tmp_path):
    from training.config import load_config

    write_folder(tmp_path / "data", seed=1, per_task=1, only=("breast_2cls",))
    for path in (repository / "training" / "configs").glob("*.toml"):
        if path.stem != "sources":
            check_task_names(load_config(path), DataSource(tmp_path / "data", tmp_path))


def test_a_kind_may_stand_for_its_tasks_in_data_tasks_alone(four_kinds, tmp_path):
    source = DataSource(four_kinds, tmp_path)
    check_task_names(tiny_config(data={"tasks": ["segmentation"]}), source)
    with pytest.raises(UserError, match="'sampling.weights': there is no task 'segmentation'"):
        check_task_names(tiny_config(sampling={"weights": {"segmentation": 2.0}}), source)
