"""A folder of latents belongs to one process at a time, and to one choice of settings."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vae3d.errors import ConfigError, DataError
from vae3d.files.atomic import sweep_below, target_of, write_json, write_text
from vae3d.files.checksums import warn_if_changed
from vae3d.files.links import check_no_links
from vae3d.files.lock import locked
from vae3d.files.plain import read_json
from vae3d.files.unfinished import UNFINISHED
from vae3d.latents.folder import NIFTI_FOLDER, SETTINGS
from vae3d.values.intensity import current_units

LATER = ("channel", "encoder")
"""Settings that earlier versions did not record: a folder without them may have any."""


@contextlib.contextmanager
def claimed_folder(folder: Path, settings: Mapping[str, Any]) -> Iterator[None]:
    """Lock the folder within the context, and record the settings that all its latents share.

    A mark in it exists until the context ends without an error: the folder is unfinished.

    Raises:
        ConfigError: it holds latents of other settings; weights with the same encoder are none.
        DataError: it holds other files, or cannot be written.
        LockedError: another process writes to it.
    """
    path, lock = folder / SETTINGS, folder / ".lock"
    foreign = not folder.is_dir() or any(
        entry != lock and target_of(entry) != SETTINGS for entry in folder.iterdir()
    )
    if folder.exists() and foreign and not path.exists():
        raise DataError(f"{folder}: holds files that are no latents; name another output=")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        check_no_links(folder)
        with locked(lock):
            _check(folder, settings)
            sweep_below(folder, (NIFTI_FOLDER, "cases/??"))
            mark = folder / UNFINISHED
            write_text(mark, "")
            yield
            mark.unlink()
    except PermissionError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror})") from error


def _check(folder: Path, settings: Mapping[str, Any]) -> None:
    path = folder / SETTINGS
    warn_if_changed(path)
    try:
        saved = current_units(read_json(path))
    except FileNotFoundError:
        write_json(path, settings)
        return
    except ConfigError as error:
        raise DataError(f"{path}: {error}") from error
    known = saved if isinstance(saved, dict) else {}
    if known.get("encoder") and known["encoder"] == settings.get("encoder"):
        # Of weights whose decoder alone is another, latents are the same.
        known = {**known, "weights": settings["weights"]}
    known = {**{key: settings[key] for key in LATER if key in settings}, **known}
    if known != settings:
        changed = [key for key, value in settings.items() if known.get(key) != value]
        raise ConfigError(
            f"{folder}: holds latents of other {' and '.join(changed)}; name another output="
        )
