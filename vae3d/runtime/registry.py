"""`Registry`: a table of names whose entries are imported on first use."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any, TypeVar

from vae3d.errors import ConfigError

T = TypeVar("T")
Entry = TypeVar("Entry")


class Registry(Mapping[str, T]):
    """A table of names to `module:attribute`; looking one up imports its module.

    The names can be listed, for choices and help, without importing the entries. Plugins add some:

        @LOSSES.register("edges")
        def edges(reconstruction: Tensor, image: Tensor) -> Tensor: ...
    """

    def __init__(self, what: str, entries: Mapping[str, str]) -> None:
        self.what = what
        self._locations = dict(entries)
        self._loaded: dict[str, T] = {}
        self._plugins: dict[str, str] = {}

    def __getitem__(self, name: str) -> T:
        if name not in self._loaded:
            self._loaded[name] = load(self._locations[name])
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._locations)

    def __len__(self) -> int:
        return len(self._locations)

    def __contains__(self, name: object) -> bool:
        return name in self._locations

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """Return a decorator that adds an entry on behalf of the calling module.

        Raises:
            ConfigError: vae3d or another module has an entry of this name.
        """
        # The module's name owns the entry, and is recorded with the run and its weights.
        module: str = sys._getframe(1).f_globals["__name__"]
        if name in self._locations and self._plugins.get(name) != module:
            raise ConfigError(f"{module}: there is a {self.what} called {name!r} already")

        def add(entry: Entry) -> Entry:
            self._locations[name] = f"{module}:{name}"
            self._plugins[name] = module
            self._loaded[name] = entry  # type: ignore[assignment]
            return entry

        return add

    def remove(self, name: str) -> None:
        """Remove an entry of a plugin."""
        for table in (self._locations, self._loaded, self._plugins):
            table.pop(name, None)

    def plugin_of(self, name: str) -> str | None:
        """Return the module that added an entry; None if it is one of vae3d itself."""
        return self._plugins.get(name)


def plugins_of(*entries: tuple[Registry[Any], str]) -> list[str]:
    """Return the modules that added these entries, each once; none of vae3d's own."""
    modules = dict.fromkeys(registry.plugin_of(name) for registry, name in entries)
    return [module for module in modules if module is not None]


def load_plugins(modules: Iterable[str]) -> None:
    """Import modules of the user's own, which register their entries when they are imported.

    Raises:
        ConfigError: one is not a module name, or cannot be imported.
    """
    for module in modules:
        if not all(part.isidentifier() for part in module.split(".")):
            raise ConfigError(f"plugins must hold names as package.module, got {module!r}")
        try:
            import_module(module)
        except ConfigError:
            raise
        except (Exception, SystemExit) as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise ConfigError(f"plugins: {module} cannot be imported: {reason}") from error


def plugin_hint(plugins: Any) -> str:
    """Return what to type if settings or weights name plugins that are not imported."""
    named = [str(name) for name in plugins] if isinstance(plugins, list) else []
    missing = [name for name in named if name not in sys.modules]
    if not missing:
        return ""
    listed = ",".join(missing)
    return (
        "; it uses plugins, which are never imported because a file names them: "
        f"add plugins=[{listed}], or in Python import {listed} first"
    )


def load(location: str) -> Any:
    """Import a module and return what `module:attribute` names."""
    module, _, attribute = location.partition(":")
    return getattr(import_module(module), attribute)
