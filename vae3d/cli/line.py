"""`Line`: the words after a command, parsed and checked without importing Hydra."""

import contextlib
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vae3d.cli.explain import NOT_UNDERSTOOD
from vae3d.cli.keys import keys_of
from vae3d.cli.words import overrides, parts
from vae3d.commands import COMMANDS
from vae3d.errors import ConfigError
from vae3d.loss.config import LOSSES
from vae3d.settings.command import Command
from vae3d.settings.groups import Group, chosen_by_default, groups_of, option_files
from vae3d.settings.nearest import RENAMED, no_option, unknown_key
from vae3d.settings.schema import settings_of

WORD = re.compile(r"[\w.-]+")
CONFIG_DIRS = ("--config-dir", "-cd")


@dataclass(frozen=True)
class Line:
    """The overrides of a command, and after them Hydra's own words."""

    command: Command
    words: list[str]

    @classmethod
    def of(cls, command: Command, typed: Sequence[str]) -> "Line":
        """Return the line that was typed after a command.

        Raises:
            ConfigError: a word cannot be understood.
        """
        return cls(command, overrides(command.name, typed, keys_of(command)))

    @cached_property
    def overrides(self) -> list[str]:
        """The overrides `key=value`, without Hydra's own words."""
        return [*itertools.takewhile(lambda word: not word.startswith("-"), self.words)]

    @cached_property
    def of_hydra(self) -> list[str]:
        """Hydra's own words."""
        return self.words[len(self.overrides) :]

    @cached_property
    def config_dir(self) -> Path | None:
        """The folder of the user's own option files.

        Raises:
            ConfigError: there is no such folder.
        """
        for index, word in enumerate(self.of_hydra):
            name, equals, value = word.partition("=")
            if name in CONFIG_DIRS:
                given = value if equals else "".join(self.of_hydra[index + 1 : index + 2])
                path = Path(given)
                with contextlib.suppress(RuntimeError):  # no user of the name after `~`
                    path = path.expanduser()
                if not given or not path.is_dir():
                    raise ConfigError(f"{name} needs a folder of option files, got {given!r}")
                return path
        return None

    @property
    def for_hydra(self) -> bool:
        """Whether Hydra's own program is needed: for sweeps, `--cfg` and the like."""
        whole = sum(word.startswith("--config-dir=") for word in self.of_hydra)
        with_folder = sum(word in CONFIG_DIRS for word in self.of_hydra)
        return len(self.of_hydra) > whole + 2 * with_folder or any(
            word.startswith("hydra") for word in self.overrides
        )

    @property
    def shows_settings(self) -> bool:
        """Whether to print the settings and run nothing."""
        return self.of_hydra in (["--cfg", "job"], ["--cfg=job"], ["-c", "job"])

    @cached_property
    def chosen(self) -> dict[str, str]:
        """The option of each group, by default or as typed; the option files may change it."""
        defaults = {**chosen_by_default(self.command.name)}
        return defaults | {key: value for key, value in self._pairs() if key in self.groups}

    @property
    def chosen_by_hand(self) -> list[str]:
        """The groups of which an option was typed."""
        return [key for key, _ in self._pairs() if key in self.groups]

    @property
    def set_values(self) -> dict[str, str]:
        """The values that were typed, by key."""
        return {key: value for key, value in self._pairs() if key not in self.groups}

    @property
    def removed(self) -> set[str]:
        """The keys with a `~`, except entries of tables and Hydra's own keys."""
        keys = {parts(word)[1] for word in self.overrides if word.startswith("~")}
        return {key for key in keys if not (self._is_in_table(key) or key.startswith("hydra"))}

    @property
    def plugins(self) -> list[str]:
        """The modules that `plugins=` names."""
        named = re.findall(r"[^\s,'\"\[\]]+", self.set_values.get("plugins", ""))
        return [name for name in named if name != "null"]

    @cached_property
    def groups(self) -> dict[str, Group]:
        """The groups of the command."""
        return groups_of(self.command, self.config_dir)

    @cached_property
    def keys(self) -> list[str]:
        """All keys that the command has under any option of its groups."""
        keys = [setting.key for setting in settings_of(self.command)]
        return [*keys, *(f"loss.terms.{name}" for name in LOSSES if "loss.terms" in keys)]

    def check(self) -> None:
        """Raise a ConfigError for the first key or option that does not exist."""
        if {"-sc", "--shell-completion"} & {*self.words}:
            raise ConfigError('completion is switched on by: eval "$(vae3d completion bash)"')
        for key, value in self._pairs():
            if not key:
                raise ConfigError(NOT_UNDERSTOOD)
            if key in self.removed:
                raise ConfigError(
                    f"~{key}: a setting cannot be removed, only set to another value"
                )
            if key in self.groups:
                self._check_option(self.groups[key], value)
            elif not self._is_known(key):
                raise ConfigError(self._unknown(key))

    def _unknown(self, key: str) -> str:
        """Return why a key is unknown: it is misspelled, or of a group of other commands."""
        group = key.partition(".")[0]
        takers = [name for name, command in COMMANDS.items() if group in groups_of(command)]
        # The settings of a training have relatives here, such as evaluation.inference.size.
        if takers and "train" not in takers and group not in self.groups:
            return f"{group}= is for vae3d {', '.join(takers)}, not for {self.command.name}"
        return unknown_key(key, [*self.keys, *self.groups])

    def _check_option(self, group: Group, value: str) -> None:
        several = value.startswith("[") and group.name != "logger"
        if several or value.startswith("{"):
            names = ", ".join(group.options)
            raise ConfigError(
                f"{group.name} takes one option ({names}), got {value}; "
                f"single settings are typed as {group.name}.KEY=VALUE"
            )
        options = value.strip("[]").split(",")
        for option in filter(None, map(str.strip, options)):
            if WORD.fullmatch(option) and option not in group.options:
                raise ConfigError(self._refusal(group, option))

    def _refusal(self, group: Group, option: str) -> str:
        if option not in option_files(group.name):
            return no_option(group.name, option, [*group.options])
        no_group = Group(group.name, {})
        takers = [
            name
            for name, command in COMMANDS.items()
            if option in groups_of(command).get(group.name, no_group).options
        ]
        return (
            f"{group.name}={option} is for vae3d {', '.join(takers)}; "
            f"for {self.command.name} choose from {', '.join(group.options)}"
        )

    def _is_known(self, key: str) -> bool:
        if key in RENAMED:
            raise ConfigError(f"{key} is called {RENAMED[key]} now")
        if re.match(r"hydra([./]|$)", key):
            return True
        plain = re.sub(r"\.\d+(?=\.|$)", ".N", key).removesuffix(".N")
        return self._is_in_table(key) or any(
            k == plain or k.startswith(f"{plain}.") for k in self.keys
        )

    def _is_in_table(self, key: str) -> bool:
        tables = [setting.key for setting in settings_of(self.command) if setting.table]
        return any(key.startswith(f"{table}.") for table in tables)

    def _pairs(self) -> Iterator[tuple[str, str]]:
        for word in self.overrides:
            _, key, _, _, value = parts(word)
            yield key, value
