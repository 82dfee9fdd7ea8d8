"""`Setting`: a key with its type, bound, default and sentence, read from the dataclasses."""

import ast
import dataclasses
import inspect
import itertools
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vae3d.bounds import Text, hints_of, parts
from vae3d.settings.command import Command
from vae3d.settings.groups import group_of, kinds

_WORDS = {int: "integer", float: "number", str: "text", bool: "true or false"}
FIRST = (
    *("name", "run", "input", "output", "mode", "size"),
    *("data.root", "data.list", "data.dataset", "data.options", "data.shape", "data.count"),
    *("data.spacing", "data.window", "data.percentiles"),
)
"""Keys that are changed most, at the head of their section."""


@dataclass(frozen=True)
class Setting:
    """One key of a command.

    `choices` are all words that it takes, `bound` is its type and range in words, `text` the kind
    of a value that is taken literally, `many` whether it may be a list.
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
        """What the setting does, as it stands below the field."""
        # Read when it is asked for: only help and completion show it.
        return sentences_of(self.owner)[self.key.rpartition(".")[2]]


def settings_of(command: Command, chosen: Mapping[str, str] | None = None) -> list[Setting]:
    """Every key of a command; `chosen` names the option of `data` and `patching`.

    Without it the keys of all options are listed.
    """
    found: dict[str, Setting] = {}
    for setting in _of_class(command.config, "", command, chosen):
        found.setdefault(setting.key, setting)
    return list(found.values())


def _of_class(
    kind: Any, prefix: str, command: Command | None, chosen: Mapping[str, str] | None
) -> Iterator[Setting]:
    defaults = defaults_of(kind)
    for key, name, hint in most_changed_first(kind, prefix):
        plain, bounds = parts(hint)
        inner = inner_class(plain)
        if inner is None:
            yield _setting(key, plain, bounds, defaults[name], kind)
            continue
        if is_list(plain):
            yield _setting(key, plain, bounds, defaults[name], kind)
            yield from _of_class(inner, f"{key}.N", command, chosen)
            continue
        if chosen and nullable(plain) and name not in chosen.get(prefix, ""):
            # One of several loggers, each of which may be chosen.
            continue
        for option in options_of(inner, command, chosen):
            yield from _of_class(option, key, command, chosen)


def most_changed_first(kind: Any, prefix: str) -> list[tuple[str, str, Any]]:
    """Key, name and type of the fields of a dataclass: FIRST, then as they stand in the class."""
    place = {key: number for number, key in enumerate(FIRST)}
    fields = [
        (f"{prefix}.{name}".lstrip("."), name, hint) for name, hint in hints_of(kind).items()
    ]
    return sorted(fields, key=lambda field: place.get(field[0], len(FIRST)))


def options_of(kind: Any, command: Command | None, chosen: Mapping[str, str] | None) -> list[Any]:
    """The dataclasses that may stand in the place of one: those of its group's options."""
    group = group_of(kind)
    if group not in ("data", "patching"):
        return [kind]
    known = kinds(group)
    if chosen and chosen.get(group) in known:
        return [known[chosen[group]]]
    allowed = command.options.get(group, tuple(known)) if command else tuple(known)
    return [known[name] for name in known if name in allowed]


def _setting(key: str, plain: Any, bounds: tuple[Any, ...], default: Any, owner: Any) -> Setting:
    choices = next((bound.choices() for bound in bounds if bound.choices()), ())
    if plain is bool:
        choices = ("true", "false")
    if choices and nullable(plain):
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
    """The type and the bound of a field in words."""
    ends = (
        ["null"] if nullable(plain) or any(getattr(b, "nullable", False) for b in bounds) else []
    )
    literal = [bound.describe() for bound in bounds if isinstance(bound, Text)]
    if literal:
        return " or ".join([f"list of {literal[0]}s" if is_list(plain) else literal[0], *ends])
    words = [bound.describe() for bound in bounds]
    return " or ".join([", ".join(filter(None, [type_name(plain), *words])), *ends])


def type_name(plain: Any) -> str:
    """A type in the words of somebody who types it."""
    if typing.get_origin(plain) in (typing.Union, types.UnionType):
        return " or ".join(filter(None, map(type_name, typing.get_args(plain))))
    if typing.get_origin(plain) is tuple:
        return ""
    if is_list(plain):
        return "list"
    if typing.get_origin(plain) is dict:
        return "table"
    return _WORDS.get(plain, "")


def nullable(plain: Any) -> bool:
    """Whether a type holds None."""
    return types.NoneType in typing.get_args(plain)


def is_list(plain: Any) -> bool:
    """Whether a type is a list."""
    return typing.get_origin(plain) is list


def inner_class(plain: Any) -> Any:
    """The dataclass that a type is, or holds."""
    for part in (plain, *typing.get_args(plain)):
        if dataclasses.is_dataclass(part):
            return part
    return None


def defaults_of(kind: Any) -> dict[str, Any]:
    """The default of every field."""
    found = {}
    for entry in dataclasses.fields(kind):
        make = entry.default_factory
        found[entry.name] = entry.default if make is dataclasses.MISSING else make()
    return found


@cache
def sentences_of(kind: Any) -> dict[str, str]:
    """The sentence below each field of a dataclass, inherited ones included."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if dataclasses.is_dataclass(base):
            found |= _sentences_of_body(base)
    return {entry.name: found.get(entry.name, "") for entry in dataclasses.fields(kind)}


def _sentences_of_body(kind: Any) -> dict[str, str]:
    body = _class_body(str(inspect.getfile(kind)), kind.__qualname__)
    found = {}
    for field, below in itertools.pairwise(body):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            found[field.target.id] = inspect.cleandoc(str(below.value.value)).replace("\n", " ")
    return found


def _class_body(file: str, name: str) -> list[ast.stmt]:
    return next((node.body for node in _classes(file) if node.name == name), [])


@cache
def _classes(file: str) -> list[ast.ClassDef]:
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
