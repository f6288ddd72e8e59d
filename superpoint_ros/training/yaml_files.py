"""YAML files as frozen dataclasses: a fault is named by file, path of the field, and what was expected there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import yaml

# YAML reads 3e-3 as text.
_EXPECTED = {int: "a whole number", float: "a number such as 0.003 or 3.0e-3", str: "text"}

_Config = TypeVar("_Config")


def read_dataclass(path: Path, kind: type[_Config]) -> _Config:
    """Read a YAML file whose mappings are nested dataclasses and whose lists are tuples.

    Of a nested dataclass that has a default, a mapping replaces what it names and leaves the rest of that default.

    Raises
    ------
    ValueError
        If it is no YAML file, a field is unknown or missing or a value impossible; the message names file and field.
    """
    with naming(path):
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, ValueError) as error:
            raise ValueError(f"not a YAML file: {' '.join(str(error).split())}") from None
        config: _Config = _build_dataclass(kind, values)
        return config


@contextmanager
def naming(place: object) -> Iterator[None]:
    """Put `place`, a file or a field, in front of the message of a ``ValueError``."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def _build_dataclass(kind: Any, values: Any, default: Any = MISSING) -> Any:
    if not isinstance(values, dict):
        raise ValueError(f"expected a mapping, got {values!r}")
    known = {item.name: item for item in fields(kind)}
    unknown = [str(name) for name in values if name not in known]
    if unknown:
        raise ValueError(f"unknown field {', '.join(unknown)}")
    hints = get_type_hints(kind)
    given = {name: _build_value(name, hints[name], value, _default(known[name])) for name, value in values.items()}
    if default is not MISSING:
        return replace(default, **given)
    missing = [name for name, item in known.items() if name not in given and _default(item) is MISSING]
    if missing:
        raise ValueError(f"missing field {', '.join(missing)}")
    return kind(**given)


def _default(item: Field[Any]) -> Any:
    return item.default if item.default_factory is MISSING else item.default_factory()


def _build_value(name: str, hint: Any, value: Any, default: Any = MISSING) -> Any:
    with naming(name):
        if is_dataclass(hint):
            return _build_dataclass(hint, value, default)
        if get_origin(hint) is tuple:
            return _build_tuple(get_args(hint), value)
        if get_origin(hint) is Literal and value not in get_args(hint):
            raise ValueError(f"expected one of {', '.join(get_args(hint))}, got {value!r}")
        if hint in _EXPECTED and not (type(value) is hint or (hint is float and type(value) is int)):
            raise ValueError(f"expected {_EXPECTED[hint]}, got {value!r}")
        return value


def _build_tuple(hints: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    wanted = "a list" if hints[-1] is ... else f"a list of {len(hints)}"
    if not isinstance(value, list) or (hints[-1] is not ... and len(value) != len(hints)):
        raise ValueError(f"expected {wanted}, got {value!r}")
    return tuple(_build_value(_item_name(number, item), hints[0], item) for number, item in enumerate(value, 1))


def _item_name(number: int, item: Any) -> str:
    return repr(item["name"]) if isinstance(item, dict) and "name" in item else f"number {number}"
