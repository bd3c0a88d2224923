"""Systems by name."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import model.networks.systems as systems_package
from challenge.errors import UserError
from challenge.tasks import TaskSpec, nearest
from model.networks.system import System

_SYSTEMS: dict[str, type[System]] = {}
_S = TypeVar("_S", bound=type[System])


def register_system(name: str) -> Callable[[_S], _S]:
    """Class decorator: make a system known to `build` by `name`."""

    def add(system: _S) -> _S:
        _SYSTEMS[name] = system
        return system

    return add


def list_systems() -> list[str]:
    """Return the names that `build` knows, sorted."""
    for module in pkgutil.iter_modules(systems_package.__path__):
        importlib.import_module(f"{systems_package.__name__}.{module.name}")
    return sorted(_SYSTEMS)


def build(name: str, tasks: Iterable[TaskSpec], **config: Any) -> System:
    """Return the system `name` with one head per task, randomly initialised; it downloads nothing.

    Raises UserError for an unknown name or an option that the system does not have.
    """
    names = list_systems()
    if name not in names:
        raise UserError(f"unknown system {name!r}{nearest(name, names)}; there are: {', '.join(names)}")
    options = [option for option in inspect.signature(_SYSTEMS[name]).parameters if option != "tasks"]
    for option in config:
        if option not in options:
            raise UserError(f"system {name!r} does not take the option {option!r}{nearest(option, options)}; "
                            f"it takes {', '.join(options)}")  # fmt: skip
    try:
        return _SYSTEMS[name](tuple(tasks), **config)
    except TypeError as error:
        raise UserError(f"system {name!r} does not take these options: {error}") from error
