"""The values that the options of a command's groups set, read without Hydra."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from vae3d.settings.command import Command
from vae3d.settings.groups import conf_folder, groups_of


def option_values(
    command: Command, chosen: Mapping[str, str], extra: Path | None = None
) -> dict[str, Any]:
    """Return the values that the files of the chosen options set, by key."""
    values: dict[str, Any] = {}
    for name, group in groups_of(command, extra).items():
        option = chosen.get(name)
        if option in group.options:
            values |= dict(_flat(_file_values(name, option, extra), name))
    return values


def flat_settings(settings: Any) -> dict[str, Any]:
    """Return the values of composed settings by key, tables and the values in them."""
    return dict(_flat(dataclasses.asdict(settings), ""))


def _file_values(group: str, option: str, extra: Path | None) -> dict[str, Any]:
    """Return the values of an option file, merged over those of the options in its defaults."""
    folders = [*([extra] if extra else []), conf_folder()]
    path = next(p for folder in folders if (p := folder / group / f"{option}.yaml").is_file())
    values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    inherited: dict[str, Any] = {}
    for base in values.pop("defaults", []):
        if isinstance(base, str) and base != "_self_" and not base.endswith("_schema"):
            inherited = _merge(inherited, _file_values(group, base, extra))
    return _merge(inherited, values)


def _merge(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    merged = dict(first)
    for key, value in second.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = _merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        key = f"{prefix}.{name}".lstrip(".")
        yield key, value
        if isinstance(value, Mapping):
            yield from _flat(value, key)
