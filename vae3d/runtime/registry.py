"""`Registry`: things by name, imported when they are asked for."""

import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, TypeVar

from vae3d.errors import ConfigError

T = TypeVar("T")
Added = TypeVar("Added")


class Registry(Mapping[str, T]):
    """A table of names to `module:attribute`; looking one up imports its module.

    So a table can be read, for choices and help, without what it names. Plugins add entries:

        @LOSSES.register("edges")
        def edges(reconstruction: Tensor, image: Tensor) -> Tensor: ...
    """

    def __init__(self, what: str, entries: Mapping[str, str]) -> None:
        self.what = what
        self._places = dict(entries)
        self._loaded: dict[str, T] = {}
        self._plugins: dict[str, str] = {}

    def __getitem__(self, name: str) -> T:
        if name not in self._loaded:
            self._loaded[name] = load(self._places[name])
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def register(self, name: str) -> Callable[[Added], Added]:
        """A decorator that adds an entry for the module that calls this.

        Raises:
            ConfigError: vae3d or another module has an entry of this name.
        """
        module: str = sys._getframe(1).f_globals["__name__"]
        if name in self._places and self._plugins.get(name) != module:
            raise ConfigError(f"{module}: there is a {self.what} called {name!r} already")

        def add(entry: Added) -> Added:
            self._places[name] = f"{module}:{name}"
            self._plugins[name] = module
            self._loaded[name] = entry  # type: ignore[assignment]
            return entry

        return add

    def remove(self, name: str) -> None:
        """Takes an entry of a plugin out again."""
        for table in (self._places, self._loaded, self._plugins):
            table.pop(name, None)

    def plugin_of(self, name: str) -> str | None:
        """The module that added an entry; None for those of vae3d itself."""
        return self._plugins.get(name)


def plugins_of(*places: tuple[Registry[Any], str]) -> list[str]:
    """The modules that added these entries, each once; none of vae3d's own."""
    found = dict.fromkeys(registry.plugin_of(name) for registry, name in places)
    return [module for module in found if module is not None]


def plugin_hint(plugins: Any) -> str:
    """What to type for settings or weights that name plugins which are not imported."""
    named = [str(name) for name in plugins] if isinstance(plugins, list) else []
    missing = [name for name in named if name not in sys.modules]
    if not missing:
        return ""
    listed = ",".join(missing)
    return (
        "; it was made with plugins, which no file can import: "
        f"add plugins=[{listed}], or in Python import {listed} first"
    )


def load(place: str) -> Any:
    """What `module:attribute` names."""
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)
