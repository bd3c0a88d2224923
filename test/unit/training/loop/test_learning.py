"""Every kind learns: after a minute on generated pictures it beats the prior by far, so no loss is broken.

One task at a time: from random weights, batch norm over batches of one task each would mix their statistics.
"""

import pytest
from phantoms import write_folder
from unit.training.recipes import TASKS, TINY, tiny_config

from training.data.rows import DataSource
from training.distributed import Ranks
from training.loop.runs import train_run
from training.run_folder import checkpoint_file

RECIPE = {
    "system": TINY["system"],
    "data": {"dev_fraction": 0.33},
    "augment": {"brightness_contrast": 0.0, "noise": 0.0, "hflip": 0.5, "geometry": 0.5},
    "optim": {"batch_size": 8, "encoder_lr": 3e-3, "head_lr": 3e-3, "warmup_steps": 20, "ema_decay": 0.98,
              "clip_norm": 1.0},
}  # fmt: skip

ATLAS = {"name": "atlas", "options": {"encoder": "test_efficientnet", "pyramid_channels": 32, "channels": 32}}

SLOW = pytest.mark.slow  # a second loss of the same kind
# (task, loss, images seen, score, what has to be reached)
KINDS = [
    pytest.param("breast_lesion", {"segmentation": "dice"}, 800, "DSC", 0.6, id="dice"),
    pytest.param("breast_lesion", {"segmentation": "boundary"}, 800, "DSC", 0.6, id="boundary", marks=SLOW),
    pytest.param("breast_2cls", {"label_smoothing": 0.05, "class_weights": "root"}, 1600, "AUC", 0.8, id="ce"),
    pytest.param("breast_lesion_det", {"detection": "focal_grid_giou"}, 1600, "IoU", 0.65, id="focal_grid_giou"),
    pytest.param("breast_lesion_det", {"detection": "focal_grid"}, 2400, "IoU", 0.65, id="focal_grid", marks=SLOW),
]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    write_folder(folder / "data", seed=3, per_task=48, only=TASKS)
    return DataSource(folder / "data", folder / "cache")


def trained(pictures, run, task_id, images, loss, system=TINY["system"]):
    sections = {**RECIPE, "system": system, "optim": {**RECIPE["optim"], "images": images}, "loss": loss}
    config = tiny_config(**{**sections, "data": {**RECIPE["data"], "tasks": [task_id]}})
    trainer = train_run(config, pictures, run, Ranks())
    return checkpoint_file.load_best(run).facts.dev[task_id], trainer.parts.scorer.prior(task_id)


@pytest.mark.parametrize(("task_id", "loss", "images", "score", "reached"), KINDS)
def test_a_minute_beats_the_prior(pictures, tmp_path, task_id, loss, images, score, reached):
    scores, prior = trained(pictures, tmp_path / "run", task_id, images, loss)
    assert reached > prior[score] + 0.2  # the margin is wide
    assert scores[score] > reached, (scores, prior)


@pytest.mark.parametrize("loss", ["l1", pytest.param("mse", marks=SLOW)])
def test_points_are_found_at_a_fraction_of_the_prior_error(pictures, tmp_path, loss):
    """The prior here is the strong one: the mean of the training points."""
    scores, prior = trained(pictures, tmp_path / "run", "fetal_head_biometry", 1600, {"regression": loss})
    assert scores["MRE"] < 0.7 * prior["MRE"], (scores, prior)


def test_one_box_is_found_by_its_map(pictures, tmp_path):
    scores, prior = trained(pictures, tmp_path / "run", "breast_lesion_det", 1600, {"detection": "one_box"}, ATLAS)
    assert scores["IoU"] > 0.65 > prior["IoU"] + 0.2, (scores, prior)


@pytest.mark.parametrize(("loss", "reach"), [("heatmap_ce", 0), pytest.param("heatmap_mse", 3, marks=SLOW)])
def test_points_are_found_by_their_maps(pictures, tmp_path, loss, reach):
    """From 1,600 images the maps come far closer than regression does.

    The sigmoid maps of the squared error are flat away from the point: they are read in a window.
    """
    system = {"name": "atlas", "options": {**ATLAS["options"], "reach": reach}}
    scores, prior = trained(pictures, tmp_path / "run", "fetal_head_biometry", 1600, {"regression": loss}, system)
    assert scores["MRE"] < 0.35 * prior["MRE"], (scores, prior)
