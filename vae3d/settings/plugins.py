"""Plugins: modules of the user's own that register losses, metrics, norms and activations."""

from collections.abc import Iterable
from importlib import import_module

from vae3d.errors import ConfigError


def load_plugins(modules: Iterable[str]) -> None:
    """Import modules, which register their entries when they are imported.

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
