"""What the keys of a command are set to by the options of its groups, read without Hydra."""

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
    """The values that the chosen options' files set, by key; all others have their default."""
    found: dict[str, Any] = {}
    for name, group in groups_of(command, extra).items():
        option = chosen.get(name)
        if option in group.options:
            found |= dict(_flat(_file_values(name, option, extra), name))
    return found


def flat_settings(settings: Any) -> dict[str, Any]:
    """The values of composed settings by key; elements of lists are under `N` too."""
    return dict(_flat(dataclasses.asdict(settings), ""))


def _file_values(group: str, option: str, extra: Path | None) -> dict[str, Any]:
    """An option file's values over those of the options that its defaults name."""
    folders = [*([extra] if extra else []), conf_folder()]
    path = next(p for folder in folders if (p := folder / group / f"{option}.yaml").is_file())
    values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    found: dict[str, Any] = {}
    for base in values.pop("defaults", []):
        if isinstance(base, str) and base != "_self_" and not base.endswith("_schema"):
            found = _merged(found, _file_values(group, base, extra))
    return _merged(found, values)


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    found = dict(first)
    for key, value in second.items():
        old = found.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        found[key] = _merged(old, value) if both else value  # type: ignore[arg-type]
    return found


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        key = f"{prefix}.{name}".lstrip(".")
        yield key, value
        if isinstance(value, Mapping):
            yield from _flat(value, key)
