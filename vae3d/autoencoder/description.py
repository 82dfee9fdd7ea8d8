"""`config.json` of weights: everything about them but the tensors, as plain values."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vae3d.errors import ConfigError, RunError
from vae3d.files.checksums import warn_if_changed
from vae3d.files.plain import from_plain, read_json
from vae3d.values.contract import InputContract
from vae3d.values.latent_statistics import LatentStatistics

FORMAT_VERSION = 2
CONFIG_FILE = "config.json"
LATENTS = "latents"
"""The key with the statistics of these weights' latents."""
MAX_TEXT = 200


@dataclass(frozen=True)
class Origin:
    """What made weights: a program, its version, and the step of a training."""

    by: str
    version: str = ""
    step: int | None = None

    def __post_init__(self) -> None:
        if max(len(self.by), len(self.version)) > MAX_TEXT:
            raise ConfigError(f"by and version must be at most {MAX_TEXT} characters")


@dataclass(frozen=True)
class SplitRecord:
    """How the cases of a training were divided.

    `kind` is `hash`, `count` or `list`. The shares are those of the settings, which a list
    replaces; `fold` is K/N of a cross-validation.
    """

    kind: str
    val_fraction: float
    test_fraction: float
    fold: str | None = None


@dataclass(frozen=True)
class Description:
    """What `config.json` holds.

    `digest` is the SHA-256 of the file of tensors, None where it is not known (format 1).
    `plugins` are names of modules, which are never imported.
    """

    architecture: dict[str, Any]
    contract: InputContract = field(default_factory=InputContract)
    digest: str | None = None
    origin: Origin | None = None
    split_rule: SplitRecord | None = None
    plugins: tuple[str, ...] = ()
    statistics: LatentStatistics | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values in the present format.

        Contracts are a list by set of data and channel, of which there is one today. `quantizer`
        is for networks whose latents are quantized.
        """
        contract = self.contract.describe()
        values: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "architecture": self.architecture,
            "contracts": [{"set": None, **contract}] if contract else [],
            "digest": self.digest,
            "origin": self.origin and dataclasses.asdict(self.origin),
            "split_rule": self.split_rule and dataclasses.asdict(self.split_rule),
            "plugins": [*self.plugins],
            "quantizer": None,
        }
        if self.statistics is not None:
            values[LATENTS] = self.statistics.describe()
        return values


def read_description(folder: Path) -> Description:
    """Read `config.json` of a folder of weights, of this format or of format 1.

    Raises:
        RunError: it is missing, damaged, or of a newer format.
    """
    path = folder / CONFIG_FILE
    warn_if_changed(path)
    try:
        values = read_json(path)
    except FileNotFoundError:
        raise RunError(f"{folder}: no weights here ({CONFIG_FILE} is missing)") from None
    except ConfigError as error:
        raise RunError(f"{path}: {error}") from error
    if not isinstance(values, dict) or "architecture" not in values:
        raise RunError(f"{path}: not a description of vae3d weights")
    version = values.get("format_version")
    if version not in (1, FORMAT_VERSION) or isinstance(version, bool):
        raise RunError(
            f"{path}: format_version must be 1 or {FORMAT_VERSION}, got {version!r:.60}; "
            "a newer vae3d may have written it"
        )
    try:
        return _parsed(values, version)
    except (ConfigError, TypeError) as error:  # a TypeError of a dataclass if a key is missing
        raise RunError(f"{path}: {error}") from error


def _parsed(values: dict[str, Any], version: int) -> Description:
    if values.get("quantizer") is not None:
        raise ConfigError("quantizer is not supported by this version; update vae3d")
    return Description(
        values["architecture"],
        _contract(values, version),
        _typed(str | None, values, "digest"),
        _typed(Origin | None, values, "origin"),
        _typed(SplitRecord | None, values, "split_rule"),
        plugins=tuple(_typed(list[str], {"plugins": [], **values}, "plugins")),
        statistics=_typed(LatentStatistics | None, values, LATENTS),
    )


def _typed(hint: Any, values: dict[str, Any], key: str) -> Any:
    try:
        return from_plain(hint, values.get(key), key)
    except TypeError as error:
        raise ConfigError(f"{key}: {error}") from error


def _contract(values: dict[str, Any], version: int) -> InputContract:
    """Return the contract; format 1 has a single one, under another key."""
    if version == 1:
        entries = [values.get("contract", {})]
    else:
        entries = from_plain(list[Any], values.get("contracts"), "contracts")
    if len(entries) > 1:
        raise ConfigError(
            f"contracts must be one, got {len(entries)}: weights of several sets of data or "
            "channels need a newer vae3d"
        )
    if not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError("contract must be a table")
    try:
        return InputContract.from_json(entries[0] if entries else {})
    except (ConfigError, TypeError) as error:
        raise ConfigError(f"contract: {error}") from error
