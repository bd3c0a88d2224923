"""A 28th task is added to trained weights quickly; other tasks keep their answers if asked to."""

import csv
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from phantoms import write_folder
from safetensors.torch import load_file
from unit.training.commands import assert_refused
from unit.training.recipes import network_of, tiny_config

from challenge.errors import UserError
from challenge.tasks import CATALOGUE, TaskKind, TaskSpec
from training.__main__ import main
from training.data.rows import DataSource
from training.distributed import Ranks
from training.export.run import export_run
from training.loop.runs import train_run
from training.run_folder.trainable import FILE, Start, load_network, read_start

NEW = "my_points"


@pytest.fixture(scope="module")
def base(four_kinds, tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    torch.set_num_threads(1)
    train_run(tiny_config(optim={"images": 32}), DataSource(four_kinds, folder / "cache"), folder / "run", Ranks())
    return folder / "run"


@pytest.fixture(scope="module")
def new_task(tmp_path_factory):
    """A task that the catalogue does not have: two points of the fetal head."""
    root = tmp_path_factory.mktemp("new") / "data"
    write_folder(root, seed=5, per_task=8, only=("fetal_head_biometry",))
    (path,) = (root / "csv_files").glob("*.csv")
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "task_id": NEW, "num_classes": 2} for row in rows)
    return root


def finetune(base, data, output, *more):
    arguments = ["finetune", "--from", base, "--data-root", data, "--output", output, "--images", "48", *more]
    return CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False)


def outputs(run, task_id):
    network, _ = load_network(run)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return network(images, task_id)


def test_keep_others_leaves_other_answers_unchanged(base, new_task, tmp_path):
    result = finetune(base, new_task, tmp_path / "run", "--keep-others")
    assert result.exit_code == 0, result.output
    network, state = load_network(tmp_path / "run")
    assert network.tasks[NEW].kind is TaskKind.REGRESSION
    assert outputs(tmp_path / "run", NEW).shape == (2, 4)
    for task_id in ("breast_lesion", "breast_2cls", "breast_lesion_det", "fetal_head_biometry", "lung"):
        assert torch.equal(outputs(tmp_path / "run", task_id), outputs(base, task_id))
    assert set(state.facts.rows) == {NEW, "breast_lesion", "breast_2cls", "breast_lesion_det", "fetal_head_biometry"}
    assert len(state.facts.means[NEW]) == 4
    assert len(state.facts.means["fetal_head_biometry"]) == 8
    assert state.config.optim.freeze_shared == 1


def test_without_the_option_the_shared_parts_learn_too(base, new_task, tmp_path, caplog):
    finetune(base, new_task, tmp_path / "run", "--set", "dev.every=0")
    assert not torch.equal(outputs(tmp_path / "run", "lung"), outputs(base, "lung"))
    assert "now answer differently" in caplog.text


def test_training_can_start_from_exported_tensors(base, new_task, tmp_path):
    network, run = load_network(base)
    export_run(base, tmp_path, None, None)
    assert set(load_file(tmp_path / FILE)) == set(network.state_dict())
    start, again = read_start(tmp_path)
    assert again == run.config
    assert list(start.tasks) == list(network.tasks.values())
    assert finetune(tmp_path, new_task, tmp_path / "run", "--keep-others").exit_code == 0
    assert torch.equal(outputs(tmp_path / "run", "lung"), outputs(base, "lung"))


def test_a_table_by_task_grows_by_the_new_task():
    """M2DINO looks its tasks up in a table; the rows of the old ones stay what they are."""
    vit = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 64, "init_values": 1.0}
    options = {"encoder_options": vit, "task_width": 8, "channels": 16, "widths": [8, 8, 16, 16]}
    config = tiny_config(system={"name": "m2dino", "options": options})
    old = network_of(config, [CATALOGUE["lung"]], {}).eval()
    start = Start(list(old.tasks.values()), old.state_dict())
    new = network_of(config, [TaskSpec("cyst", TaskKind.SEGMENTATION, 2)], {}, start).eval()
    assert set(new.tasks) == {*old.tasks, "cyst"}
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(new(images, "lung"), old(images, "lung"))
        assert new(images, "cyst").shape[1] == 2


def test_weights_of_another_network_are_refused(base):
    start, config = read_start(base)
    other = replace(config, system=replace(config.system, options={**config.system.options, "pyramid_channels": 64}))
    with pytest.raises(UserError, match=r"tensors of this system, such as pyramid\."):
        network_of(other, list(start.tasks), {}, start)


def test_a_folder_that_is_not_a_run_is_refused_as_start(base, four_kinds, tmp_path):
    with pytest.raises(UserError, match="holds neither"):
        read_start(tmp_path)
    (tmp_path / FILE).write_bytes(b"\0" * 40)
    with pytest.raises(UserError, match="damaged or from another program"):
        read_start(tmp_path)


def test_a_task_of_the_same_name_and_another_shape_is_refused(base, new_task, tmp_path):
    first = finetune(base, new_task, tmp_path / "run", "--keep-others", "--images", "8")
    assert first.exit_code == 0
    (path,) = (new_task / "csv_files").glob("*.csv")
    text = path.read_text("utf-8")
    try:
        path.write_text(text.replace(f"{NEW},Regression,2", f"{NEW},Regression,3"), "utf-8")
        assert_refused(finetune(tmp_path / "run", new_task, tmp_path / "next"), "give the new task another name")
        assert not (tmp_path / "next" / "cache").exists()  # no image was read for it
    finally:
        path.write_text(text, "utf-8")
