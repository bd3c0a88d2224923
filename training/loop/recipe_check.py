"""A recipe is checked as a whole before any data are read."""

import warnings

import torch

from challenge.errors import UserError
from challenge.tasks import CATALOGUE
from model.networks.registry import build
from model.networks.system import System
from training.config import Config, SystemConfig
from training.loop.optim import make_optimizer
from training.pretrained.building import frozen_parameters


def check_recipe(config: Config) -> None:
    """Build the recipe's network and optimiser without memory.

    Raises UserError for options that the system does not take, names that fit no parameter, sizes that the network
    cannot take, or an optimiser that does not exist.
    """
    network = _without_memory(config.system)
    if not all(parameter.numel() for parameter in network.parameters()):
        raise UserError("config key 'system.options': a width of 0 leaves parts of the network empty; correct it")
    frozen_parameters(network, config.encoder, config.optim)
    for key, size in (("data.image_size", config.data.image_size), ("optim.small_size", config.optim.small_size)):
        if size % network.size_multiple:
            raise UserError(f"config key {key!r} must be a multiple of {network.size_multiple}, not {size}")
    make_optimizer(network, config.optim)


def _without_memory(config: SystemConfig) -> System:
    try:
        with torch.device("meta"), warnings.catch_warnings(action="ignore"):
            return build(config.name, CATALOGUE.values(), **config.options)
    except UserError:
        raise
    except Exception as error:  # an option of another type or size can break anything in a constructor
        raise UserError(
            f"config key 'system.options': {config.name} cannot be built with these ({error}); correct them"
        ) from error
