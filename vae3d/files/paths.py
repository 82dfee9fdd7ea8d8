"""Paths as users write them."""

import os
from pathlib import Path

from vae3d.errors import ConfigError


def user_path(text: str | Path) -> Path:
    """Return a path with `~` or `~user` at its start replaced by the home folder.

    Raises:
        ConfigError: this machine has no user of that name, or no file can have this one.
    """
    try:
        return possible_path(text).expanduser()
    except RuntimeError as error:
        name = Path(text).parts[0]
        raise ConfigError(
            f"{text}: the home folder of {name} is unknown on this machine; type the whole path, "
            f"or ./{text} for a folder called {name}"
        ) from error


def resolved(path: Path) -> Path:
    """Return an absolute path without links; one that leads in a circle stays as it is.

    `Path.resolve` raises a RuntimeError there, until Python 3.13.
    """
    return Path(os.path.realpath(path))


def possible_path(text: str | Path) -> Path:
    """Return a path.

    Raises:
        ConfigError: no file can have this name: a character 0, or half of a surrogate pair.
    """
    try:
        possible = b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise ConfigError(f"{str(text)!a:.200} is no name that a file can have")
    return Path(text)
