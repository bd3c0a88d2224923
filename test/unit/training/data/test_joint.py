"""Images that several tasks share: one draw teaches them all."""

import pytest
import torch
from unit.training.recipes import tiny_config, tiny_trainer

from challenge.errors import UserError
from training.config import EncoderConfig, OptimConfig
from training.data.rows import DataSource
from training.data.sampling import Draw
from training.distributed import Ranks
from training.loop.runs import train_run
from training.pretrained.building import frozen_parameters
from training.selection.run_scores import score_run

ATLAS = {
    "system": {"name": "atlas", "options": {"encoder": "test_efficientnet", "pyramid_channels": 32, "channels": 32}},
    "loss": {"detection": "one_box", "regression": "heatmap_ce"},
    "sampling": {"joint": True},
}


@pytest.fixture(scope="module")
def trainer(four_kinds, tmp_path_factory):
    folder = tmp_path_factory.mktemp("joint")
    return tiny_trainer(tiny_config(**ATLAS), DataSource(four_kinds, folder / "cache"), folder)


def draw_of(trainer, task_id, count=3):
    rows = tuple(range(count))
    return Draw(task_id, rows, tuple((0, row) for row in rows))


LEAST = 0.08


def test_small_objects_come_more_often_in_a_pass(trainer):
    data = trainer.parts.data
    passes = data.passes(LEAST, 3)
    counts = set()
    for task_id, rows in data.samples.items():
        for row, sample in enumerate(rows):
            if task_id == "breast_lesion":
                area = float((data.item(task_id, row).target > 0).float().mean())
            elif task_id == "breast_lesion_det":
                x0, y0, x1, y1 = data._plain(sample).tolist()
                area = (x1 - x0) * (y1 - y0)
            else:
                area = 1.0
            assert passes[task_id].count(row) == (3 if 0 < area < LEAST else 1)
            counts.add((task_id, passes[task_id].count(row)))
    both = {(task_id, count) for task_id in ("breast_lesion", "breast_lesion_det") for count in (1, 3)}
    assert both | {("breast_2cls", 1)} <= counts
    assert ("breast_2cls", 3) not in counts


def test_a_draw_knows_every_task_of_its_images(trainer):
    draw = draw_of(trainer, "breast_lesion")
    known = trainer.parts.data.known(draw)
    assert next(iter(known)) == "breast_lesion"
    assert known["breast_lesion"] == [0, 1, 2]
    images = [trainer.parts.data.samples["breast_lesion"][row].image_path for row in draw.rows]
    for task_id in ("breast_2cls", "breast_lesion_det"):
        others = {sample.image_path for sample in trainer.parts.data.samples[task_id]}
        assert known.get(task_id, []) == [i for i, path in enumerate(images) if path in others]
    assert "fetal_head_biometry" not in known


def test_the_targets_are_those_of_each_task_alone(trainer):
    draw = draw_of(trainer, "breast_lesion")
    batch = trainer.parts.data[draw]
    for task_id, positions in trainer.parts.data.known(draw).items():
        rows = {sample.image_path: row for row, sample in enumerate(trainer.parts.data.samples[task_id])}
        for position in positions:
            path = trainer.parts.data.samples["breast_lesion"][position].image_path
            key = draw.keys[position]
            item = trainer.parts.data.item(task_id, rows[path], key)
            assert batch.targets[task_id].shape[0] == len(draw.rows)
            if task_id == "breast_2cls":
                assert batch.targets[task_id][position] == item.target


def test_every_task_of_the_images_learns(trainer):
    draw = draw_of(trainer, "breast_lesion")
    trainer.position.sampler = {"step": 1}
    losses = trainer.train_step([draw], [trainer.parts.data[draw]])
    assert set(losses) == set(trainer.parts.data.known(draw))
    assert all(torch.isfinite(loss) for loss in losses.values())
    heads = {task_id: trainer.parts.network.heads[task_id] for task_id in ("breast_2cls", "fetal_head_biometry")}
    assert any(p.grad is not None and p.grad.any() for p in heads["breast_2cls"].parameters())
    assert all(p.grad is None for p in heads["fetal_head_biometry"].parameters())


def test_without_joint_a_draw_teaches_its_own_task_alone(four_kinds, tmp_path):
    config = tiny_config(**{**ATLAS, "sampling": {}})
    trainer = tiny_trainer(config, DataSource(four_kinds, tmp_path / "cache"), tmp_path)
    assert list(trainer.parts.data.known(draw_of(trainer, "breast_lesion"))) == ["breast_lesion"]


def test_small_images_come_first(four_kinds, tmp_path, monkeypatch):
    config = tiny_config(**ATLAS, optim={"small_size": 32, "small_until": 0.5})
    trainer = tiny_trainer(config, DataSource(four_kinds, tmp_path / "cache"), tmp_path)
    sizes = []
    trainer.parts.network.encoder.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[-1]))
    draw = draw_of(trainer, "fetal_head_biometry")
    for progress in (0.0, 0.49, 0.5, 0.9):
        trainer.position.progress, trainer.position.sampler = progress, {"step": 1}
        trainer.train_step([draw], [trainer.parts.data[draw]])
    assert sizes == [32, 32, 64, 64]


def test_frozen_parameters_stay(four_kinds, tmp_path):
    config = tiny_config(**ATLAS, encoder={"frozen": ["backbone.conv_stem"]}, optim={"encoder_lr": 0.1})
    trainer = tiny_trainer(config, DataSource(four_kinds, tmp_path / "cache"), tmp_path)
    before = {name: value.clone() for name, value in trainer.parts.network.encoder.named_parameters()}
    draw = draw_of(trainer, "fetal_head_biometry")
    trainer.position.sampler = {"step": 1}
    trainer.train_step([draw], [trainer.parts.data[draw]])
    moved = {
        name for name, value in trainer.parts.network.encoder.named_parameters() if not torch.equal(before[name], value)
    }
    assert moved
    assert not any(name.startswith("backbone.conv_stem") for name in moved)


def test_a_frozen_name_that_is_none_is_an_error(trainer):
    with pytest.raises(UserError, match="no parameter begins with 'backbone.stem'"):
        frozen_parameters(trainer.parts.network, EncoderConfig(frozen=("backbone.stem",)), OptimConfig())


def test_a_run_can_be_read_off_in_another_way(four_kinds, tmp_path):
    source = DataSource(four_kinds, tmp_path / "cache")
    trained = train_run(tiny_config(**ATLAS), source, tmp_path / "run", Ranks())
    assert trained.facts.dev
    same = score_run(tmp_path / "run", source)
    other = score_run(tmp_path / "run", source, ("system.options.reach=1",))
    points = next(line for line in same.splitlines() if line.startswith("| fetal_head_biometry"))
    assert f"{trained.facts.dev['fetal_head_biometry']['MRE']:.2f}" in points
    assert points not in other
    masks = next(line for line in same.splitlines() if line.startswith("| breast_lesion |"))
    assert masks in other
