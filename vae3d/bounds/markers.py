"""The bounds that the type of a field may have: numbers, words, lists, weights and text."""

import math
import re
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from vae3d.bounds.fields import Bound, did_you_mean, is_number
from vae3d.errors import ConfigError


class Number(Bound):
    """A finite number for which `holds` is true."""

    def holds(self, value: float) -> bool:
        """Return whether a finite number is within the bound."""
        raise NotImplementedError

    def checked(self, value: Any, key: str) -> Any:
        """Return a finite number that `holds`."""
        if not (is_finite(value) and self.holds(value)):
            raise ConfigError(f"{key} must be {self.describe()}, got {value!r}")
        return value


@dataclass(frozen=True)
class AtLeast(Number):
    """A finite number of `least` or more."""

    least: float

    def holds(self, value: float) -> bool:
        """Return whether the number is large enough."""
        return value >= self.least

    def describe(self) -> str:
        """Return the bound in words."""
        return f"at least {self.least:g}"


@dataclass(frozen=True)
class Above(Number):
    """A finite number greater than `limit`."""

    limit: float

    def holds(self, value: float) -> bool:
        """Return whether the number is above the bound."""
        return value > self.limit

    def describe(self) -> str:
        """Return the bound in words."""
        return f"above {self.limit:g}"


@dataclass(frozen=True)
class Between(Number):
    """A number in [low, high]; `ends` are the brackets: "[)" excludes `high`."""

    low: float
    high: float
    ends: str = "[]"

    def holds(self, value: float) -> bool:
        """Return whether the number is within the ends."""
        above = value >= self.low if self.ends[0] == "[" else value > self.low
        below = value <= self.high if self.ends[1] == "]" else value < self.high
        return above and below

    def describe(self) -> str:
        """Return both ends in words."""
        return f"in {self.ends[0]}{self.low:g}, {self.high:g}{self.ends[1]}"


class OneOf(Bound):
    """One of some words; `of` may be a `Registry`, to which plugins add names later.

    `refused` has the reason why a word that one might expect is none of them. Words of the form
    `like`, a regular expression, are allowed too.
    """

    def __init__(
        self,
        *names: str,
        of: Collection[str] = (),
        refused: Mapping[str, str] | None = None,
        like: str = "",
    ) -> None:
        self.names = names
        self.of = of
        self.refused = refused or {}
        self.like = like

    def checked(self, value: Any, key: str) -> Any:
        """Return the word if it is one of the choices."""
        names = self.choices()
        special = self.like and isinstance(value, str) and re.fullmatch(self.like, value)
        if value not in names and not special:
            near = did_you_mean(value, names)
            if isinstance(value, str) and value in self.refused:
                near = f": {self.refused[value]}"
            raise ConfigError(f"{key} must be one of {', '.join(names)}, got {value!r}{near}")
        return value

    def choices(self) -> tuple[str, ...]:
        """Return the words."""
        return (*self.names, *self.of)


class SomeOf(OneOf):
    """A list of at least `least` words, each one of some."""

    def __init__(self, *names: str, of: Collection[str] = (), least: int = 0) -> None:
        super().__init__(*names, of=of)
        self.least = least

    def checked(self, value: Any, key: str) -> Any:
        """Return the list if each entry is one of the choices."""
        names = self.choices()
        for item in listed(value, key):
            if item not in names:
                near = did_you_mean(item, names)
                raise ConfigError(f"{key} may hold {', '.join(names)}, got {item!r}{near}")
        if len(value) < self.least:
            raise ConfigError(f"{key} must name at least {self.least} of {', '.join(names)}")
        return value

    def describe(self) -> str:
        """Return that a list of some of the choices is expected."""
        return "a list"


@dataclass(frozen=True)
class OneOfNumbers(Bound):
    """One of some whole numbers."""

    numbers: tuple[int, ...]

    def checked(self, value: Any, key: str) -> Any:
        """Return the number if it is one of the choices."""
        if value not in self.numbers or isinstance(value, bool):
            shown = " or ".join(map(str, self.numbers))
            raise ConfigError(f"{key} must be {shown}, got {value!r}")
        return value

    def choices(self) -> tuple[str, ...]:
        """Return the numbers as words."""
        return tuple(map(str, self.numbers))


