"""Paths as users write them."""

from pathlib import Path

from vae3d.errors import ConfigError


def user_path(text: str | Path) -> Path:
    """Return a path with `~` or `~user` at its start replaced by the home folder.

    Raises:
        ConfigError: this machine has no user of that name.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        name = Path(text).parts[0]
        raise ConfigError(
            f"{text}: the home folder of {name} is unknown on this machine; type the whole path, "
            f"or ./{text} for a folder called {name}"
        ) from error
