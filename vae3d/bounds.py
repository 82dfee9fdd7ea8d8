"""Bounds and choices of settings, written in the type of a field and checked when it is set.

    @dataclass
    class TrainerConfig(Settings, key="trainer"):
        steps: Annotated[int, AtLeast(1)] = 2000
        \"\"\"Optimizer steps to train for.\"\"\"

`Settings` checks and converts every field; the help and docs/settings.md are made from the same
types and sentences. Nothing here needs torch or numpy.
"""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

from vae3d.errors import ConfigError


class Bound:
    """What a value of a field may be."""

    def checked(self, value: Any, key: str) -> Any:
        """The value, converted to its type.

        Raises:
            ConfigError: the value is out of bounds; the message names the key.
        """
        raise NotImplementedError

    def describe(self) -> str:
        """The bound in a few words, for the help."""
        return ""

    def choices(self) -> tuple[str, ...]:
        """The allowed words, or nothing if any value within the bound is allowed."""
        return ()


class Number(Bound):
    """A finite number that `holds`."""

    @property
    def rule(self) -> str:
        """Which number it must be, after "must"."""
        return f"be {self.describe()}"

    def holds(self, value: float) -> bool:
        """Whether a finite number is within the bound."""
        raise NotImplementedError

    def checked(self, value: Any, key: str) -> Any:
        if not (is_finite(value) and self.holds(value)):
            raise ConfigError(f"{key} must {self.rule}, got {value!r}")
        return value


@dataclass(frozen=True)
class AtLeast(Number):
    """A finite number of `least` or more."""

    least: float

    def holds(self, value: float) -> bool:
        return value >= self.least

    def describe(self) -> str:
        return f"at least {self.least:g}"


@dataclass(frozen=True)
class Above(Number):
    """A finite number greater than `limit`."""

    limit: float

    def holds(self, value: float) -> bool:
        return value > self.limit

    def describe(self) -> str:
        return f"above {self.limit:g}"


@dataclass(frozen=True)
class Between(Number):
    """A number in [low, high]; `ends` says which of the two belong to it, as in "[)"."""

    low: float
    high: float
    ends: str = "[]"

    @property
    def rule(self) -> str:
        return f"lie {self.describe()}"

    def holds(self, value: float) -> bool:
        above = value >= self.low if self.ends[0] == "[" else value > self.low
        below = value <= self.high if self.ends[1] == "]" else value < self.high
        return above and below

    def describe(self) -> str:
        return f"in {self.ends[0]}{self.low:g}, {self.high:g}{self.ends[1]}"


class OneOf(Bound):
    """One of some words; a `Registry` may be given, whose names may grow."""

    def __init__(self, *names: str, of: Collection[str] = ()) -> None:
        self.names = names
        self.of = of

    def checked(self, value: Any, key: str) -> Any:
        names = self.choices()
        if value not in names:
            near = did_you_mean(value, names) if isinstance(value, str) else ""
            raise ConfigError(f"{key} must be one of {', '.join(names)}, got {value!r}{near}")
        return value

    def choices(self) -> tuple[str, ...]:
        return (*self.names, *self.of)


class SomeOf(OneOf):
    """A list of some words, each one of a few; `least` of them at least."""

    def __init__(self, *names: str, of: Collection[str] = (), least: int = 0) -> None:
        super().__init__(*names, of=of)
        self.least = least

    def checked(self, value: Any, key: str) -> Any:
        names = self.choices()
        for item in listed(value, key):
            if item not in names:
                near = did_you_mean(item, names) if isinstance(item, str) else ""
                raise ConfigError(f"{key} may hold {', '.join(names)}, got {item!r}{near}")
        if len(value) < self.least:
            raise ConfigError(f"{key} must name at least {self.least} of {', '.join(names)}")
        return value

    def describe(self) -> str:
        return "a list"


@dataclass(frozen=True)
class OneOfNumbers(Bound):
    """One of some whole numbers."""

    numbers: tuple[int, ...]

    def checked(self, value: Any, key: str) -> Any:
        if value not in self.numbers or isinstance(value, bool):
            shown = " or ".join(map(str, self.numbers))
            raise ConfigError(f"{key} must be {shown}, got {value!r}")
        return value

    def choices(self) -> tuple[str, ...]:
        return tuple(map(str, self.numbers))


@dataclass(frozen=True)
class PerAxis(Bound):
    """One number for every axis, or a number an axis; becomes a tuple.

    `axes` are the lengths that a list may have. With `expand` a single number is repeated to the
    only length there is. `whole` numbers stay integers, others become floats.
    """

    each: Number
    axes: tuple[int, ...] = (1, 2, 3)
    whole: bool = True
    expand: bool = False
    nullable: bool = False

    def checked(self, value: Any, key: str) -> Any:
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
            raise ConfigError(f"{key} must {self.each.rule} along each axis, got {[*values]}")
        return values

    def _number(self, value: Any, key: str) -> float:
        if not self.whole:
            return float(number(value, key))
        if not isinstance(value, int) or isinstance(value, bool):
            raise ConfigError(f"{key} must be one whole number or a list of them, got {value!r}")
        return value

    def describe(self) -> str:
        return f"{self.each.describe()}, one number or one per axis"


@dataclass(frozen=True)
class LowHigh(Bound):
    """A pair [low, high] of finite numbers with low < high, within `limits`; becomes a tuple."""

    limits: tuple[float, float] | None = None

    def checked(self, value: Any, key: str) -> Any:
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
            raise ConfigError(f"{key} must lie in {ends}, got [{low:g}, {high:g}]")
        return low, high

    def describe(self) -> str:
        within = f" in [{self.limits[0]:g}, {self.limits[1]:g}]" if self.limits else ""
        return f"[low, high]{within}"


