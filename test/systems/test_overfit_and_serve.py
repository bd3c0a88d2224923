"""Every system overfits eight phantoms of each kind, and the container's code gives the learned answers."""

import pytest
from click.testing import CliRunner
from phantoms import write_folder
from unit.training.recipes import TASKS

import inference
from evaluate.scores.metric_table import Column
from evaluate.scores.result import summarise
from evaluate.scores.scoring import measure
from training.config import from_dict
from training.data.rows import DataSource
from training.distributed import Ranks
from training.export.run import export_run
from training.loop.runs import train_run

SIZE = 64
SYSTEMS = {
    "mh_mtl": {"encoder": "test_convnext", "pyramid_channels": 32, "segmentation_channels": 32, "dropout": 0.0},
    "ultraupconvnet": {"encoder": "test_convnext", "channels": 32, "norm": "group", "prompt_scale": 0.1},
    "perceptguide": {"channels": 16, "depths": [2, 2, 2, 2], "heads": [1, 2, 2, 4], "window": 2, "drop_path": 0.0},
    "m2dino": {
        "encoder_options": {"embed_dim": 64, "depth": 4, "num_heads": 2}, "task_width": 8, "channels": 32,
        "widths": [16, 16, 32, 32], "jitter": 0.1,
    },
    "uniseg": {"features": [8, 16, 16, 24, 32, 32], "grid": 2},
}  # fmt: skip
RECIPE = {
    "data": {"image_size": SIZE, "dev_fraction": 0.0},
    "augment": {"brightness_contrast": 0.0, "noise": 0.0},
    "sampling": {"tasks_per_step": 4},
    "loss": {"segmentation": "ce_image_dice", "detection": "focal_grid_giou", "regression": "l1"},
    "balance": {"kinds": {"regression": 4.0}},
    "optim": {"images": 6400, "batch_size": 8, "encoder_lr": 2e-3, "head_lr": 2e-3, "weight_decay": 0.0,
              "warmup_steps": 20, "clip_norm": 1.0},
    "runtime": {"cache_gigabytes": 0.1, "device": "cpu", "channels_last": False},
    "checkpoint_every": 1000,
}  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("by heart")
    write_folder(folder / "data", seed=3, per_task=8, only=TASKS)
    return DataSource(folder / "data", folder / "cache")


def serve(weights, data, output):
    arguments = ["--weights", str(weights), "--input", str(data), "--output", str(output), "--device", "cpu"]
    result = CliRunner().invoke(inference.main, arguments)
    assert result.exit_code == 0, result.output


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_overfits_eight_phantoms(name, pictures, tmp_path, phantom_folder):
    config = from_dict({**RECIPE, "name": name, "system": {"name": name, "options": SYSTEMS[name]}})
    train_run(config, pictures, tmp_path / "run", Ranks())
    facts = export_run(tmp_path / "run", tmp_path / "weights", None, None)
    assert {task_id for task_id, task in facts.tasks.items() if task.answers == "network"} == set(TASKS)
    serve(tmp_path / "weights", pictures.data_root, tmp_path / "answers")
    tasks = summarise(measure(pictures.data_root, tmp_path / "answers", jobs=1), "", "", draws=2).tasks
    scores = {name: columns[Column.OFFICIAL].value for task in tasks.values() for name, columns in task.metrics.items()}
    assert scores["DSC"] > 0.85, scores
    assert scores["F1_macro"] > 0.95, scores
    assert scores["IoU"] > 0.7, scores
    assert scores["MRE"] < 12, scores
    # The whole phantom folder, most of whose tasks have no trained head, is answered to the last row.
    serve(tmp_path / "weights", phantom_folder, tmp_path / "all")
