"""Settings from an untrusted file: read as data, of bounded size, with checked types."""

import contextlib
import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from vae3d.errors import ConfigError
from vae3d.files.reading import read_text, reason_of

MAX_JSON_BYTES = 2**20
MAX_YAML_BYTES = 2**17
"""The settings of a run take 3 KB; PyYAML needs seconds for 100 KB."""
MAX_DEPTH = 50
CODE_KEYS = ("_target_", "_partial_", "_args_", "_call_", "_recursive_", "_convert_")
"""Keys that make Hydra call a function; vae3d never does, but other programs might."""

_NAMES: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    tuple: "a list",
    dict: "a table",
}


def read_json(path: Path) -> Any:
    """Read a JSON file; NaN, infinity and a key that appears twice are refused.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: too large, too deep, damaged, or a key of it names code.
    """
    return _read(path, MAX_JSON_BYTES, _parse_json)


def read_yaml(path: Path) -> Any:
    """Read a YAML file, with the checks of `read_json`; tags of Python and aliases are refused.

    No interpolation is resolved: `${...}` is text.
    """
    return _read(path, MAX_YAML_BYTES, _parse_yaml)


def from_plain(hint: Any, value: Any, key: str = "") -> Any:
    """Return the value as the type `hint`: a dataclass, or what one of its fields may be.

    Lists become tuples and whole numbers become floats where the type requires it, missing keys
    take their default, and nothing else is changed. The checks of the dataclasses run.

    Raises:
        ConfigError: another type, or a key that the dataclass does not have.
    """
    origin, arguments = _parts(hint)
    if origin is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        return _one_of(arguments, value, key)
    made = isinstance(origin, type) and isinstance(value, origin)
    if dataclasses.is_dataclass(origin) and not made:
        return _fields(origin, _checked(dict, value, key), key)
    if origin is dict:
        return {
            _checked(str, name, key): from_plain(arguments[1], item, _below(key, name))
            for name, item in _checked(dict, value, key).items()
        }
    if origin in (list, tuple):
        items = _checked(list, value, key)
        if _are_all(arguments[0], items):
            return origin(items)
        return origin(
            [from_plain(arguments[0], item, _below(key, i)) for i, item in enumerate(items)]
        )
    return _checked(origin, value, key)


def finite_or_none(value: float) -> float | None:
    """Return a finite value, or None: JSON has no infinity, as the PSNR of equal images."""
    return value if math.isfinite(value) else None


@functools.cache
def _parts(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return the type that is called, and the types in its brackets."""
    return typing.get_origin(hint) or hint, typing.get_args(hint)


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    """Return the types of the fields of a dataclass."""
    hints = typing.get_type_hints(kind)
    return {entry.name: hints[entry.name] for entry in dataclasses.fields(kind)}


def _are_all(kind: Any, items: list[Any]) -> bool:
    """Return whether all items are of this plain type already; records have hundreds of numbers.

    False only means that they are looked at one by one.
    """
    if kind not in (int, float, str) or {*map(type, items)} - {kind}:
        return False
    # A sum with NaN is NaN.
    return kind is not float or not math.isnan(sum(items))


def _one_of(kinds: tuple[Any, ...], value: Any, key: str) -> Any:
    """Return the value as the first type that takes it, or raise the error of the last one."""
    if value is None and types.NoneType in kinds:
        return None
    *others, last = (kind for kind in kinds if kind is not types.NoneType)
    for kind in others:
        with contextlib.suppress(ConfigError):
            return from_plain(kind, value, key)
    return from_plain(last, value, key)


def _fields(kind: Any, values: dict[Any, Any], key: str) -> Any:
    hints = _hints(kind)
    for name in values:
        if name not in hints:
            raise ConfigError(f"unknown key {_short(_below(key, name))}")
    return kind(**{n: from_plain(hints[n], v, _below(key, n)) for n, v in values.items()})


def _checked(kind: type, value: Any, key: str) -> Any:
    """Return the value, if it is of this kind; `True` and NaN are not numbers."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if kind is float and (whole or isinstance(value, float)):
        try:
            number = float(value)
        except OverflowError:
            number = math.nan
        if not math.isnan(number):
            return number
    elif whole if kind is int else isinstance(value, kind):
        return value
    raise ConfigError(f"{key or 'the file'} must be {_NAMES[kind]}, got {_short(value)}")


def _below(key: str, name: object) -> str:
    return f"{key}.{name}".lstrip(".")


def _short(value: object) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**30 else "a huge number"
    return text if len(text) <= 60 else f"{text[:60]}..."


def _read(path: Path, max_bytes: int, parse: Callable[[str], Any]) -> Any:
    try:
        values = parse(read_text(path, max_bytes))
    except (FileNotFoundError, ConfigError):
        raise
    except Exception as error:  # PyYAML raises an IndexError for `!!int` without a number
        raise ConfigError(f"cannot be read: {reason_of(error)}") from error
    _refuse_code(values)
    return values


def _refuse_code(values: Any, key: str = "", depth: int = 1) -> None:
    """Raise a ConfigError for the first key that names code, or for too deep a tree."""
    if isinstance(values, list | tuple):
        values = dict(enumerate(values))
    if not isinstance(values, dict):
        return
    if depth > MAX_DEPTH:
        raise ConfigError(f"is nested deeper than {MAX_DEPTH}")
    for name, item in values.items():
        below = _below(key, name)
        if name in CODE_KEYS:
            raise ConfigError(f"{_short(below)} names code, which a saved file may not; remove it")
        _refuse_code(item, below, depth + 1)


def _parse_json(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)


def _refuse_constant(name: str) -> Any:
    raise ConfigError(f"holds {name}, which is no number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"holds {_short(twice)} twice")
    return values


def _parse_yaml(text: str) -> Any:
    loader = _TreeLoader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


class _TreeLoader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases, with which ten lines can mean a billion values."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Return the next node.

        Raises:
            ConfigError: it is an alias, or too deep.
        """
        if self.check_event(yaml.AliasEvent):
            raise ConfigError("holds an alias (*), which is not read; write the value out")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ConfigError(f"is nested deeper than {MAX_DEPTH}")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node
