"""The help of `vae3d` and of each command."""

import json
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vae3d.settings.command import Command
from vae3d.settings.groups import EXPERIMENT, Group, groups_of
from vae3d.settings.schema import Setting, settings_of
from vae3d.version import __version__

MAX_COLUMNS = 100
"""Longer lines are hard to read, on wide terminals too."""
MAX_CHOICES = 8
"""Choices that are listed under a key; longer lists are in docs/settings.md."""

COMMON = """\
Every command takes key=value, and Hydra's own words: --cfg job prints the settings instead of
running, -m runs a sweep over values between commas, --config-dir DIR adds your own option files.
"""


def usage(commands: Sequence[Command]) -> str:
    """Return the help of `vae3d` without a command."""
    width = _width()
    rows = [_row(command.name, command.summary, 14, width) for command in commands]
    examples = [example for command in commands for example in command.examples[:1]]
    lines = [
        f"vae3d {__version__}: variational autoencoders for medical scans and images",
        "",
        "usage: vae3d COMMAND [key=value ...]",
        "       vae3d COMMAND --help      the settings of a command",
        "",
        "commands:",
        *rows,
        "",
        "examples:",
        *(_row(text, "", 2, width) for text, _ in examples),
        "",
        *_wrapped(COMMON, width),
    ]
    return "\n".join(lines) + "\n"


def command_help(
    command: Command,
    chosen: Mapping[str, str],
    values: Mapping[str, Any],
    extra: Path | None = None,
) -> str:
    """Return the help of a command: purpose, examples, groups, then every key.

    `chosen` is the option of each group, `values` the values of keys under these options, `extra`
    a folder of the user's own option files.
    """
    width = _width()
    groups = groups_of(command, extra)
    settings = settings_of(command, chosen)
    lines = [
        f"usage: vae3d {command.name} "
        + (f"[{command.plain.upper()}] " if command.plain else "")
        + "[key=value ...]",
        "",
        *_wrapped(command.about, width),
        "",
        "examples:",
        *_examples(command, width),
    ]
    for group in groups.values():
        lines += ["", *_group(group, chosen.get(group.name), width)]
    for title, members in sections(settings).items():
        lines += ["", f"{_title(title, chosen)}:"]
        for setting in members:
            lines += _setting(setting, values.get(setting.key, setting.default), width)
    lines += ["", *_wrapped(COMMON, width)]
    return "\n".join(lines) + "\n"


def sections(settings: Sequence[Setting]) -> dict[str, list[Setting]]:
    """Return the settings by group; those without a group are first, under the name ""."""
    members: dict[str, list[Setting]] = {}
    for setting in sorted(settings, key=lambda setting: "." in setting.key):
        group = setting.key.partition(".")[0] if "." in setting.key else ""
        members.setdefault(group, []).append(setting)
    return members


def format_value(value: Any) -> str:
    """Return a value as text that can be typed on the command line."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(format_value, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}: {format_value(item)}" for key, item in value.items()) + "}"
    if hasattr(value, "__dataclass_fields__"):
        return format_value(vars(value))
    return str(value)


def _title(group: str, chosen: Mapping[str, str]) -> str:
    name = f"{group}={chosen[group]}" if group in chosen else group
    return f"settings of {name}" if name else "settings"


def _examples(command: Command, width: int) -> list[str]:
    column = max(len(text) for text, _ in command.examples) + 4
    if column > width - 24:
        return [line for text, why in command.examples for line in (f"  {text}", f"      {why}")]
    return [_row(text, why, column, width) for text, why in command.examples]


def _group(group: Group, chosen: str | None, width: int) -> list[str]:
    add = "+" if group.name == EXPERIMENT else ""
    head = f"{add}{group.name}=   one of" + (", * is chosen here" if chosen else "")
    column = max(map(len, group.options), default=0) + 6
    marked = {f"{n} *" if n == chosen else n: text for n, text in group.options.items()}
    return [head, *(_row(name, text, column, width) for name, text in marked.items())]


def _setting(setting: Setting, value: Any, width: int) -> list[str]:
    """Return the lines of a key: its value, then its sentence with its bound or choices."""
    line = f"  {setting.key}={format_value(value)}"
    more = ["..."] if len(setting.choices) > MAX_CHOICES else []
    rule = " | ".join([*setting.choices[:MAX_CHOICES], *more]) or setting.bound
    text = f"{setting.sentence} ({rule})" if rule else setting.sentence
    return [
        *textwrap.wrap(line, width, subsequent_indent="      ", break_on_hyphens=False),
        *textwrap.wrap(text, width, initial_indent="      ", subsequent_indent="      "),
    ]


def _row(name: str, text: str, column: int, width: int) -> str:
    if not text:
        return f"  {name}"
    first = f"  {name:{column}}" if len(name) < column else f"  {name}  "
    return textwrap.fill(text, width, initial_indent=first, subsequent_indent=" " * (column + 2))


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), width)


def _width() -> int:
    return max(40, min(MAX_COLUMNS, shutil.get_terminal_size((MAX_COLUMNS, 24)).columns))
