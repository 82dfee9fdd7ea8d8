"""The words after a command, converted to overrides that Hydra reads as they were meant.

`--data ct`, `runs/ct64` and `name='ct (1)'` are not in Hydra's grammar. Words with one clear
meaning are rewritten; all others raise a ConfigError with the line to type.
"""

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from vae3d.cli import hints, values
from vae3d.cli.keys import Keys as Keys
from vae3d.errors import ConfigError

SWITCHES = {
    *("--help", "-h", "--hydra-help", "--version", "--resolve", "--multirun", "-m", "-r"),
    *("--shell-completion", "-sc"),
}
"""Hydra's own words that take no value."""
WITH_VALUE = {
    *("--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn"),
    *("--config-dir", "-cd", "--experimental-rerun"),
}
"""Hydra's own words that take the next word, or the text after their `=`."""
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
"""The values of Hydra's --info, which may also have none."""
HYDRA = sorted({*SWITCHES, *WITH_VALUE, "--info", "-i"})
SWEEP = ("-m", "--multirun", "hydra.mode=MULTIRUN")

OVERRIDE = re.compile(
    r"(?P<prefix>\+\+?|~?)(?P<key>[^=@]*)(?P<package>@[^=]*)?(?P<equals>=?)(?P<value>.*)",
    re.DOTALL,
)
KEY = re.compile(r"[A-Za-z_$][A-Za-z0-9_$-]*(?:[./](?:[A-Za-z_$][A-Za-z0-9_$-]*|0|[1-9][0-9]*))*")
"""A key that Hydra's grammar accepts."""
NO_OPTION = ("", "null", "none")
"""Words that users type for no option of a group, in any case of letters."""


@dataclass
class Words:
    """Words by kind: settings `key=value`, plain words, and Hydra's own words."""

    settings: list[str] = field(default_factory=list)
    plain: list[str] = field(default_factory=list)
    hydra: list[str] = field(default_factory=list)


def overrides(command: str, typed: Sequence[str], keys: Keys) -> list[str]:
    """Return these words as overrides, followed by Hydra's own words.

    Raises:
        ConfigError: a word cannot be understood; the message has the line to type.
    """
    words = sort(typed, keys)
    sweep = any(word in SWEEP for word in (*words.hydra, *words.settings))
    named = [override(word, keys, sweep) for word in words.settings]
    return [*positional(command, words, keys, sweep), *named, *words.hydra]


def sort(typed: Sequence[str], keys: Keys) -> Words:
    """Return the words by kind, with `--data ct` as `data=ct`."""
    words, rest = Words(), deque(typed)
    while rest:
        word = rest.popleft()
        name, equals, value = word.partition("=")
        if key := option_key(name, keys):
            words.settings.append(
                f"{key}={value if equals else next_value(word, key, rest, keys)}"
            )
        elif own := hydra_word(name):
            words.hydra += [f"{own}{equals}{value}", *([] if equals else argument_of(own, rest))]
        elif word.startswith("-") and word != "-":
            follows = "" if not rest or is_option_or_setting(rest[0], keys) else rest[0]
            raise ConfigError(
                f"unrecognized arguments: {word}; {hints.for_option(word, follows, keys)}"
            )
        elif is_plain(word, keys):
            words.plain.append(word)
        elif name == "" and words.plain:
            value = value or (rest[0] if rest else "")
            raise ConfigError(f"no space before or after =: {hints.line(words.plain[-1], value)}")
        else:
            words.settings.append(word)
    return words


def option_key(name: str, keys: Keys) -> str:
    """Return the key or group of `--name`, also with `-` for `_`; empty if there is none."""
    if not name.startswith("--"):
        return ""
    spellings = (name[2:], name[2:].replace("-", "_"))
    return next((key for key in spellings if keys.knows(key)), "")


def next_value(word: str, key: str, rest: deque[str], keys: Keys) -> str:
    """Take the value of `--key` from the words that follow."""
    if not rest or is_option_or_setting(rest[0], keys):
        raise ConfigError(
            f"{word} needs a value: {hints.line(key, '')}, or {key}=true for a switch"
        )
    return rest.popleft()


def is_option_or_setting(word: str, keys: Keys) -> bool:
    """Return whether a word is an option or `key=value`, not the value of the option before."""
    name, equals, _ = word.partition("=")
    is_setting = equals != "" and keys.knows(name.lstrip("+~"))
    return is_setting or option_key(name, keys) != "" or hydra_word(name) != ""


def hydra_word(name: str) -> str:
    """Return the word of Hydra's that this is or abbreviates; empty if there is none."""
    if name in HYDRA:
        return name
    # As in argparse, --multi and --config-d are enough.
    matches = [word for word in HYDRA if name.startswith("--") and word.startswith(name)]
    return matches[0] if len(matches) == 1 and name != "--" else ""


