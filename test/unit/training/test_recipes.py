"""The shipped recipes: all can be read and built, and the small ones differ only in the idea."""

import dataclasses
import re

import pytest
import torch
from unit.training.recipes import TINY, tiny_config

from challenge.errors import UserError
from challenge.tasks import CATALOGUE
from model.networks import build
from training.config import EncoderConfig, load_config
from training.data.rows import DataSource
from training.distributed import Ranks
from training.loop.optim import make_optimizer
from training.loop.runs import train_run
from training.losses import task_loss
from training.pretrained.building import frozen_parameters

SMALL = ("mh_mtl_small", "ultraupconvnet_small", "uniseg_small", "m2dino_small", "perceptguide_small")
FROM_NOTHING = ("m2dino_small", "perceptguide_small")


def names(repository):
    return sorted(p.stem for p in (repository / "training" / "configs").glob("*.toml") if p.stem != "sources")


def read(repository, name):
    return load_config(repository / "training" / "configs" / f"{name}.toml")


def test_every_recipe_builds_its_network_losses_and_optimiser(repository):
    for name in names(repository):
        config = read(repository, name)
        assert config.name == name
        with torch.device("meta"):
            network = build(config.system.name, CATALOGUE.values(), **config.system.options)
        for size in {config.data.image_size, config.optim.small_size or config.data.image_size}:
            assert size % network.size_multiple == 0, name
        for spec in CATALOGUE.values():
            task_loss(spec, config.loss, [1] * spec.num_classes)
        optimizer = make_optimizer(network, config.optim)
        grouped = sum(len(group["params"]) for group in optimizer.param_groups)
        assert grouped == len(list(network.parameters())), name


def test_every_system_has_its_papers_recipe_and_a_small_one(repository):
    there = names(repository)
    for system in ("ultraupconvnet", "perceptguide", "m2dino", "uniseg"):
        assert {system, f"{system}_small"} <= set(there)


@pytest.mark.parametrize("name", ["ultraupconvnet", "perceptguide_published"])
def test_recipes_of_networks_that_were_trained_on_centre_squares_in_0_to_1(repository, name):
    data = read(repository, name).data
    assert (data.fit, data.image_size, data.mean, data.std) == ("crop", 224, (0.0,) * 3, (1.0,) * 3)


def test_batches_mix_data_sets_where_the_papers_do(repository):
    perceptguide, ultraupconvnet = (
        read(repository, name).sampling for name in ("perceptguide_published", "ultraupconvnet")
    )
    assert perceptguide.mixed
    assert not perceptguide.alternate  # kinds too
    assert ultraupconvnet.mixed
    assert ultraupconvnet.alternate  # one kind


@pytest.mark.parametrize(("name", "size"), [("perceptguide_published", 32), ("ultraupconvnet", 16)])
def test_batches_have_the_papers_size(repository, name, size):
    assert read(repository, name).optim.batch_size == size


def test_the_baseline_can_be_trained_with_its_authors_faults(repository):
    path = repository / "training" / "configs" / "mh_mtl_b4.toml"
    switches = re.findall(r"--set '?([^' ]+=[^' ]+?)'?[. ]", path.read_text("utf-8"))
    config = load_config(path, tuple(switches))
    assert config.sampling.restart_every == 1615 == config.optim.images // config.optim.batch_size // 50
    with torch.device("meta"):
        network = build(config.system.name, CATALOGUE.values(), **config.system.options)
    fixed = frozen_parameters(network, config.encoder, config.optim)
    assert sum(parameter.numel() for parameter in fixed) == 1_803_008  # what the official script gives no optimiser


def test_uniseg_is_supervised_at_five_scales(repository):
    options = read(repository, "uniseg").system.options
    with torch.device("meta"):
        assert len(build("uniseg", CATALOGUE.values(), **options).classify) == 5


@pytest.mark.parametrize("name", SMALL)
def test_small_recipes_differ_only_in_the_idea(repository, name):
    base, config = read(repository, "mh_mtl_small"), read(repository, name)
    same = dataclasses.replace(config, name=base.name, system=base.system)
    if name in FROM_NOTHING:
        assert config.encoder == EncoderConfig()
        optim = dataclasses.replace(config.optim, encoder_lr=base.optim.encoder_lr, small_size=base.optim.small_size)
        same = dataclasses.replace(same, encoder=base.encoder, optim=optim)
    assert same == base
    assert config.optim.images == 20_000


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"system": {"options": {"encoder": "test_efficientne"}}},
            r"no feature extractor .* mean 'test_efficientnet'\?",
        ),
        (
            {"system": {"options": {"pyramid_chanels": 32}}},
            r"option 'pyramid_chanels' \(did you mean 'pyramid_channels'\?",
        ),
        (
            {"system": {"options": {**TINY["system"]["options"], "dropout": 1.5}}},
            "'system.options': mh_mtl cannot be built",
        ),
        ({"system": {"options": {**TINY["system"]["options"], "pyramid_channels": 0}}}, "a width of 0"),
        ({"optim": {"name": "adamm"}}, "optim.name 'adamm'"),
        ({"optim": {"small_size": 50}}, "'optim.small_size' must be a multiple of 32, not 50"),
        ({"data": {"image_size": 100}}, "'data.image_size' must be a multiple of 32, not 100"),
        ({"encoder": {"frozen": ["backbone.stem"]}}, "no parameter begins with 'backbone.stem'"),
        ({"encoder": {"weights": "tim"}}, r"'encoder.weights' is 'tim' \(did you mean 'timm'\?\)"),
        ({"encoder": {"weights": "package:no-such-package"}}, "the package 'no-such-package' is not installed"),
    ],
)
def test_values_that_fit_no_network_are_refused_before_data_are_read(sections, message, tmp_path):
    (tmp_path / "data" / "csv_files").mkdir(parents=True)
    (tmp_path / "data" / "csv_files" / "a.csv").write_text(
        "image_path,mask,task_id,task_name,num_classes\nno such image.png,0,breast_2cls,classification,2\n", "utf-8"
    )
    with pytest.raises(UserError, match=message):
        train_run(tiny_config(**sections), DataSource(tmp_path / "data", tmp_path / "cache"), tmp_path / "run", Ranks())
