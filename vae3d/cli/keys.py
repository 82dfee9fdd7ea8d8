"""What the words after a command may name: its keys, its groups, and how each is read."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from vae3d.settings.nearest import nearest_key


@dataclass(frozen=True)
class Keys:
    """What the words of a command may name.

    `literal` keys hold paths, patterns or names, whose every character counts; those in `lists`
    may hold lists of them. Anybody may add a key to the tables in `mappings`. `groups` are the
    options of each group, of which those in `optional` are in no defaults list: Hydra asks for a
    `+` before them. Plain words fill the `positional` key, several where it is in `lists`. A
    lone value of a key in `only_lists` is a list of one.
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
        """Whether this is a key or a group, `model.levels.1.channels` and `loss.terms.l1` too."""
        without_index = re.sub(r"\.\d+(?=\.|$)", "", name)
        return name in self.groups or without_index in self.known or self.is_added(name)

    def is_added(self, name: str) -> bool:
        """Whether this is a key below a table that anybody may add to."""
        return any(name.startswith(f"{mapping}.") for mapping in self.mappings)

    def nearest(self, name: str) -> str:
        """The key that was probably meant; empty if none is near."""
        return nearest_key(name, sorted({*self.known, *self.groups})) or ""
