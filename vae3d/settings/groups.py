"""The config groups: the dataclass of each option, its file, and the values that it sets."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from vae3d.autoencoder.config import AUTOENCODERS, AutoencoderConfig
from vae3d.bounds import hints_of, parts
from vae3d.data.config import DATA, DataConfig, RunData
from vae3d.evaluation.config import EvaluationConfig
from vae3d.logger.config import LoggersConfig
from vae3d.loss.config import LossConfig
from vae3d.model.config import VAEConfig
from vae3d.patching.config import PATCHING, PatchingConfig
from vae3d.settings.command import Command
from vae3d.trainer.config import TrainerConfig

_PACKAGE = Path(__file__).parent.parent
CONF = next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir())
"""The folder of the option files; in the repository if the package was installed with pip -e."""
EXPERIMENT = "experiment"
CHOSEN_KIND: dict[type, str] = {
    DataConfig: "data",
    PatchingConfig: "patching",
    AutoencoderConfig: "autoencoder",
}
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
    if group == "autoencoder":
        return AUTOENCODERS
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
        own = option_files(group)
        # `command.options` restricts vae3d's own options, not those that the user has added.
        refused = {*own} - {*command.options.get(group, own)}
        shown = {k: v for k, v in option_files(group, extra).items() if k not in refused}
        groups[name] = Group(name, shown, defaults[group])
    if command.name == "train":
        groups[EXPERIMENT] = Group(EXPERIMENT, option_files(EXPERIMENT, extra))
    return groups


def option_files(group: str, extra: Path | None = None) -> dict[str, str]:
    """Return the options of a group, each with the first comment of its file."""
    folders = filter(None, (CONF, extra))
    files = [path for folder in folders for path in sorted((folder / group).glob("*.yaml"))]
    return {path.stem: first_sentence(path) for path in files}


@cache
def first_sentence(path: Path) -> str:
    """Return the first comment of an option file, on one line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = itertools.takewhile(lambda line: line.startswith("#"), lines)
    text = (line for line in comment if not line.startswith("# @package"))
    return " ".join(line.lstrip("# ").strip() for line in text)


@cache
def chosen_by_default(command: str) -> dict[str, str]:
    """Return the default option of each group of a command."""
    values = yaml.safe_load((CONF / f"{command}.yaml").read_text(encoding="utf-8"))
    entries = [entry for entry in values["defaults"] if isinstance(entry, dict)]
    pairs = [pair for entry in entries for pair in entry.items()]
    return {name: str(option) for name, option in pairs if not name.startswith("override ")}


def option_values(
    command: Command, chosen: Mapping[str, str], extra: Path | None = None
) -> dict[str, Any]:
    """Return the values that the files of the chosen options set, by key, without Hydra."""
    values: dict[str, Any] = {}
    for name, group in groups_of(command, extra).items():
        option = chosen.get(name)
        if option in group.options:
            values |= dict(_flat(file_values(name, option, extra), name))
    return values


def file_values(group: str, option: str, extra: Path | None = None) -> dict[str, Any]:
    """Return the values of an option file, merged over those of the options in its defaults."""
    paths = [folder / group / f"{option}.yaml" for folder in (extra, CONF) if folder]
    path = next(filter(Path.is_file, paths))
    values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    inherited: dict[str, Any] = {}
    for base in values.pop("defaults", []):
        if isinstance(base, str) and base != "_self_" and not base.endswith("_schema"):
            inherited = _merge(inherited, file_values(group, base, extra))
    return _merge(inherited, values)


def _merge(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    merged = dict(first)
    for key, value in second.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = _merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        key = f"{prefix}.{name}".lstrip(".")
        yield key, value
        if isinstance(value, Mapping):
            yield from _flat(value, key)
