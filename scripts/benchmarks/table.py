"""`Table`: a module of `tables/` by its name."""

import ast
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.result import Block

SCALES = ("full", "quick", "miniature")


@dataclass(frozen=True)
class Table:
    """A table that can be measured."""

    name: str
    title: str
    peers: tuple[str, ...]
    sizes: dict[str, Any]
    measure: Callable[[Any], list[Block]]

    @classmethod
    def load(cls, name: str) -> "Table":
        """Import a table."""
        module = import_module(f"benchmarks.tables.{name}")
        return cls(name, module.TITLE, tuple(module.PEERS), module.SIZES, module.measure)

    def blocks(self, scale: str, changes: list[str]) -> list[Block]:
        """Measure at a scale, with some sizes changed by `FIELD=VALUE`."""
        return self.measure(changed(self.sizes[scale], changes))


def table_names() -> list[str]:
    """Return the names of all tables."""
    return sorted(module.name for module in pkgutil.iter_modules(tables.__path__))


def purpose(name: str) -> str:
    """Return the first line of a table's docstring, without importing it."""
    text = (Path(next(iter(tables.__path__))) / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def changed(sizes: Any, changes: list[str]) -> Any:
    """Return sizes with other values, which are of the types of the ones they replace.

    Raises:
        ValueError: a change is not `FIELD=VALUE`, or the value is of another type.
    """
    known = [field.name for field in fields(sizes)]
    for change in changes:
        key, equals, text = change.partition("=")
        if key not in known or not equals:
            raise ValueError(f"{change}: must be FIELD=VALUE, FIELD one of {', '.join(known)}")
        sizes = replace(sizes, **{key: parsed(text, getattr(sizes, key))})
    return sizes


def parsed(text: str, like: Any) -> Any:
    """Return text as a value of the type of another; a tuple's items are separated by commas."""
    if isinstance(like, tuple):
        return tuple(parsed(item, like[0]) for item in text.split(",") if item)
    if isinstance(like, bool):
        return {"true": True, "false": False}[text.lower()]
    return type(like)(text)
