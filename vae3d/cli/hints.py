"""What to type instead of words that cannot be understood, as the ends of messages."""

import itertools
import re
import shlex
from collections.abc import Sequence

from vae3d.cli.keys import Keys

SYNTAX = "settings are typed as key=value, and --help lists them"
NAMED_BY_PATHS = ("input", "data.root")
"""Keys that a lone path most likely means, the most likely first."""


def line(key: str, value: str) -> str:
    """Return `type key=value`, quoted for a shell; an empty value is shown as VALUE."""
    return f"type {shlex.quote(f'{key}={value}') if value else f'{key}=VALUE'}"


def options(group: str, names: Sequence[str]) -> str:
    """Return `type data=ct, or one of ...`."""
    first, *others = names
    return f"type {group}={first}" + (f", or one of {', '.join(others)}" if others else "")


def for_option(word: str, follows: str, keys: Keys) -> str:
    """Return what to type for `--word`, which is not a key; `follows` is the next word."""
    name, equals, value = word.lstrip("-").partition("=")
    near = keys.nearest(name.replace("-", "_")) if name else ""
    return line(near, value if equals else follows) if near else SYNTAX


def for_key(key: str, value: str, keys: Keys) -> str:
    """Return what to type for a key that Hydra cannot read; starts with a comma or semicolon."""
    plain = re.sub(r"\[(\d+)\]", r".\1", key).strip()
    near = plain if keys.knows(plain) else keys.nearest(plain)
    return f", {line(near, value)}" if near else f"; {SYNTAX}"


def for_plain(plain: Sequence[str], keys: Keys) -> str:
    """Return what to type for words without `=`, if the command takes none."""
    word = plain[0]
    if not word:
        return "remove the empty one"
    if keys.knows(word) and len(plain) > 1:
        return line(word, plain[1])
    if word in keys.groups:
        return options(word, keys.groups[word])
    if keys.knows(word):
        return line(word, "")
    groups = [group for group, names in keys.groups.items() if word in names]
    key = next((key for key in (*groups, *NAMED_BY_PATHS) if keys.knows(key)), "")
    return line(key, word) if key else SYNTAX


def for_several(command: str, plain: Sequence[str], keys: Keys) -> str:
    """Return what to type for several words without `=`, if the command takes one."""
    for word, follows in itertools.pairwise(plain):
        if keys.knows(word):
            return line(word, follows)
    return f"type vae3d {command} {shlex.quote(plain[0])}, then the command again for each other"
