"""Tab completion of commands, groups, options, keys and choices in bash, zsh and fish.

The scripts for the shells contain no words: on every Tab they send the line up to the cursor to
`vae3d completion --words LINE`, and show its output.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vae3d.cli.catalog import FILES, FOLDERS, Catalog
from vae3d.cli.shells import SCRIPTS
from vae3d.errors import ConfigError

Candidates = list[tuple[str, str]]
"""Words that may be typed, each with a sentence about it."""

OWN_WORDS = {"--help": "list the commands", "--version": "print the version"}
HYDRA_WORDS = {
    "--help": "list the keys of this command",
    "--cfg": "print the settings of this line, and stop",
    "--multirun": "run one job for each combination of the values between commas",
    "-m": "the same as --multirun",
    "--resolve": "with --cfg: replace ${...} by its value",
    "--package": "with --cfg: print one part of the settings",
    "--info": "print how Hydra composes the settings",
    "--config-dir": "add a folder of your own options",
    "--hydra-help": "list Hydra's own words",
}
HYDRA_CHOICES = {
    **dict.fromkeys(("--cfg", "-c"), ("job", "hydra", "all")),
    **dict.fromkeys(
        ("--info", "-i"), ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
    ),
    **dict.fromkeys(("--config-dir", "-cd", "--config-path", "-cp"), (FOLDERS,)),
    **dict.fromkeys(("--package", "-p", "--config-name", "-cn"), ()),
}
"""The values that may follow one of Hydra's words."""
SEVERAL_RUNS = ("compare",)
"""Commands that take several run folders as plain words; the others take one."""


def candidates(catalog: Catalog, words: Sequence[str], current: str) -> Candidates:
    """Return the words that complete `current` after these words, which follow `vae3d`.

    FILES and FOLDERS mean that the shell completes a path; their sentence is then the part of
    `current` before the path.
    """
    if not words:
        own = OWN_WORDS if current.startswith("-") else {}
        return beginning(current, {**catalog.commands(), **own})
    command, *typed = words
    if command == "completion":
        return beginning(current, dict.fromkeys(SCRIPTS, "")) if not typed else []
    if command not in catalog.commands():
        return []
    if typed and typed[-1] in HYDRA_CHOICES:
        return values("", current, dict.fromkeys(HYDRA_CHOICES[typed[-1]], ""))
    name = typed[-1].removeprefix("--") if typed and typed[-1].startswith("--") else ""
    typed = as_settings(typed)
    if name and (described := choices(catalog, command, typed, name)) is not None:
        return values("", current, described)
    name, equals, value = current.partition("=")
    if equals:
        key = name.lstrip("+~") if not name.startswith("--") else name[2:]
        return values(f"{name}=", value, choices(catalog, command, typed, key) or {})
    keys = names(catalog, command, typed, current)
    return [*plain_words(catalog, command, typed, current), *keys]


def beginning(current: str, described: Mapping[str, str]) -> Candidates:
    """Return the words that start with the current one."""
    return [(word, text) for word, text in described.items() if word.startswith(current)]


def as_settings(typed: Sequence[str]) -> list[str]:
    """Return the words with `--data ct`, `--data=ct` and `+data=ct` as `data=ct`."""
    settings: list[str] = []
    for word in typed:
        before = settings[-1] if settings else ""
        if before.startswith("--") and not word.startswith("-"):
            settings[-1] = f"{before[2:]}={word}"
        else:
            settings.append(word.lstrip("+-") if "=" in word else word)
    return settings


def choices(
    catalog: Catalog, command: str, typed: Sequence[str], key: str
) -> Mapping[str, str] | None:
    """Return the choices of a group or a key with sentences; None if it is neither."""
    if key in (groups := catalog.groups(command)):
        return groups[key]
    keys = catalog.keys(command, typed)
    return dict.fromkeys(keys[key][1], "") if key in keys else None


def values(before: str, value: str, described: Mapping[str, str]) -> Candidates:
    """Return the choices for the value after `before`, or for its last item: `[psnr,s`."""
    begun = max(value.rfind("["), value.rfind(",")) + 1
    texts = {text: about for text, about in described.items() if text not in (FILES, FOLDERS)}
    # Outside of a list a comma is part of a path.
    base = before + (value[:begun] if value.startswith("[") else "")
    paths = [(text, base) for text in described if text in (FILES, FOLDERS)]
    items = before + value[:begun]
    return [(items + text, about) for text, about in beginning(value[begun:], texts)] + paths


def plain_words(catalog: Catalog, command: str, typed: Sequence[str], current: str) -> Candidates:
    """Return FOLDERS if the folder of a run may be typed here without `run=`."""
    if "run" not in catalog.keys(command, typed) or current.startswith(("-", "+")):
        return []
    named = any(word.startswith("run=") for word in typed)
    one = any(not word.startswith("-") and "=" not in word for word in typed)
    full = named or (one and command not in SEVERAL_RUNS)
    return [] if full else [(FOLDERS, "")]


