"""TOML tables -> frozen dataclasses. An unknown key is an error that suggests the nearest; so is a wrong type."""

import dataclasses
import tomllib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from challenge.errors import UserError
from challenge.tasks import nearest

T = TypeVar("T")


def read_table(path: Path, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read a TOML file and apply `section.key=value` overrides (values are TOML). Raises UserError."""
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the config {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path.name} is not valid TOML: {error}") from error
    for override in overrides:
        set_key(table, override)
    return table


def set_key(table: dict[str, Any], text: str) -> None:
    """Apply one `section.key=value`; a value that is no TOML is a string. Raises UserError."""
    key, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--set {text!r} is not key=value")
    *sections, last = key.strip().split(".")
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise UserError(f"--set {text!r}: {section!r} is a value, not a section")
    try:
        table[last] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        table[last] = value  # a bare word is a string


def from_table(kind: type[T], table: Mapping[str, Any], where: str = "") -> T:
    """Return the dataclass `kind` with the values of `table`; missing keys take their defaults. Raises UserError."""
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in hints:
            raise UserError(f"unknown config key {where + key!r}{nearest(key, hints)}")
        values[key] = _converted(hints[key], value, where + key)
    return kind(**values)


def _converted(hint: Any, value: Any, where: str) -> Any:
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise UserError(f"config key {where!r} must be a table")
        return from_table(hint, value, where + ".")
    origin = get_origin(hint) or hint
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_converted(get_args(hint)[0], item, where) for item in value)
    if origin is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    expected = get_args(hint) if origin is types.UnionType else origin
    if not isinstance(value, expected) or (isinstance(value, bool) and origin is not bool):
        raise UserError(f"config key {where!r} must be {getattr(origin, '__name__', origin)}, not {value!r}")
    if origin is dict and len(get_args(hint)) == 2:
        return {key: _converted(get_args(hint)[1], item, f"{where}.{key}") for key, item in value.items()}
    return value
