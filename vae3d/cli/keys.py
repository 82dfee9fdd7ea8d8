"""The keys and groups of a command, and how the value of each is read."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from vae3d.settings.command import Command
from vae3d.settings.groups import EXPERIMENT, groups_of
from vae3d.settings.nearest import nearest_key
from vae3d.settings.schema import settings_of


@dataclass(frozen=True)
class Keys:
    """The keys and groups of a command.

    `literal` keys have paths, patterns or names as values, in which every character counts; those
    in `lists` may have lists of them. The tables in `mappings` accept any key. `groups` are the
    options of each group. Groups in `optional` are not in the defaults list: Hydra requires a `+`
    before them. Words without `=` are values of the `positional` key, several if it is in `lists`.
    A single value of a key in `only_lists` becomes a list of one.
    """

    literal: frozenset[str]
    lists: frozenset[str]
    mappings: frozenset[str]
    known: frozenset[str]
    groups: Mapping[str, tuple[str, ...]]
    positional: str | None
    optional: frozenset[str] = frozenset()
    only_lists: frozenset[str] = frozenset()

    def knows(self, name: str) -> bool:
        """Return whether this is a key or a group, including `levels.1.channels` or `terms.l1`."""
        without_index = re.sub(r"\.\d+(?=\.|$)", "", name)
        return name in self.groups or without_index in self.known or self.is_added(name)

    def is_added(self, name: str) -> bool:
        """Return whether this is a key below a table that accepts any key."""
        return any(name.startswith(f"{mapping}.") for mapping in self.mappings)

    def nearest(self, name: str) -> str:
        """Return the key that was probably meant; empty if none is similar."""
        return nearest_key(name, sorted({*self.known, *self.groups})) or ""


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
