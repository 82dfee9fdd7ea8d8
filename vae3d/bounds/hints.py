"""The types of fields: their bounds, unions with None, and the nearest of some words."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable
from functools import cache
from typing import Any


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
