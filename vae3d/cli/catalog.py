"""`Catalog`: what a command line may consist of, for completion."""

import re
from collections.abc import Mapping, Sequence

from vae3d.bounds import PATH
from vae3d.commands import COMMANDS
from vae3d.settings.groups import groups_of
from vae3d.settings.schema import settings_of

FILES, FOLDERS = "@files", "@folders"
"""Choices that mean paths, which the shell completes itself."""
_PATHS = {PATH.kind: (FILES,)}
"""What the shell completes for keys whose value is literal text."""


class Catalog:
    """Commands, groups and keys with their sentences."""

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
