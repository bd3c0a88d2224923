"""TOML tables -> frozen dataclasses. An unknown key is an error that suggests the nearest; so is a wrong value.

What a value may be stands in the field's annotation: `Literal` for a choice, `Annotated[type, rule]` for the rules of
`training.ranges`.
"""

import dataclasses
import reprlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from challenge.errors import UserError
from challenge.tasks import nearest
from training.ranges import OneOf

T = TypeVar("T")

_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    tuple: "a list",
    dict: "a table",
}


def read_table(path: Path, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read a TOML file and apply `section.key=value` overrides (values are TOML). Raises UserError."""
    try:
        table = tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise UserError(f"cannot read the config {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
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
        parsed = tomllib.loads(f"value = {value}")
    except (ValueError, RecursionError):
        parsed = {"value": value}  # a bare word is a string
    if len(parsed) > 1:
        raise UserError(f"--set {text!r} holds more than one value; give --set once for each")
    table[last] = parsed["value"]


def from_table(kind: type[T], table: Mapping[str, Any], where: str = "") -> T:
    """Return the dataclass `kind` with the values of `table`; missing keys take their defaults. Raises UserError."""
    hints = get_type_hints(kind, include_extras=True)
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in hints:
            raise UserError(f"unknown config key {where + key!r}{nearest(key, hints)}")
        values[key] = _converted(hints[key], value, where + key)
    return kind(**values)


def _converted(hint: Any, value: Any, where: str) -> Any:
    """Return `value` as `hint` wants it. Raises UserError with the key, what it may be, and the nearest name."""
    if get_origin(hint) is Annotated:
        kind, rule = get_args(hint)
        return _ruled(kind, rule, value, where)
    if get_origin(hint) is Literal:
        return _ruled(str, OneOf(get_args(hint)), value, where)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise UserError(f"config key {where!r} must be a table")
        return from_table(hint, value, where + ".")
    return _plain(hint, value, where)


def _ruled(kind: Any, rule: Any, value: Any, where: str) -> Any:
    converted = _converted(kind, value, where) if get_origin(kind) else _plain(kind, value, where, f", {rule}")
    if converted not in rule:
        near = nearest(converted, rule.names) if isinstance(rule, OneOf) else ""
        raise UserError(f"config key {where!r} must be {rule}, not {reprlib.repr(value)}{near}")
    return converted


def _plain(hint: Any, value: Any, where: str, rule: str = "") -> Any:
    origin = get_origin(hint) or hint
    if origin is float and isinstance(value, int) and not isinstance(value, bool):
        return _as_float(value)
    if origin is tuple and isinstance(value, list):
        value = tuple(value)
    if not isinstance(value, origin) or (isinstance(value, bool) and origin is not bool):
        raise UserError(f"config key {where!r} must be {_WORDS.get(origin, origin)}{rule}, not {reprlib.repr(value)}")
    if origin is tuple:
        return tuple(_converted(get_args(hint)[0], item, where) for item in value)
    if origin is dict and get_args(hint):
        names, items = get_args(hint)
        return {_converted(names, key, where): _converted(items, item, f"{where}.{key}") for key, item in value.items()}
    return value


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")  # which lies in no range