def argument_of(own: str, rest: deque[str]) -> list[str]:
    """Take the value of one of Hydra's words from the words that follow."""
    takes = own in WITH_VALUE or (own in ("--info", "-i") and rest and rest[0] in INFO)
    return [rest.popleft()] if takes and rest else []


def is_plain(word: str, keys: Keys) -> bool:
    """Return whether a word is a path or a name, not `key=value` and not a deletion.

    A word with a slash before its `=` is a path, such as `runs/lr=1`, unless it names a group.
    """
    prefix, key, _, equals, _ = parts(word)
    if "/" in key:
        return not (key.startswith("hydra/") or key in keys.groups)
    return not prefix and not equals


def parts(word: str) -> tuple[str, str, str, str, str]:
    """Return the prefix, key, @package, `=` and value of a word."""
    match = OVERRIDE.fullmatch(word)
    assert match is not None, "the pattern matches any text"
    prefix, key, package, equals, value = match.groups(default="")
    return prefix, key, package, equals, value


def override(word: str, keys: Keys, sweep: bool) -> str:
    """Return `key=value` with the value quoted for Hydra, and the prefix that Hydra requires."""
    prefix, key, package, equals, value = parts(word)
    if not key:
        return word
    if not KEY.fullmatch(key):
        raise ConfigError(f"unknown key {key!r}{hints.for_key(key, value, keys)}")
    if not equals:
        if prefix == "~":
            return word
        raise ConfigError(f"{word} needs a value: {hints.line(word, '')}")
    if key in keys.groups and prefix != "~":
        refuse_no_option(key, value, keys.groups[key])
        prefix = prefix or ("+" if key in keys.optional else "")
    elif keys.is_added(key) or (key in keys.mappings and value.startswith("{")):
        # Without ++ Hydra refuses a key that the table does not have yet.
        prefix = prefix or "++"
    return f"{prefix}{key}{package}={hydra_value(key, value, keys, sweep)}"


def refuse_no_option(group: str, value: str, options: Sequence[str]) -> None:
    """Raise a ConfigError if the value, or one of a sweep, means no option of the group."""
    chosen = values.split(value) or [""]
    refused = [name for name in chosen if name.lower() in NO_OPTION and name not in options]
    if not refused:
        return
    way_out = hints.options(group, options)
    if "none" in options:
        way_out = hints.line(group, ",".join("none" if n in refused else n for n in chosen))
    raise ConfigError(f"{group}={value} chooses no option of {group}: {way_out}")


def hydra_value(key: str, value: str, keys: Keys, sweep: bool) -> str:
    """Return the value of a key quoted for Hydra; commas separate the jobs of a sweep."""
    literal = key in keys.literal
    if not literal:
        refuse_value(key, value, sweep)
    jobs = values.split(value) if sweep and literal else []
    texts = jobs if len(jobs) > 1 else [value]
    return ",".join(single_value(key, text, keys) for text in texts)


def refuse_value(key: str, value: str, sweep: bool) -> None:
    """Raise a ConfigError for an unclosed list, and for several values without a sweep."""
    if bracket := values.lacks_bracket(value):
        whole = hints.line(key, value + bracket)
        raise ConfigError(f"{key}={value} does not close its {value[0]}: {whole}")
    several = len(values.split(value)) > 1 and not values.ESCAPE.search(value)
    if several and not sweep and not key.startswith("hydra."):
        as_list = hints.line(key, f"[{value}]")
        raise ConfigError(f"{key}={value} has several values: {as_list}, or add -m to try each")


def single_value(key: str, text: str, keys: Keys) -> str:
    """Return one value of a key; if the key takes only lists, one without brackets becomes one."""
    if key in keys.lists and (several := values.collection(text)) is not None:
        return several
    value = values.scalar(text) if key in keys.literal else values.readable(text)
    alone = value not in ("", "null") and not value.startswith(("[", "${"))
    return f"[{value}]" if alone and key in keys.only_lists else value


def positional(command: str, words: Words, keys: Keys, sweep: bool) -> list[str]:
    """Return the override for the plain words.

    Raises:
        ConfigError: the command takes no plain words, or only one.
    """
    plain, key = words.plain, keys.positional
    if not plain:
        return []
    if key is None:
        raise ConfigError(f"vae3d {command} takes no plain words: {hints.for_plain(plain, keys)}")
    if any(parts(word)[1] == key for word in words.settings):
        raise ConfigError(f"{key} is given twice, as {plain[0]} and as {key}=: keep one of them")
    if key in keys.lists:
        return [f"{key}=[{','.join(map(values.literal, plain))}]"]
    if len(plain) > 1:
        hint = hints.for_several(command, plain, keys)
        raise ConfigError(f"vae3d {command} takes one {key}, got {' '.join(plain)}: {hint}")
    return [f"{key}={hydra_value(key, plain[0], keys, sweep)}"]
