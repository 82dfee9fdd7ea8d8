"""Compose the settings of a line and run the command with them."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vae3d.bounds import Settings
from vae3d.cli.compose import compose, replace_tables, run_hydra, to_object
from vae3d.cli.explain import explain, fail
from vae3d.cli.job_folders import JobFolders, sweep_killed
from vae3d.cli.line import Line
from vae3d.errors import ConfigError, UserError
from vae3d.runtime.heap import map_large_blocks
from vae3d.runtime.messages import show_messages
from vae3d.runtime.registry import load
from vae3d.settings.command import Command
from vae3d.system.limits import limits_as_errors
from vae3d.version import __version__

REFUSED = (HydraException, OmegaConfBaseException)


def run_once(line: Line) -> None:
    """Run a command with its settings.

    Raises:
        UserError: the settings do not compose, or the command itself fails.
    """
    settings, _ = checked_settings(line)
    sys.argv = [f"vae3d {line.command.name}", *line.words]
    refuse_code_from_files(settings, line)
    with system_errors_as_user_errors():
        call(line.command, settings)


def checked_settings(line: Line) -> tuple[Any, Any]:
    """Return the settings of the line as a dataclass, and as OmegaConf composed them.

    Raises:
        ConfigError: they do not compose, or are out of their bounds.
    """
    try:
        composed = compose(line.command, line.overrides, line.config_dir)
        replace_tables(composed, line.command, line.overrides)
        return mark_typed(to_object(composed, line.command.config), line), composed
    except UserError:
        raise
    except Exception as error:
        # For some wrong settings Hydra raises AssertionErrors and ValueErrors.
        raise ConfigError(explain(error, line.keys)) from error


def mark_typed(settings: Any, line: Line) -> Any:
    """Return the settings, each of which knows its keys that were typed, defaults too.

    A key below is known as a whole, `levels.1.channels`, and a group as `model`.
    """
    for key in [*line.set_values, *line.chosen_by_hand]:
        parts = key.split(".")
        owner = settings
        for depth, name in enumerate(parts):
            if isinstance(owner, Settings):
                owner.typed |= {".".join(parts[depth:])}
            owner = getattr(owner, name, None)
    return settings


def run_under_hydra(line: Line) -> None:
    """Run a sweep, or one of Hydra's own words such as `--cfg`.

    Raises:
        UserError: the settings do not compose, or the command itself fails.
    """
    if line.shows_settings:
        # Hydra would print unchecked settings, and merge tables that were typed whole.
        _, composed = checked_settings(line)
        sys.stdout.write(OmegaConf.to_yaml(composed))
        return
    started = False
    sweep_killed(Path.cwd())
    folders = JobFolders()

    def job(composed: Any) -> Any:
        nonlocal started
        started = True
        try:
            replace_tables(composed, line.command, HydraConfig.get().overrides.task)
            settings: Any = mark_typed(to_object(composed, line.command.config), line)
            refuse_code_from_files(settings, line)
            with system_errors_as_user_errors():
                return _job(settings, line, folders)
        except UserError as error:
            # For any other exception Hydra would print lines of its own.
            raise SystemExit(fail(str(error), error.exit_code)) from error
        except OmegaConfBaseException as error:
            raise SystemExit(fail(explain(error, line.keys), ConfigError.exit_code)) from error

    # This makes Hydra raise its errors instead of printing them.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        run_hydra(line.command, line.words, job)
    except Exception as error:
        # Before a job has started the settings are wrong; after that it is an error of the job.
        if started and not isinstance(error, REFUSED):
            raise
        raise ConfigError(explain(error, line.keys)) from error
    finally:
        finished = folders.collect()
    if len(finished) > 1:
        show_messages()  # jobs that ran elsewhere did not do it here
        load("vae3d.cli.sweep:summarise")(finished)


def _job(settings: Any, line: Line, folders: JobFolders) -> Any:
    """Run one job of a sweep; return the score for a sweeper such as Optuna to optimise."""
    if line.command.name != "train":
        call(line.command, settings)
        return None
    settings.name = load("vae3d.cli.sweep:job_name")(settings.name, line.overrides)
    folder = call(line.command, settings)
    folders.add(folder)
    return load("vae3d.cli.sweep:best_score")(folder)


def call(command: Command, settings: Any) -> Any:
    """Import the function of a command and call it with the settings.

    Raises:
        UserError: what was given is not enough for the command, or the command itself fails.
    """
    settings.check_given()
    if int(os.environ.get("RANK", "0")) == 0 and not command.quick:
        # Importing torch takes seconds: print a line first, so that the terminal is not empty.
        sys.stdout.write(f"vae3d {__version__}: {command.name}\n")
        sys.stdout.flush()
    show_messages()
    limited = getattr(getattr(settings, "trainer", None), "memory", None) is not None
    if command.maps_large_blocks or limited:
        map_large_blocks()
    return load(command.run)(settings)


def refuse_code_from_files(settings: Any, line: Line) -> None:
    """Raise a ConfigError if a file, not the command line, names code to import."""
    if [*getattr(settings, "plugins", [])] != line.plugins:
        raise ConfigError(
            "plugins are code that runs: give them on the command line, not in a file"
        )
    named = {"data.dataset": getattr(getattr(settings, "data", None), "dataset", None)}
    autoencoder = getattr(settings, "autoencoder", None)
    if getattr(autoencoder, "runs_code", False):
        named["autoencoder.path"] = getattr(autoencoder, "path", None)
    for key, value in named.items():
        if value is not None and key not in line.set_values:
            raise ConfigError(
                f"{key} is code that runs: give it on the command line, not in a file"
            )


@contextlib.contextmanager
def system_errors_as_user_errors() -> Iterator[None]:
    """Raise the error of a limit as a ResourceError, and that of a path as a ConfigError."""
    try:
        with limits_as_errors():
            yield
    except OSError as error:
        if error.filename:
            # Another path, or other permissions, mend it.
            raise ConfigError(f"{error.filename}: {error.strerror}; name another path") from error
        raise
