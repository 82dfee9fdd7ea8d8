"""The keys and groups of a command, for parsing its line and for completion."""

import re
from collections.abc import Mapping, Sequence
from functools import cache

from vae3d.bounds import PATH
from vae3d.cli.completion import FILES
from vae3d.cli.keys import Keys
from vae3d.commands import COMMANDS
from vae3d.settings.command import Command
from vae3d.settings.groups import EXPERIMENT, groups_of
from vae3d.settings.schema import settings_of

_PATHS = {PATH.kind: (FILES,)}
"""What the shell completes for keys whose value is literal text."""


@cache
def keys_of(command: Command) -> Keys:
    """Return the keys of a command, sorted by how their values are read."""
    settings = settings_of(command)
    groups = {name: (*group.options,) for name, group in groups_of(command).items()}
    return Keys(
        literal=frozenset(s.key for s in settings if s.text),
        lists=frozenset(s.key for s in settings if s.text and s.many),
        mappings=frozenset(s.key for s in settings if s.table),
        known=frozenset(s.key for s in settings),
        groups=groups,
        positional=command.plain,
        optional=frozenset({EXPERIMENT} & {*groups}),
        only_lists=frozenset(s.key for s in settings if s.many and ".N" not in s.key),
    )


class Catalog:
    """Commands, groups and keys with their sentences, for completion."""

    def commands(self) -> Mapping[str, str]:
        """Return each command with its sentence."""
        own = {"completion": "print the completion script for bash, zsh or fish"}
        return {name: COMMANDS[name].summary for name in COMMANDS} | own

    def groups(self, command: str) -> Mapping[str, Mapping[str, str]]:
        """Return the options of each group of a command with their sentences."""
        return {name: group.options for name, group in groups_of(COMMANDS[command]).items()}

    def keys(
        self, command: str, typed: Sequence[str]
    ) -> Mapping[str, tuple[str, tuple[str, ...]]]:
        """Return the keys of a command under the options that were typed: sentence and choices."""
        options = dict(word.split("=", 1) for word in typed if re.fullmatch(r"\w+=\w+", word))
        settings = settings_of(COMMANDS[command], options)
        return {s.key: (s.sentence, s.choices + _PATHS.get(s.text or "", ())) for s in settings}
