"""Recipes: defaults, overrides, and errors that say what to write instead."""

import json

import pytest

from challenge.errors import UserError
from training.config import from_dict, load_config, to_dict, with_overrides, write_json

# What `to_dict` gave when the first network was trained: such checkpoints must stay readable.
FIRST_RECIPE = {
    "name": "mh_mtl_official",
    "seed": 42,
    "checkpoint_every": 200,
    "system": {"name": "mh_mtl", "options": {"encoder": "tf_efficientnet_lite0", "pyramid_channels": 128}},
    "encoder": {"weights": "none", "freeze_batchnorm": True},
    "data": {"image_size": 256, "resampling": "antialiased-bilinear", "fit": "stretch", "mean": [0.5, 0.5, 0.5],
             "std": [0.5, 0.5, 0.5], "dev_fraction": 0.15},
    "augment": {"brightness_contrast": 0.2, "change": 0.2, "noise": 0.1},
    "loss": {"segmentation": "dice", "classification": "ce", "detection": "focal_grid", "regression": "mse"},
    "optim": {"images": 60000, "batch_size": 16, "encoder_lr": 1e-4, "head_lr": 1e-3, "final_lr": 1e-6,
              "weight_decay": 0.01, "warmup_steps": 100, "clip_norm": 0.0, "ema_decay": 0.998},
}  # fmt: skip


def load(tmp_path, text, *overrides):
    path = tmp_path / "recipe.toml"
    path.write_text(text, "utf-8")
    return load_config(path, overrides)


def test_all_shipped_recipes_load(repository):
    folder = repository / "training" / "configs"
    recipes = sorted(path for path in folder.glob("*.toml") if path.name != "sources.toml")
    assert recipes
    assert len({load_config(path).name for path in recipes}) == len(recipes)


def test_a_checkpoint_of_the_first_recipe_stays_readable():
    config = from_dict(FIRST_RECIPE)
    assert config.data.mean == (0.5, 0.5, 0.5)
    assert config.optim.ema_decay == 0.998
    assert config.sampling.tasks_per_step == 1
    assert config.augment.geometry == 0


def test_what_is_saved_is_what_is_read(tmp_path):
    config = load(tmp_path, "[balance]\nkinds = { segmentation = 10 }\n[tasks.cervix]\nhflip = false")
    write_json(config, tmp_path / "config.json")
    assert from_dict(json.loads((tmp_path / "config.json").read_text("utf-8"))) == config
    assert from_dict(to_dict(config)) == config


def test_an_unknown_key_names_the_nearest(tmp_path):
    with pytest.raises(UserError, match=r"unknown config key 'optim.bach_size' \(did you mean 'batch_size'\?\)"):
        load(tmp_path, "[optim]\nbach_size = 4")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[optim]\nimages = 'many'", "'optim.images' must be int"),
        ("[optim]\nimages = true", "'optim.images' must be int"),
        ("optim = 3", "'optim' must be a table"),
        ("[optim]\nimages = 0", "'optim.images' must be at least 1"),
        ("[sampling]\nmethod = 'unifrom'", r"did you mean 'uniform'\?"),
        ("[balance.kinds]\nsegmentaton = 2.0", r"did you mean 'segmentation'\?"),
        ("[data]\ntasks = [3]", "'data.tasks' must be str"),
        ("[optim", "not valid TOML"),
    ],
)
def test_wrong_values_are_named(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        load(tmp_path, text)


def test_overrides_take_toml_values_and_bare_words(tmp_path):
    config = load(tmp_path, "name = 'a'", "optim.images=12", "data.tasks=['lung']", "encoder.weights=timm", "seed=7")
    assert (config.optim.images, config.data.tasks, config.encoder.weights, config.seed) == (12, ("lung",), "timm", 7)
    assert with_overrides(config, ("optim.images=13",)).optim.images == 13


def test_an_override_that_is_none_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not key=value"):
        load(tmp_path, "", "optim.images")
    with pytest.raises(UserError, match="is a value, not a section"):
        load(tmp_path, "seed = 1", "seed.more=1")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.toml"):
        load_config(tmp_path / "nowhere.toml")