def names(catalog: Catalog, command: str, typed: Sequence[str], current: str) -> Candidates:
    """Return groups, keys and Hydra's words that start with the current word.

    Keys appear one level at a time: `trainer.` first, and what is below it after the dot.
    """
    prefix = next(p for p in ("--", "++", "+", "~", "") if current.startswith(p))
    begun = current.removeprefix(prefix)
    own = beginning(current, HYDRA_WORDS) if current.startswith("-") else []
    if current.startswith("-") and not begun:
        return own
    end = "" if prefix in ("--", "~") else "="
    given = {word.partition("=")[0] for word in typed}
    settings = {
        f"{prefix}{name}{'' if name.endswith('.') else end}": about
        for name, about in one_level(catalog, command, typed, begun).items()
        if name not in given
    }
    return [*own, *settings.items()]


def one_level(catalog: Catalog, command: str, typed: Sequence[str], begun: str) -> dict[str, str]:
    """Return groups and keys that start with `begun`, cut after the next dot."""
    options = catalog.groups(command).items()
    groups = {group: f"one of {', '.join(names)}" for group, names in options}
    keys = {key: about for key, (about, _) in catalog.keys(command, typed).items()}
    words: dict[str, str] = {}
    for name, about in {**keys, **groups}.items():
        head, dot, rest = name[len(begun) :].partition(".")
        if name.startswith(begun):
            words.setdefault(begun + head + dot, "" if rest else about)
    return words


def answer(catalog: Catalog, arguments: Sequence[str]) -> str:
    """Return the output of `vae3d completion ARGUMENTS`: a script, or the candidates for a Tab.

    `--words LINE [BREAKS]` prints one candidate per line, with its sentence after a tab. A
    candidate that ends in a space is a complete word. FILES and FOLDERS are followed by the text
    before the path, and by the path. LINE is the text up to the cursor. In a word with one of the
    characters BREAKS, a shell replaces only the text after it.

    Raises:
        ConfigError: any other argument.
    """
    if len(arguments) == 1 and arguments[0] in SCRIPTS:
        return SCRIPTS[arguments[0]]
    if len(arguments) in (2, 3) and arguments[0] == "--words":
        return reply(catalog, *arguments[1:])
    shells = " or ".join(f"vae3d completion {shell}" for shell in SCRIPTS)
    raise ConfigError(f"completion needs the name of your shell: type {shells}")


def reply(catalog: Catalog, line: str, breaks: str = "") -> str:
    """Return the candidates for a line that ends at the cursor, one per line."""
    words, current, kept, in_quotes = parse(line, breaks)
    lines = []
    for word, about in candidates(catalog, words, current):
        if word in (FILES, FOLDERS):
            lines.append(f"{word}\t{about[kept:]}\t{current[len(about) :]}")
        else:
            continues = word.endswith(("=", ".")) or "[" in word
            # In quotes a space would become part of the value.
            space = "" if continues or (in_quotes and breaks) else " "
            lines.append(f"{word[kept:]}{space}\t{' '.join(about.split())}")
    return "".join(f"{text}\n" for text in lines)


PIECE = re.compile(
    r"""'(?P<single>[^']*)(?:'|(?P<open1>\Z))"""
    r"""|"(?P<double>(?:\\.|[^"\\])*)(?:"|(?P<open2>\\?\Z))"""
    r"""|\\(?P<escaped>.|\Z)|(?P<plain>[^\s'"\\]+)|(?P<space>\s+)""",
    re.DOTALL,
)
"""A part of a line up to a space or a quote; the last quotes may be left open."""


class Line(NamedTuple):
    """The words after `vae3d` and the one at the cursor, all without quotes.

    Of the current word a shell keeps the first `kept` characters, and replaces the others.
    """

    words: list[str]
    current: str
    kept: int
    in_quotes: bool


def parse(line: str, breaks: str) -> Line:
    """Return the parts of a line that ends at the cursor."""
    words, kept, in_quotes = [""], 0, False
    for piece in PIECE.finditer(line):
        if piece["space"]:
            words.append("")
            kept = 0
            continue
        text = "".join(filter(None, piece.group("single", "double", "escaped", "plain")))
        if breaks and (part := kept_of(piece, text, breaks)) is not None:
            kept = len(words[-1]) + part
        in_quotes = piece["open1"] is not None or piece["open2"] is not None
        words[-1] += text
    *before, current = words
    names = [word.rpartition("/")[2] for word in before]
    start = names.index("vae3d") + 1 if "vae3d" in names else 1
    return Line(before[start:], current, kept, in_quotes)


def kept_of(piece: re.Match[str], text: str, breaks: str) -> int | None:
    """Return how many characters of this part a shell keeps; None if earlier parts decide it."""
    if piece["open1"] is not None or piece["open2"] is not None:
        return 0
    if piece[0][0] in "'\"":
        return len(text)
    last = max((text.rfind(mark) for mark in breaks), default=-1)
    return last + 1 if piece["plain"] and last >= 0 else None
