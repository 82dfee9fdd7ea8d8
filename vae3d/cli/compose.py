"""Compose overrides and option files into the settings of a command, with Hydra."""

import copy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import hydra
from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_automatic_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathElement
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import MISSING, OmegaConf, open_dict, read_write

from vae3d.bounds import hints_of, parts
from vae3d.commands import COMMANDS
from vae3d.errors import ConfigError
from vae3d.settings.command import Command
from vae3d.settings.groups import CHOSEN_KIND, group_of, kinds
from vae3d.settings.schema import defaults_of, settings_of

CONFIG_MODULE = "pkg://vae3d.conf"
VERSION_BASE = "1.3"
T = TypeVar("T")


def composed(name: str, *overrides: str) -> Any:
    """Return the checked settings of `vae3d NAME` with some of Hydra's overrides."""
    command = COMMANDS[name]
    return to_object(compose(command, overrides), command.config)


def compose(command: Command, overrides: Sequence[str], config_dir: Path | None = None) -> Any:
    """Return the settings of a command as OmegaConf composes them, not yet checked.

    This is `hydra.main` without its logging and working folders, which has no public equivalent:
    therefore the private names of Hydra.

    Raises:
        HydraException, OmegaConfBaseException: they do not compose.
    """
    version.setbase(VERSION_BASE)
    register_schemas(command)
    search_path = create_automatic_config_search_path(None, None, CONFIG_MODULE)
    if config_dir is not None:
        own = SearchPathElement("command-line", f"file://{config_dir.absolute()}")
        # The registered schemas have to be last in the search path.
        search_path.get_path().insert(-1, own)
    GlobalHydra.instance().clear()
    composer = Hydra.create_main_hydra2(task_name="vae3d", config_search_path=search_path)
    composed = composer.compose_config(
        command.name, [*overrides], run_mode=RunMode.RUN, from_shell=True,
        with_log_configuration=False,
    )  # fmt: skip
    # So that `${hydra:...}` and `${now:...}` resolve as under hydra.main.
    HydraConfig.instance().set_config(composed)
    task = copy.deepcopy(composed)
    with read_write(task), open_dict(task):
        del task["hydra"]
    # If Hydra's own program runs next, it initializes an instance of its own.
    GlobalHydra.instance().clear()
    return task


def replace_tables(composed: Any, command: Command, overrides: Sequence[str]) -> None:
    """Replace each table that was typed whole, `loss.terms={ssim: 1}`; Hydra would merge it."""
    tables = {setting.key for setting in settings_of(command) if setting.table}
    for override in OverridesParser.create().parse_overrides([*overrides]):
        if override.key_or_group in tables and isinstance(override.value(), dict):
            with open_dict(composed):
                OmegaConf.update(composed, override.key_or_group, override.value(), merge=False)


def check_words(words: Sequence[str]) -> None:
    """Raise a ConfigError for a word for which Hydra would print its whole usage."""
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"{message}; vae3d COMMAND --hydra-help lists its options")

    parser.error = refuse  # type: ignore[method-assign]
    parsed = parser.parse_intermixed_args([*words])
    if parsed.package and not parsed.cfg:
        refuse("--package goes with --cfg")
    if parsed.experimental_rerun is not None:
        raise ConfigError(
            "--experimental-rerun would run a pickled file; type the settings instead"
        )


def run_hydra(command: Command, arguments: Sequence[str], job: Callable[[Any], Any]) -> None:
    """Run a job under `hydra.main`, for sweeps, `--cfg`, `--info` and the like."""
    check_words(arguments)
    register_schemas(command)
    sys.argv = [f"vae3d {command.name}", *arguments]
    decorate = hydra.main(
        version_base=VERSION_BASE, config_path=CONFIG_MODULE, config_name=command.name
    )
    decorate(job)()


def register_schemas(command: Command) -> None:
    """Register the dataclasses of a command and of the options of its groups with Hydra."""
    store = ConfigStore.instance()
    hints = {name: parts(hint)[0] for name, hint in hints_of(command.config).items()}
    # A field with a default could not be set to another option of its group.
    open_choices: dict[str, Any] = {
        name: MISSING if hint in CHOSEN_KIND else schema_node(hint)
        for name, hint in hints.items()
        if group_of(hint)
    }
    store.store(name=f"{command.name}_schema", node=command.config(**open_choices))
    for group in filter(None, map(group_of, hints.values())):
        for option, node in kinds(group).items():
            store.store(group=group, name=f"{option}_schema", node=schema_node(node))


def schema_node(kind: Any) -> Any:
    """Return the dataclass, or an instance whose tables are empty.

    OmegaConf merges tables: a default term would be kept in addition to those of an option file.
    """
    tables = [name for name, value in defaults_of(kind).items() if isinstance(value, dict)]
    return kind(**{name: {} for name in tables})


def to_object(composed: Any, expected: type[T]) -> T:
    """Return composed settings as their dataclass, which checks its values.

    Raises:
        ConfigError: a value out of its bounds, or a key that `+` added where none belongs.
    """
    value = OmegaConf.to_object(composed)
    refuse_added_keys(value)
    assert isinstance(value, expected)
    return value


def refuse_added_keys(value: Any, path: str = "") -> None:
    """Raise a ConfigError for an attribute that is not a field of its dataclass."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            refuse_added_keys(item, f"{path}{index}.")
    fields = getattr(type(value), "__dataclass_fields__", None)
    if fields is None:
        return
    for name, item in vars(value).items():
        if name not in fields:
            raise ConfigError(f"unknown key '{path}{name}': + adds no key that vae3d would read")
        refuse_added_keys(item, f"{path}{name}.")
