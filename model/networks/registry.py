"""Systems by name. A system is imported only when it is built, so the table itself needs no torch."""

import importlib
import inspect
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from challenge.errors import UserError
from challenge.tasks import TaskSpec, nearest

if TYPE_CHECKING:
    from model.networks.system import System

SYSTEMS: Mapping[str, str] = {
    "atlas": "model.networks.systems.atlas:Atlas",
    "m2dino": "model.networks.systems.m2dino:M2DINO",
    "mh_mtl": "model.networks.systems.mh_mtl:MHMTL",
    "perceptguide": "model.networks.systems.perceptguide:PerceptGuide",
    "ultraupconvnet": "model.networks.systems.ultraupconvnet:UltraUPConvNet",
    "uniseg": "model.networks.systems.uniseg:UniSeg",
}
"""Module and class of every system, by the name that recipes and weights use."""


def list_systems() -> list[str]:
    """Return the names that `build` knows, sorted."""
    return sorted(SYSTEMS)


def build(name: str, tasks: Iterable[TaskSpec], **options: Any) -> "System":
    """Return the system `name` with one head per task, randomly initialised. Nothing is downloaded.

    Raises UserError for an unknown name or an option that the system does not have.
    """
    if name not in SYSTEMS:
        raise UserError(f"unknown system {name!r}{nearest(name, SYSTEMS)}; choose from {', '.join(list_systems())}")
    system = _load(name)
    known = [option for option in inspect.signature(system).parameters if option != "tasks"]
    for option in options:
        if option not in known:
            raise UserError(
                f"system {name!r} does not take the option {option!r}{nearest(option, known)}; "
                f"it takes {', '.join(known)}"
            )
    try:
        return system(tuple(tasks), **options)
    except TypeError as error:
        raise UserError(f"system {name!r} does not take these options: {error}") from error


def _load(name: str) -> "type[System]":
    module, _, leaf = SYSTEMS[name].partition(":")
    system: type[System] = getattr(importlib.import_module(module), leaf)
    return system
