"""Recipes: defaults, overrides, and errors that say what to write instead."""

import dataclasses
import datetime
import json
import math
import os
import re
import subprocess
import sys
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

import pytest

from challenge.errors import UserError
from challenge.tasks import TaskKind
from model.networks import list_systems
from training.augmentation.task_rules import TaskRules
from training.config import (
    LOSS_NAMES,
    Config,
    LossConfig,
    SystemConfig,
    from_dict,
    load_config,
    to_dict,
    with_overrides,
    write_json,
)
from training.losses import LOSSES
from training.ranges import OneOf, Range

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
    recipes = sorted(path for path in folder.glob("*.toml"))
    assert recipes
    assert len({load_config(path).name for path in recipes}) == len(recipes)


def test_a_checkpoint_of_the_first_recipe_stays_readable():
    config = from_dict(FIRST_RECIPE)
    assert config.data.mean == (0.5, 0.5, 0.5)
    assert config.optim.ema_decay == 0.998
    assert config.sampling.tasks_per_step == 1
    assert config.augment.geometry == 0


def test_saved_and_read_states_are_equal(tmp_path):
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
        (
            "[optim]\nimages = 'many'",
            "'optim.images' must be a whole number, at least 1 and at most 1e\\+12, not 'many'",
        ),
        ("[optim]\nimages = true", "'optim.images' must be a whole number"),
        ("[optim]\nimages = 8.0", "'optim.images' must be a whole number"),
        ("[optim]\nencoder_lr = true", "'optim.encoder_lr' must be a number"),
        ("[optim]\nencoder_lr = '1e-3'", "'optim.encoder_lr' must be a number"),
        ("[optim]\nencoder_lr = -1.0", "'optim.encoder_lr' must be at least 0 and at most 100, not -1"),
        ("[optim]\nencoder_lr = inf", "'optim.encoder_lr' must be at least 0 and at most 100, not inf"),
        (f"[optim]\nencoder_lr = {'9' * 400}", "'optim.encoder_lr' must be at least 0"),
        (f"[optim]\nimages = {'9' * 9000}", "not valid TOML"),
        ("[optim]\nema_decay = 1.0", "'optim.ema_decay' must be at least 0 and below 1"),
        ("[data]\ndev_fraction = nan", "'data.dev_fraction' must be at least 0 and below 1, not nan"),
        ("[data]\ntrain_fraction = 0.0", "'data.train_fraction' must be above 0 and at most 1"),
        ("[data]\nfit = 'strech'", r"one of stretch, letterbox, crop, not 'strech' \(did you mean 'stretch'\?\)"),
        ("[data]\nstd = [0.2, 0.2]", "'data.std' must be a list of 3 values"),
        ("[data]\nstd = [0.2, 0.2, 0.0]", "'data.std' must be above 0"),
        ("[system]\nname = 'mhmtl'", r"did you mean 'mh_mtl'\?"),
        ("[system.options]\npyramid_channels = -1", "'system.options' must be without negative numbers"),
        ("[system.options]\nellipses = { fetal_head = nan }", "'system.options' must be without negative numbers"),
        ("[loss.tasks]\nlung = 'elipse'", r"'loss.tasks.lung' .*did you mean 'ellipse'\?"),
        ("[sampling.weights]\nlung = -2", "'sampling.weights.lung' must be at least 0"),
        ("[tasks.lung]\nmax_rotation = 500.0", "'tasks.lung.max_rotation' must be at least 0 and at most 180"),
        ("[tasks.lung]\nhflp = true", r"'tasks.lung.hflp' \(did you mean 'hflip'\?\)"),
        ("[tasks.FUGC]\npoint_order = '1-1:x'", "is not like 1-2:x"),
        ("[augment]\nmin_scale = 1.5", "min_scale is larger than augment.max_scale"),
        ("[optim]\nsmall_until = 0.5", "small_until needs an optim.small_size"),
        ("[sampling]\nmixed = true\ntasks_per_step = 2", "mixed makes one batch of all tasks, but"),
        ("[sampling]\nmixed = true\njoint = true", r"sampling\.mixed and sampling\.joint exclude each other"),
        ("[sampling]\nrestart_every = -1", "'sampling.restart_every' must be at least 0"),
        ("[augment]\nexclusive = 'rotate'", r"'augment.exclusive' .*did you mean 'rotation'\?"),
        ("[augment]\nrotation = 1.5", "'augment.rotation' must be at least 0 and at most 1"),
        ('name = "two\\nlines"', "'name' must be text of 1 to 200 printable characters"),
        ("optim = 3", "'optim' must be a table"),
        ("[optim]\nimages = 0", "'optim.images' must be at least 1"),
        ("[sampling]\nmethod = 'unifrom'", r"did you mean 'uniform'\?"),
        ("[balance.kinds]\nsegmentaton = 2.0", r"did you mean 'segmentation'\?"),
        ("[data]\ntasks = [3]", "'data.tasks' must be text"),
        ("[optim", "not valid TOML"),
    ],
)
def test_wrong_values_are_named(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        load(tmp_path, text)


def rules_of_fields(kind, where=""):
    """Yield every field of a recipe with its annotation, down to those that hold plain values."""
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if dataclasses.is_dataclass(hint):
            yield from rules_of_fields(hint, f"{where}{name}.")
        else:
            yield where + name, hint


def has_rule(hint):
    """Whether an annotation says what its value may be, down to the values of lists and tables."""
    if get_origin(hint) in (dict, tuple):
        return all(has_rule(part) for part in get_args(hint) if part is not ...)
    return hint is bool or get_origin(hint) in (Annotated, Literal)


def test_every_field_of_a_recipe_says_what_its_value_may_be():
    fields = dict(rules_of_fields(Config)) | dict(rules_of_fields(TaskRules, "tasks.NAME."))
    assert len(fields) > 70
    # These two have readers of their own: `TaskRules`, and `parse_point_order`.
    assert [name for name, hint in fields.items() if not has_rule(hint)] == ["tasks", "tasks.NAME.point_order"]


def nonsense(hint):
    """Values that no field of an annotation may take."""
    plain = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    yield datetime.date(2026, 1, 1)
    yield [] if get_origin(plain) is dict else {}
    if get_origin(hint) is Annotated and isinstance(rule := get_args(hint)[1], Range):
        yield from (math.nan, math.inf, -math.inf, True, "1", rule.least - 1, 2 * rule.most + 1)
    if get_origin(hint) is Literal or (get_origin(hint) is Annotated and isinstance(get_args(hint)[1], OneOf)):
        yield from ("nonsense", 1, True)


def test_no_field_accepts_nonsense():
    for name, hint in rules_of_fields(Config):
        for value in nonsense(hint):
            table = {}
            *sections, last = name.split(".")
            inner = table
            for section in sections:
                inner = inner.setdefault(section, {})
            inner[last] = value
            with pytest.raises(UserError, match=re.escape(name)):
                from_dict(table)


def test_the_names_of_losses_and_systems_exist():
    hints = get_type_hints(LossConfig, include_extras=True)
    assert {kind: get_args(hints[kind]) for kind in TaskKind} == LOSS_NAMES
    assert {kind: set(names) for kind, names in LOSS_NAMES.items()} == {kind: set(LOSSES[kind]) for kind in TaskKind}
    assert get_args(get_type_hints(SystemConfig, include_extras=True)["name"])[1].names == tuple(list_systems())


def test_a_wrong_value_is_refused_before_torch_and_data_are_loaded(tmp_path):
    """For every command: without torch and a data folder, the wrong value still ends it with exit code 2."""
    (tmp_path / "recipe.toml").write_text("", "utf-8")
    program = "import sys; sys.modules['torch'] = None; from training.__main__ import run; raise SystemExit(run())"
    common = ["--data-root", tmp_path / "none", "--output", tmp_path / "run", "--set", "optim.ema_decay=2.0"]
    recipe = ["--config", tmp_path / "recipe.toml"]
    for command in (["train", *recipe], ["aggregate", *recipe, "--val-root", tmp_path / "none"],
                    ["finetune", "--from", tmp_path / "none"], ["sync", "--from", tmp_path / "none"]):  # fmt: skip
        arguments = map(str, [*command, *common])
        done = subprocess.run([sys.executable, "-c", program, *arguments], check=False, capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": os.getcwd()})  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert done.stderr == "config key 'optim.ema_decay' must be at least 0 and below 1, not 2.0\n"


def test_overrides_take_toml_values_and_bare_words(tmp_path):
    config = load(tmp_path, "name = 'a'", "optim.images=12", "data.tasks=['lung']", "encoder.weights=timm", "seed=7")
    assert (config.optim.images, config.data.tasks, config.encoder.weights, config.seed) == (12, ("lung",), "timm", 7)
    assert with_overrides(config, ("optim.images=13",)).optim.images == 13


def test_an_invalid_override_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not key=value"):
        load(tmp_path, "", "optim.images")
    with pytest.raises(UserError, match="is a value, not a section"):
        load(tmp_path, "seed = 1", "seed.more=1")
    with pytest.raises(UserError, match="holds more than one value"):
        load(tmp_path, "", "optim.images=1\nseed = 2")


def test_a_recipe_with_a_byte_order_mark_is_read(tmp_path):
    assert load(tmp_path, "\ufeffname = 'a'").name == "a"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.toml"):
        load_config(tmp_path / "nowhere.toml")
