"""`Settings`: a dataclass that checks every field against its type and the bounds in it."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable
from functools import cache
from typing import Any, ClassVar

from vae3d.errors import ConfigError

MISSING = "???"
"""What OmegaConf holds where an option has yet to be chosen."""


class Bound:
    """A rule for the values of a field."""

    def checked(self, value: Any, key: str) -> Any:
        """Return the value, converted to the type of the field.

        Raises:
            ConfigError: the value is out of bounds; the message names the key.
        """
        return value

    def describe(self) -> str:
        """Return the bound in a few words, for the help."""
        return ""

    def choices(self) -> tuple[str, ...]:
        """Return the allowed words; empty if any value within the bound is allowed."""
        return ()


class Settings:
    """A dataclass that checks its fields against the bounds in their types when it is created.

    `key` is its key among the settings of a command, for messages. `typed` are the fields that
    were typed on the command line, also those typed with the value of the default.
    """

    key: ClassVar[str] = ""
    typed: frozenset[str] = frozenset()

    def __init_subclass__(cls, key: str | None = None, **named: Any) -> None:
        super().__init_subclass__(**named)
        if key is not None:
            cls.key = key

    def __post_init__(self) -> None:
        check_fields(self, self.key)

    def check_given(self) -> None:
        """Raise a ConfigError if what was given is not enough for a command, or too much.

        Fields are checked when they are set, this when a command starts: before torch is imported
        on the command line.
        """
        for value in vars(self).values():
            if isinstance(value, Settings):
                value.check_given()

    def given(self) -> dict[str, Any]:
        """Return the values that the user chose: typed ones, and those that are no default."""
        kind: Any = type(self)
        defaults = {
            entry.name: entry.default
            if entry.default_factory is dataclasses.MISSING
            else entry.default_factory()
            for entry in dataclasses.fields(kind)
        }
        values = {name: getattr(self, name) for name in defaults}
        return {n: v for n, v in values.items() if n in self.typed or v != defaults[n]}


def check_fields(settings: Any, key: str) -> None:
    """Check every field of a dataclass and set it to its converted value.

    Dataclasses in lists are checked too: they do not know their own key.

    Raises:
        ConfigError: the first field that is out of its bounds.
    """
    kind: Any = type(settings)
    for name, hint in hints_of(kind).items():
        value = getattr(settings, name)
        setattr(settings, name, _check(hint, value, f"{key}.{name}".lstrip(".")))


def _check(hint: Any, value: Any, key: str) -> Any:
    plain, bounds = parts(hint)
    if value is None and allows_none(plain):
        return None
    _check_type(plain, value, key)
    for bound in bounds:
        value = bound.checked(value, key)
    return value


def _check_type(plain: Any, value: Any, key: str) -> None:
    """Raise a ConfigError for a value of another type, as far as the type is a plain one."""
    container = typing.get_origin(plain) or plain
    if container in (list, dict):
        _check_container(container, typing.get_args(plain)[0], value, key)
    if isinstance(plain, type) and dataclasses.is_dataclass(plain) and value != MISSING:
        _check_instance(plain, value, key)
    members = typing.get_args(plain) if is_union(plain) else (plain,)
    kinds = [kind for kind in members if kind is not types.NoneType]
    if all(kind in _TYPE_NAMES for kind in kinds) and not any(_is_a(value, k) for k in kinds):
        raise ConfigError(f"{key} must be {_TYPE_NAMES[kinds[0]]}, got {value!r}")


def _check_container(container: type, inner: Any, value: Any, key: str) -> None:
    if not isinstance(value, container):
        what = "list" if container is list else "table"
        raise ConfigError(f"{key} must be a {what}, got {value!r}")
    if container is list and dataclasses.is_dataclass(inner):
        for index, item in enumerate(typing.cast("list[Any]", value)):
            _check_instance(inner, item, f"{key}.{index}")
            if not isinstance(item, Settings):
                check_fields(item, f"{key}.{index}")


def _check_instance(kind: Any, value: Any, key: str) -> None:
    if not isinstance(value, kind):
        raise ConfigError(f"{key} must be a {kind.__name__}, got {value!r}")


def _is_a(value: Any, kind: type) -> bool:
    if kind is float:
        return is_number(value)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


_TYPE_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
}


@cache
def hints_of(kind: type) -> dict[str, Any]:
    """Return the type of each field of a dataclass, with its bounds."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {entry.name: hints[entry.name] for entry in dataclasses.fields(kind)}


def parts(hint: Any) -> tuple[Any, tuple[Bound, ...]]:
    """Return the plain type of a field and its bounds."""
    if typing.get_origin(hint) is not typing.Annotated:
        return hint, ()
    plain, *extras = typing.get_args(hint)
    return plain, tuple(extra for extra in extras if isinstance(extra, Bound))


def allows_none(plain: Any) -> bool:
    """Return whether a plain type is a union with None."""
    return is_union(plain) and types.NoneType in typing.get_args(plain)


def is_union(plain: Any) -> bool:
    """Return whether a plain type is `A | B`."""
    return typing.get_origin(plain) in (typing.Union, types.UnionType)


def did_you_mean(word: Any, words: Iterable[str]) -> str:
    """Return `, did you mean X?` with the most similar of some words; empty if none is."""
    near = difflib.get_close_matches(word, words, n=1) if isinstance(word, str) else []
    return f", did you mean {near[0]!r}?" if near else ""


def is_number(value: Any) -> bool:
    """Return whether the value is an integer or a float, and not a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)
