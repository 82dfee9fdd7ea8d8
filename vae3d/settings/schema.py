"""`Setting`: a key with its type, bound, default and sentence, read from the dataclasses."""

import ast
import dataclasses
import inspect
import itertools
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vae3d.bounds import Text, allows_none, hints_of, is_union, parts
from vae3d.settings.command import Command
from vae3d.settings.groups import CHOSEN_KIND, group_of, kinds

_WORDS = {
    int: "integer",
    float: "number",
    str: "text",
    bool: "true or false",
    list: "list",
    dict: "table",
}
MOST_CHANGED = (
    *("name", "init_from", "run", "input", "output", "mode", "size"),
    *("data.root", "data.list", "data.dataset", "data.options", "data.shape", "data.count"),
    *("data.spacing", "data.window", "data.percentiles"),
)
"""Keys that users change most, listed first in their section."""


@dataclass(frozen=True)
class Setting:
    """One key of a command.

    `choices` are all words that it takes. `bound` is its type and range in words. `text` is the
    kind of a value that is used literally, `many` whether the value may be a list, `table` whether
    it is a table.
    """

    key: str
    default: Any
    owner: Any
    bound: str
    choices: tuple[str, ...] = ()
    text: str | None = None
    many: bool = False
    table: bool = False

    @property
    def sentence(self) -> str:
        """The sentence below the field: what the setting does."""
        # Parsing the source takes time, and only help and completion show the sentences.
        return sentences_of(self.owner)[self.key.rpartition(".")[2]]


def settings_of(command: Command, chosen: Mapping[str, str] | None = None) -> list[Setting]:
    """Return every key of a command; `chosen` names the option of groups such as `data`.

    Without it the keys of all options are listed.
    """
    settings: dict[str, Setting] = {}
    for setting in _of_class(command.config, "", command, chosen):
        settings.setdefault(setting.key, setting)
    return list(settings.values())


def _of_class(
    kind: Any, prefix: str, command: Command, chosen: Mapping[str, str] | None
) -> Iterator[Setting]:
    defaults = defaults_of(kind)
    for key, name, hint in most_changed_first(kind, prefix):
        plain, bounds = parts(hint)
        inner = inner_class(plain)
        if inner is None or is_list(plain):
            yield _setting(key, plain, bounds, defaults[name], kind)
        if inner is None:
            continue
        if is_list(plain):
            yield from _of_class(inner, f"{key}.N", command, chosen)
        elif not chosen or not allows_none(plain) or name in chosen.get(prefix, ""):
            # Else it is a logger that was not chosen; several options of this group may be.
            for option in options_of(inner, command, chosen):
                yield from _of_class(option, key, command, chosen)


def most_changed_first(kind: Any, prefix: str) -> list[tuple[str, str, Any]]:
    """Return key, name and type of the fields of a dataclass, those in MOST_CHANGED first."""
    place = {key: number for number, key in enumerate(MOST_CHANGED)}
    fields = [
        (f"{prefix}.{name}".lstrip("."), name, hint) for name, hint in hints_of(kind).items()
    ]
    return sorted(fields, key=lambda field: place.get(field[0], len(MOST_CHANGED)))


def options_of(kind: Any, command: Command, chosen: Mapping[str, str] | None) -> list[Any]:
    """Return the dataclasses of all options of the group of `kind`, else `kind` alone."""
    group = group_of(kind)
    if group is None or group not in CHOSEN_KIND.values():
        return [kind]
    classes = kinds(group)
    if chosen and chosen.get(group) in classes:
        return [classes[chosen[group]]]
    allowed = command.options.get(group, tuple(classes))
    return [classes[name] for name in classes if name in allowed]


def _setting(key: str, plain: Any, bounds: tuple[Any, ...], default: Any, owner: Any) -> Setting:
    choices = next((bound.choices() for bound in bounds if bound.choices()), ())
    if plain is bool:
        choices = ("true", "false")
    if choices and allows_none(plain):
        choices = (*choices, "null")
    return Setting(
        key=key,
        default=default,
        owner=owner,
        bound="" if choices and not is_list(plain) else rule_of(plain, bounds),
        choices=choices,
        text=next((bound.kind for bound in bounds if isinstance(bound, Text)), None),
        many=is_list(plain),
        table=typing.get_origin(plain) is dict,
    )


def rule_of(plain: Any, bounds: tuple[Any, ...]) -> str:
    """Return the type and the bound of a field in words."""
    words = [bound.describe() for bound in bounds]
    rule = ", ".join(filter(None, [type_name(plain), *words]))
    if any(isinstance(bound, Text) for bound in bounds):
        rule = f"list of {words[0]}s" if is_list(plain) else words[0]
    null = allows_none(plain) or any(getattr(bound, "nullable", False) for bound in bounds)
    return f"{rule} or null" if null else rule


def type_name(plain: Any) -> str:
    """Return the name of a type for users, such as integer or list."""
    if is_union(plain):
        return " or ".join(filter(None, map(type_name, typing.get_args(plain))))
    return _WORDS.get(typing.get_origin(plain) or plain, "")


def is_list(plain: Any) -> bool:
    """Return whether a type is a list."""
    return typing.get_origin(plain) is list


def inner_class(plain: Any) -> Any:
    """Return the dataclass that a type is, or that its list or union holds, or None."""
    return next(filter(dataclasses.is_dataclass, (plain, *typing.get_args(plain))), None)


def defaults_of(kind: Any) -> dict[str, Any]:
    """Return the default of every field."""
    return {
        entry.name: entry.default
        if entry.default_factory is dataclasses.MISSING
        else entry.default_factory()
        for entry in dataclasses.fields(kind)
    }


@cache
def sentences_of(kind: Any) -> dict[str, str]:
    """Return the sentence below each field of a dataclass, inherited ones included."""
    sentences: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if dataclasses.is_dataclass(base):
            sentences |= _sentences_of_body(base)
    return {entry.name: sentences.get(entry.name, "") for entry in dataclasses.fields(kind)}


def _sentences_of_body(kind: Any) -> dict[str, str]:
    body = _class_bodies(inspect.getfile(kind)).get(kind.__qualname__, [])
    sentences = {}
    for field, below in itertools.pairwise(body):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            text = inspect.cleandoc(str(below.value.value))
            sentences[field.target.id] = text.replace("\n", " ")
    return sentences


@cache
def _class_bodies(file: str) -> dict[str, list[ast.stmt]]:
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    return {node.name: node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
