"""The config groups: the dataclass and the option file of each option."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from vae3d.bounds import hints_of, parts
from vae3d.data.config import DATA, DataConfig, RunData
from vae3d.evaluation.config import EvaluationConfig
from vae3d.logger.config import LoggersConfig
from vae3d.loss.config import LossConfig
from vae3d.model.config import VAEConfig
from vae3d.patching.config import PATCHING, PatchingConfig
from vae3d.settings.command import Command
from vae3d.trainer.config import TrainerConfig

CONF = Path(__file__).parent.parent / "conf"
"""The option files in an installed package."""
IN_THE_REPOSITORY = Path(__file__).parent.parent.parent / "conf"
"""The option files if the package was installed with pip -e."""
EXPERIMENT = "experiment"
CHOSEN_KIND: dict[type, str] = {DataConfig: "data", PatchingConfig: "patching"}
"""Groups whose options have different dataclasses."""
ONE_KIND: dict[type, str] = {
    VAEConfig: "model",
    TrainerConfig: "trainer",
    LossConfig: "loss",
    EvaluationConfig: "evaluation",
    LoggersConfig: "logger",
}
"""Groups whose options are different values of the same dataclass."""


@dataclass(frozen=True)
class Group:
    """A config group: the options that have a file, each with the first comment of its file."""

    name: str
    options: dict[str, str]
    default: str | None = None


def kinds(group: str) -> Mapping[str, type]:
    """Return the dataclass of each option of a group; if all share one, under the group's name."""
    if group == "data":
        return {**DATA, "run": RunData}
    if group == "patching":
        return PATCHING
    return {name: kind for kind, name in ONE_KIND.items() if name == group}


def group_of(kind: Any) -> str | None:
    """Return the group whose settings a dataclass holds, or None."""
    return {**ONE_KIND, **CHOSEN_KIND}.get(kind)


def groups_of(command: Command, extra: Path | None = None) -> dict[str, Group]:
    """Return the groups that a command takes, in the order of its settings.

    `extra` is a folder of the user's own option files (`--config-dir`).
    """
    defaults = chosen_by_default(command.name)
    fields = {name: group_of(parts(hint)[0]) for name, hint in hints_of(command.config).items()}
    groups = {}
    for name, group in fields.items():
        # A field may hold a group's dataclass although its command's defaults lack the group.
        if group is None or group not in defaults:
            continue
        options = option_files(group, extra)
        own = option_files(group)
        allowed = command.options.get(group, tuple(own))
        # `command.options` restricts vae3d's own options, not those that the user has added.
        shown = {k: v for k, v in options.items() if k in allowed or k not in own}
        groups[name] = Group(name, shown, defaults[group])
    if command.name == "train":
        groups[EXPERIMENT] = Group(EXPERIMENT, option_files(EXPERIMENT, extra))
    return groups


def option_files(group: str, extra: Path | None = None) -> dict[str, str]:
    """Return the options of a group, each with the first comment of its file."""
    folders = [conf_folder() / group, *([extra / group] if extra else [])]
    files = [
        path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.yaml"))
    ]
    return {path.stem: first_sentence(path) for path in files}


def conf_folder() -> Path:
    """Return the folder of the option files."""
    return CONF if CONF.is_dir() else IN_THE_REPOSITORY


@cache
def first_sentence(path: Path) -> str:
    """Return the first comment of an option file, on one line."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.lstrip("# ").strip())
    return " ".join(lines)


@cache
def chosen_by_default(command: str) -> dict[str, str]:
    """Return the default option of each group of a command."""
    values = yaml.safe_load((conf_folder() / f"{command}.yaml").read_text(encoding="utf-8"))
    entries = [entry for entry in values["defaults"] if isinstance(entry, dict)]
    pairs = [pair for entry in entries for pair in entry.items()]
    return {name: str(option) for name, option in pairs if not re.match("override ", name)}
