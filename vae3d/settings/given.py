"""Settings given in Python: a dict, a dataclass or an option's name, checked as typed ones are."""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vae3d.bounds import Settings, hints_of
from vae3d.errors import ConfigError
from vae3d.files.plain import from_plain
from vae3d.settings.command import Command
from vae3d.settings.groups import file_values, kinds, option_files
from vae3d.settings.nearest import RENAMED, no_option, unknown_key
from vae3d.settings.schema import settings_of

KIND = "kind"
"""The key of a dict that names the option which its other keys change."""


def settings_of_group(command: Command, group: str, value: Any, default: str) -> Any:
    """Return the settings of a group from what was given for it in Python.

    `value` is a dataclass of the group, the name of an option, a dict of keys, whose `kind` names
    the option that they change, or None for the option `default`. Keys of a dict count as typed,
    under their whole names below the group; of an option that was named all of it does.

    Raises:
        ConfigError: a key, an option or a value is not valid, as on the command line.
    """
    classes = kinds(group)
    if isinstance(value, (*{*classes.values()},)):
        return value
    if value is not None and not isinstance(value, str | Mapping):
        raise ConfigError(
            f"{group} must be the name of an option, a dict of settings or a "
            f"{next(iter(classes.values())).__name__}, got {value!r:.200}"
        )
    given = {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}
    option = value if isinstance(value, str) else given.pop(KIND, default)
    files = option_files(group)
    if option not in files:
        raise ConfigError(no_option(group, str(option), [*files]))
    kind = classes.get(str(option), next(iter(classes.values())))
    known = _Known(command)
    values = plain(given)
    known.check(values, group, kind)
    merged = known.merged(file_values(group, str(option)), values, group)
    settings = from_plain(kind, merged, group)
    if isinstance(settings, Settings):
        settings.typed = frozenset(_leaves(values))
    return settings


def plain(value: Any) -> Any:
    """Return a value of Python as one of a settings file.

    Tuples become lists, paths and devices text, and NumPy's numbers those of Python.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    # Neither torch nor NumPy is imported to read settings.
    home, name = type(value).__module__.partition(".")[0], type(value).__name__
    if (home, name) == ("torch", "device"):
        return str(value)
    return value.item() if home == "numpy" and hasattr(value, "item") else value


class _Known:
    """The keys of a command."""

    def __init__(self, command: Command) -> None:
        settings = settings_of(command)
        self.keys = [setting.key for setting in settings]
        self.tables = {setting.key for setting in settings if setting.table}

    def check(self, values: Mapping[str, Any], group: str, kind: Any) -> None:
        """Raise a ConfigError for the first key that the group or its option does not have."""
        for name, value in values.items():
            self._check_key(f"{group}.{name}")
            if name not in hints_of(kind):
                raise ConfigError(unknown_key(f"{group}.{name}", self.keys))
            self._check_below(value, f"{group}.{name}")

    def _check_below(self, value: Any, key: str) -> None:
        if isinstance(value, list):
            for index, item in enumerate(value):
                self._check_below(item, f"{key}.{index}")
        elif isinstance(value, dict) and key not in self.tables:
            for name, item in value.items():
                self._check_key(f"{key}.{name}")
                self._check_below(item, f"{key}.{name}")

    def _check_key(self, key: str) -> None:
        if key in RENAMED:
            raise ConfigError(f"{key} is called {RENAMED[key]} now")
        name = re.sub(r"\.\d+(?=\.|$)", ".N", key)
        if not any(known == name or known.startswith(f"{name}.") for known in self.keys):
            raise ConfigError(unknown_key(key, self.keys))

    def merged(self, base: Mapping[str, Any], new: Mapping[str, Any], key: str) -> dict[str, Any]:
        """Return the values of an option with others in their place; tables are replaced whole."""
        merged = dict(base)
        for name, value in new.items():
            below, old = f"{key}.{name}", merged.get(name)
            both = isinstance(value, dict) and isinstance(old, dict) and below not in self.tables
            merged[name] = self.merged(old or {}, value, below) if both else value
        return merged


def _leaves(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}"


def chosen_by_name(value: Any) -> bool:
    """Return whether a whole option was given, not single keys of one."""
    named = isinstance(value, Mapping) and KIND in value
    return named or isinstance(value, str) or dataclasses.is_dataclass(value)


def sequence_of(value: Any) -> Sequence[Any]:
    """Return the entries of a list or tuple, or the value as the only one; None is no entry."""
    if value is None:
        return ()
    return value if isinstance(value, list | tuple) else (value,)
