"""`train --from`: a second round continues a whole network, and the weights record its earlier training."""

from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from unit.training.commands import assert_refused
from unit.training.recipes import tiny_config

from training.__main__ import main
from training.config import SystemConfig, to_dict
from training.data.rows import DataSource
from training.distributed import Ranks
from training.export.run import export_run
from training.loop.runs import train_run
from training.run_folder.trainable import load_network, read_start


@pytest.fixture(scope="module")
def first(four_kinds, tmp_path_factory):
    folder = tmp_path_factory.mktemp("first")
    train_run(tiny_config(optim={"images": 32}), DataSource(four_kinds, folder / "cache"), folder / "run", Ranks())
    return folder / "run"


@pytest.fixture
def recipe(tmp_path):
    """A recipe file for `train`: 16 images, only the heads."""
    table = to_dict(tiny_config(optim={"images": 16, "freeze_shared": 1.0}))
    lines = []
    for name in ("system", "data", "optim", "runtime"):
        lines.append(f"[{name}]")
        for key, value in table[name].items():
            words = str(value).lower() if isinstance(value, bool) else repr(value).replace("(", "[").replace(")", "]")
            if isinstance(value, dict):
                words = "{ " + ", ".join(f"{k} = {v!r}" for k, v in value.items()) + " }"
            lines.append(f"{key} = {words}")
    path = tmp_path / "recipe.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def train(recipe, data, output, *more):
    arguments = ["train", "--config", recipe, "--data-root", data, "--output", output, *more]
    return CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False)


def test_specialists_learn_on_the_trunk_of_the_first_round(first, recipe, four_kinds, tmp_path):
    assert train(recipe, four_kinds, tmp_path / "second", "--from", first).exit_code == 0
    (before, _), (after, state) = load_network(first), load_network(tmp_path / "second")
    old, new = before.state_dict(), after.state_dict()
    changed = {name.split(".")[0] for name in old if not torch.equal(old[name], new[name])}
    assert changed == {"heads"}
    assert (state.facts.images_before, state.counters.images_seen) == (32, 16)
    export_run(tmp_path / "second", tmp_path / "weights", None, None)
    assert "a network with 32 image presentations before" in (tmp_path / "weights" / "README.md").read_text()
    start, _ = read_start(tmp_path / "weights")
    assert (start.facts.images_before, start.counters.images_seen) == (32, 16)


def test_a_stopped_second_round_remembers_the_first(first, recipe, four_kinds, tmp_path):
    train(recipe, four_kinds, tmp_path / "second", "--from", first)
    assert train(recipe, four_kinds, tmp_path / "second", "--resume").exit_code == 0
    assert load_network(tmp_path / "second")[1].facts.images_before == 32


def test_folds_cannot_start_from_a_network(first, recipe, four_kinds, tmp_path):
    ended = train(recipe, four_kinds, tmp_path / "second", "--from", first, "--folds", "2")
    assert_refused(ended, "--folds cannot be combined")


def test_adapters_can_be_added_to_a_trained_network(four_kinds, tmp_path):
    options = {"encoder": "test_efficientnet", "pyramid_channels": 32, "channels": 32}
    losses = {"detection": "one_box", "regression": "heatmap_ce"}
    first = tiny_config(system={"name": "atlas", "options": options}, loss=losses, optim={"images": 8})
    source = DataSource(four_kinds, tmp_path / "cache")
    train_run(first, source, tmp_path / "first", Ranks())
    second = replace(first, system=SystemConfig("atlas", {**options, "adapter": 4}),
                     optim=replace(first.optim, images=48, freeze_shared=1.0))  # fmt: skip
    start, _ = read_start(tmp_path / "first")
    network = train_run(second, source, tmp_path / "second", Ranks(), start=start).parts.network
    for name, value in network.state_dict().items():
        assert name.startswith(("heads.", "adapters.")) or torch.equal(value, start.state[name])
    assert network.adapters["breast_lesion"].up.weight.abs().max() > 0


def test_a_head_of_another_kind_is_reinitialised_and_everything_else_is_kept(four_kinds, tmp_path, caplog):
    options = {"encoder": "test_efficientnet", "pyramid_channels": 32, "channels": 32}
    losses = {"detection": "one_box", "regression": "heatmap_ce"}
    first = tiny_config(system={"name": "atlas", "options": options}, loss=losses, optim={"images": 8})
    source = DataSource(four_kinds, tmp_path / "cache")
    train_run(first, source, tmp_path / "first", Ranks())
    second = replace(first, system=SystemConfig("atlas", {**options, "ellipses": {"fetal_head_biometry": 1.5}}),
                     loss=replace(first.loss, tasks={"fetal_head_biometry": "ellipse"}),
                     optim=replace(first.optim, images=16, freeze_shared=1.0))  # fmt: skip
    start, _ = read_start(tmp_path / "first")
    network = train_run(second, source, tmp_path / "second", Ranks(), start=start).parts.network
    assert "fetal_head_biometry: the start has another kind of head; this one is reinitialised" in caplog.text
    for name, value in network.state_dict().items():
        assert name.startswith("heads.") or torch.equal(value, start.state[name])
    export_run(tmp_path / "second", tmp_path / "weights", None, None)
    assert (tmp_path / "weights" / "heads" / "fetal_head_biometry.onnx").exists()