class Gibibytes(Bound):
    """A limit of memory: a positive number of GiB, `auto`, or null for no limit."""

    def checked(self, value: Any, key: str) -> Any:
        positive = is_number(value) and 0 < value < math.inf
        if value not in ("auto", None) and not positive:
            raise ConfigError(
                f"{key} must be a positive number of GiB, auto or null, got {value!r}"
            )
        return value

    def describe(self) -> str:
        return "a number of GiB, auto or null"


class Weights(Bound):
    """A table of weights of 0 or more, by names of a `Registry`."""

    def __init__(self, of: Collection[str], what: str) -> None:
        self.of = of
        self.what = what

    def checked(self, value: Any, key: str) -> Any:
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
        return f"weights of {', '.join(self.of)}"


@dataclass(frozen=True)
class Text(Bound):
    """Text that is taken as it was typed: a path, a name or a pattern (`kind`)."""

    kind: str

    def checked(self, value: Any, key: str) -> Any:
        return value

    def describe(self) -> str:
        return self.kind


MISSING = "???"
"""What OmegaConf holds where an option has yet to be chosen."""
PATH = Text("path")
NAME = Text("name")
CODE = Text("Python module")


class Settings:
    """A dataclass that checks its fields against the bounds in their types when it is made.

    `key` is where it stands among the settings of a command, for messages.
    """

    key: ClassVar[str] = ""

    def __init_subclass__(cls, key: str | None = None, **named: Any) -> None:
        super().__init_subclass__(**named)
        if key is not None:
            cls.key = key

    def __post_init__(self) -> None:
        check_fields(self, self.key)


def check_fields(settings: Any, key: str) -> None:
    """Checks every field of a dataclass and sets it to its converted value.

    Dataclasses in lists, which do not know their own place, are checked too.

    Raises:
        ConfigError: the first field that is out of its bounds.
    """
    kind: Any = type(settings)
    for name, hint in hints_of(kind).items():
        value = getattr(settings, name)
        setattr(settings, name, _checked(hint, value, f"{key}.{name}".lstrip(".")))


def _checked(hint: Any, value: Any, key: str) -> Any:
    plain, bounds = parts(hint)
    if value is None and allows_none(plain):
        return None
    _check_type(plain, value, key)
    if isinstance(value, list):
        for index, item in enumerate(value):
            if dataclasses.is_dataclass(item) and not isinstance(item, Settings):
                check_fields(item, f"{key}.{index}")
    for bound in bounds:
        value = bound.checked(value, key)
    return value


def _check_type(plain: Any, value: Any, key: str) -> None:
    """Raises a ConfigError for a value of another type, where the type is a plain one."""
    holder = typing.get_origin(plain) or plain
    if holder in (list, dict):
        _check_holder(holder, typing.get_args(plain)[0], value, key)
    if isinstance(plain, type) and dataclasses.is_dataclass(plain) and value != MISSING:
        _check_instance(plain, value, key)
    members = typing.get_args(plain) if is_union(plain) else (plain,)
    kinds = [kind for kind in members if kind is not types.NoneType]
    if any(kind not in _TYPE_NAMES for kind in kinds) or any(_is_a(value, kind) for kind in kinds):
        return
    raise ConfigError(f"{key} must be {_TYPE_NAMES[kinds[0]]}, got {value!r}")


def _check_holder(holder: type, inner: Any, value: Any, key: str) -> None:
    if not isinstance(value, holder):
        what = "list" if holder is list else "table"
        raise ConfigError(f"{key} must be a {what}, got {value!r}")
    if holder is list and dataclasses.is_dataclass(inner):
        for index, item in enumerate(typing.cast("list[Any]", value)):
            _check_instance(inner, item, f"{key}.{index}")


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
    """The types of a dataclass's fields, bounds included."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {entry.name: hints[entry.name] for entry in dataclasses.fields(kind)}


def parts(hint: Any) -> tuple[Any, tuple[Bound, ...]]:
    """The plain type of a field and its bounds."""
    if typing.get_origin(hint) is not typing.Annotated:
        return hint, ()
    plain, *extras = typing.get_args(hint)
    return plain, tuple(extra for extra in extras if isinstance(extra, Bound))


def allows_none(plain: Any) -> bool:
    """Whether a plain type is a union with None."""
    return is_union(plain) and types.NoneType in typing.get_args(plain)


def is_union(plain: Any) -> bool:
    """Whether a plain type is `A | B`."""
    return typing.get_origin(plain) in (typing.Union, types.UnionType)


def is_number(value: Any) -> bool:
    """Whether the value is an integer or a float; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    """Whether the value is a finite number; every integer is, though some fit no float."""
    return is_number(value) and (isinstance(value, int) or math.isfinite(value))


def number(value: Any, key: str) -> float:
    """The value, if it is a finite number.

    Raises:
        ConfigError: it is something else.
    """
    if not is_finite(value):
        raise ConfigError(f"{key} must be a finite number, got {value!r}")
    return typing.cast(float, value)


def listed(value: Any, key: str) -> list[Any] | tuple[Any, ...]:
    """The value, if it is a list.

    Raises:
        ConfigError: it is something else.
    """
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{key} must be a list, got {value!r}")
    return value


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """`, did you mean X?` for the nearest of some words, or nothing."""
    near = difflib.get_close_matches(word, [*words], n=1, cutoff=0.6)
    return f", did you mean {near[0]!r}?" if near else ""