@dataclass(frozen=True)
class PerAxis(Bound):
    """One number for all axes, or one per axis; becomes a tuple.

    `axes` are the allowed lengths of a list. With `expand` a single number is repeated for every
    axis. `whole` numbers stay integers, others become floats. `of` names what else than axes there
    may be one number for.
    """

    each: Number
    axes: tuple[int, ...] = (1, 2, 3)
    whole: bool = True
    expand: bool = False
    nullable: bool = False
    of: str = "axis"

    def checked(self, value: Any, key: str) -> Any:
        """Return one number for each axis, from one number or several."""
        if value is None and self.nullable:
            return None
        single = not isinstance(value, list | tuple)
        values = tuple(self._number(item, key) for item in ([value] if single else value))
        if single and self.expand:
            values *= self.axes[-1]
        if len(values) not in self.axes:
            *others, last = map(str, self.axes)
            lengths = f"{', '.join(others)} or {last}" if others else last
            raise ConfigError(f"{key} needs {lengths} numbers, got {[*values]}")
        if not all(map(self.each.holds, values)):
            rule = self.each.describe()
            place = f"{'along' if self.of == 'axis' else 'for'} each {self.of}"
            raise ConfigError(f"{key} must be {rule} {place}, got {[*values]}")
        return values

    def _number(self, value: Any, key: str) -> float:
        if not self.whole:
            return float(number(value, key))
        if not isinstance(value, int) or isinstance(value, bool):
            raise ConfigError(f"{key} must be one whole number or a list of them, got {value!r}")
        return value

    def describe(self) -> str:
        """Return the bound of each axis in words."""
        return f"{self.each.describe()}, one number or one per {self.of}"


@dataclass(frozen=True)
class LowHigh(Bound):
    """A pair [low, high] of finite numbers with low < high, within `limits`; becomes a tuple."""

    limits: tuple[float, float] | None = None
    nullable: bool = False

    def checked(self, value: Any, key: str) -> Any:
        """Return two numbers in ascending order."""
        if value is None and self.nullable:
            return None
        items = listed(value, key)
        if len(items) != 2:
            raise ConfigError(f"{key} must be two numbers [low, high], got {[*items]}")
        low, high = (float(number(item, key)) for item in items)
        if not low < high:
            raise ConfigError(
                f"{key} must be [low, high] with low < high, got [{low:g}, {high:g}]"
            )
        if self.limits and not (self.limits[0] <= low and high <= self.limits[1]):
            ends = f"[{self.limits[0]:g}, {self.limits[1]:g}]"
            raise ConfigError(f"{key} must be in {ends}, got [{low:g}, {high:g}]")
        return low, high

    def describe(self) -> str:
        """Return the form of the range in words."""
        within = f" in [{self.limits[0]:g}, {self.limits[1]:g}]" if self.limits else ""
        return f"[low, high]{within}"


class Gibibytes(Bound):
    """A limit of memory: a positive number of GiB, `auto`, or null for no limit."""

    def checked(self, value: Any, key: str) -> Any:
        """Return a number of GiB, `auto` or None."""
        positive = is_number(value) and 0 < value < math.inf
        if value not in ("auto", None) and not positive:
            raise ConfigError(
                f"{key} must be a positive number of GiB, auto or null, got {value!r}"
            )
        return value

    def describe(self) -> str:
        """Return what is accepted in words."""
        return "a number of GiB, auto or null"


@dataclass(eq=False)
class Weights(Bound):
    """A table of weights of 0 or more by name; the names are those of a `Registry`."""

    of: Collection[str]
    what: str

    def checked(self, value: Any, key: str) -> Any:
        """Return a table of names to numbers of at least 0."""
        for name, weight in value.items():
            if name not in self.of:
                near = did_you_mean(name, self.of) or ","
                raise ConfigError(
                    f"{key}.{name} is not a {self.what}{near} choose from {', '.join(self.of)}"
                )
            if not (is_number(weight) and math.isfinite(weight) and weight >= 0):
                raise ConfigError(f"{key}.{name} must be a weight of 0 or more, got {weight}")
        return value

    def describe(self) -> str:
        """Return the form of the table in words."""
        return f"weights of {', '.join(self.of)}"


@dataclass(frozen=True)
class Text(Bound):
    """Text that is used as it was typed; `kind` is what it is, such as path or name."""

    kind: str

    def describe(self) -> str:
        """Return the kind of text in words."""
        return self.kind


PATH = Text("path")
NAME = Text("name")
CODE = Text("Python module")


def is_finite(value: Any) -> bool:
    """Return whether the value is a finite number; an integer is one even beyond the floats."""
    return is_number(value) and (isinstance(value, int) or math.isfinite(value))


def number(value: Any, key: str) -> float:
    """Return the value, if it is a finite number.

    Raises:
        ConfigError: it is something else.
    """
    if not is_finite(value):
        raise ConfigError(f"{key} must be a finite number, got {value!r}")
    return typing.cast(float, value)


def listed(value: Any, key: str) -> list[Any] | tuple[Any, ...]:
    """Return the value, if it is a list.

    Raises:
        ConfigError: it is something else.
    """
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{key} must be a list, got {value!r}")
    return value
