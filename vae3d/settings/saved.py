"""Settings as plain values: written with a run, and read again as data."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml

from vae3d.bounds import hints_of, parts
from vae3d.errors import ConfigError, RunError
from vae3d.files.atomic import write_text
from vae3d.files.checksums import warn_if_changed
from vae3d.files.plain import from_plain, read_yaml
from vae3d.runtime.registry import plugin_hint
from vae3d.settings.groups import CHOSEN_KIND, kinds
from vae3d.settings.nearest import RENAMED

T = TypeVar("T")


def describe(config: Any) -> dict[str, Any]:
    """Return settings as plain values; `kind` is the chosen option of `data` and `patching`."""
    values = cast("dict[str, Any]", _plain(dataclasses.asdict(config)))
    for name, group in _chosen_groups(type(config)).items():
        chosen = getattr(config, name)
        options = kinds(group).items()
        kind = next((option for option, node in options if isinstance(chosen, node)), "library")
        values[name] = {"kind": kind, **values[name]}
    return values


def write_settings(config: Any, path: Path) -> None:
    """Write settings as YAML."""
    write_text(path, yaml.safe_dump(describe(config), sort_keys=False))


def read_settings(path: Path, expected: type[T]) -> T:
    """Read settings from `write_settings`; keys, types and bounds are checked, nothing is run.

    Keys of earlier versions are renamed to those of today.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: the file is damaged, or has other settings.
        RunError: the run's data were an object in Python, not settings.
    """
    warn_if_changed(path)
    values = translate_renamed_keys(from_plain(dict[str, Any], read_yaml(path)))
    chosen = {
        name: _chosen(values, name, kinds(group))
        for name, group in _chosen_groups(expected).items()
    }
    try:
        config: T = from_plain(expected, {**values, **chosen})
    except ConfigError as error:
        raise ConfigError(f"{error}{plugin_hint(values.get('plugins'))}") from error
    return config


def translate_renamed_keys(values: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with keys of earlier versions renamed to those of today."""
    for old, new in RENAMED.items():
        holder, leaf = _holder(values, old)
        if holder is not None and leaf in holder:
            target, name = _holder(values, new, create=True)
            cast("dict[str, Any]", target).setdefault(name, holder.pop(leaf))
    return values


def _chosen_groups(kind: type) -> dict[str, str]:
    """Return the fields of a config that hold one of several dataclasses, with their group."""
    hints = {name: parts(hint)[0] for name, hint in hints_of(kind).items()}
    return {name: CHOSEN_KIND[hint] for name, hint in hints.items() if hint in CHOSEN_KIND}


def _chosen(values: Mapping[str, Any], name: str, options: Mapping[str, type]) -> Any:
    table = from_plain(dict[str, Any], values.get(name), name)
    kind = from_plain(str, table.pop("kind", None), f"{name}.kind")
    if kind not in options:
        raise RunError(
            f"{name} of this run came from Python ({kind:.60}), not from the command line; "
            "evaluate it with vae3d.eval_3d"
        )
    return from_plain(options[kind], table, name)


def _holder(
    values: dict[str, Any], key: str, create: bool = False
) -> tuple[dict[str, Any] | None, str]:
    """Return the table that holds a key, and the key's last part."""
    *above, leaf = key.split(".")
    table: Any = values
    for name in above:
        if create:
            table.setdefault(name, {})
        table = table.get(name) if isinstance(table, dict) else None
    return (table if isinstance(table, dict) else None), leaf


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
