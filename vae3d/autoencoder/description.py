"""`config.json` of weights: everything about them but the tensors, as plain values."""

import dataclasses
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vae3d.autoencoder.fingerprints import Fingerprints
from vae3d.errors import ConfigError, RunError
from vae3d.files.checksums import warn_if_changed
from vae3d.files.plain import from_plain, read_json
from vae3d.values.contract import InputContract
from vae3d.values.latent_statistics import LatentStatistics

FORMAT_VERSION = 2
CONFIG_FILE = "config.json"
LATENTS = "latents"
"""The key with the statistics of these weights' latents."""
STARTED_FROM = "started_from"
"""The key with the weights that a training started from; earlier versions pass it over."""
MAX_TEXT = 200
MAX_ANCESTORS = 20
_HUB = re.compile(r"[\w./@-]{3,310}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,59}")


def is_licence(text: str) -> bool:
    """Return whether this can be the identifier of a licence, such as apache-2.0."""
    return bool(_LICENCE.fullmatch(text))


@dataclass(frozen=True)
class Ancestor:
    """Weights that a training started from.

    `hub` is their name on the hub, `owner/name` or `owner/name@revision`; it is empty for weights
    of a local folder, whose name is private to the run. `digest` is the SHA-256 of their tensors'
    file. `licence` is the one that their model card states, empty if it states none. `by`,
    `version` and `step` are those of their `Origin`.
    """

    hub: str = ""
    digest: str = ""
    licence: str = ""
    by: str = ""
    version: str = ""
    step: int | None = None

    def __post_init__(self) -> None:
        # Cards and pages repeat these texts, and the file may come from anyone.
        for key, form in (("hub", _HUB), ("digest", _DIGEST), ("licence", _LICENCE)):
            if getattr(self, key) and not form.fullmatch(getattr(self, key)):
                raise ConfigError(f"{key} is not valid: {getattr(self, key)!r:.60}")
        if max(len(self.by), len(self.version)) > MAX_TEXT:
            raise ConfigError(f"by and version must be at most {MAX_TEXT} characters")

    @property
    def details(self) -> str:
        """Licence, SHA-256 and step, as far as they are known."""
        known = [
            f"licence {self.licence}" if self.licence else "",
            f"SHA-256 {self.digest[:12]}" if self.digest else "",
            f"step {self.step:,}" if self.step is not None else "",
        ]
        return ", ".join(filter(None, known))

    @property
    def text(self) -> str:
        """The weights in words, without anything that is private."""
        return f"{self.hub or 'other weights'}{f' ({self.details})' if self.details else ''}"


@dataclass(frozen=True)
class Origin:
    """What made weights: a program, its version, and the step of a training.

    `started_from` are the weights that the training started from, those that they came from, and
    so on.
    """

    by: str
    version: str = ""
    step: int | None = None
    started_from: tuple[Ancestor, ...] = ()

    def __post_init__(self) -> None:
        if max(len(self.by), len(self.version)) > MAX_TEXT:
            raise ConfigError(f"by and version must be at most {MAX_TEXT} characters")
        if len(self.started_from) > MAX_ANCESTORS:
            raise ConfigError(f"started_from must hold at most {MAX_ANCESTORS} entries")


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
    `plugins` are names of modules, which are never imported. `fingerprints` are those of the
    tensors as they were saved.
    """

    architecture: dict[str, Any]
    contract: InputContract = field(default_factory=InputContract)
    digest: str | None = None
    origin: Origin | None = None
    split_rule: SplitRecord | None = None
    plugins: tuple[str, ...] = ()
    statistics: LatentStatistics | None = None
    fingerprints: Fingerprints | None = None

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
            "origin": None,
            "split_rule": self.split_rule and dataclasses.asdict(self.split_rule),
            "plugins": [*self.plugins],
            "quantizer": None,
            "fingerprints": self.fingerprints and dataclasses.asdict(self.fingerprints),
        }
        if self.origin is not None:
            origin = dataclasses.asdict(self.origin)
            ancestors = [*origin.pop(STARTED_FROM)]
            values["origin"] = origin
            if ancestors:
                values[STARTED_FROM] = ancestors
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
        of_diffusers = isinstance(values, dict) and "_class_name" in values
        hint = f"; score it with autoencoder=diffusers autoencoder.path={folder}"
        raise RunError(f"{path}: not a description of vae3d weights{hint if of_diffusers else ''}")
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
        _origin(values),
        _typed(SplitRecord | None, values, "split_rule"),
        plugins=tuple(_typed(list[str], {"plugins": [], **values}, "plugins")),
        statistics=_typed(LatentStatistics | None, values, LATENTS),
        fingerprints=_typed(Fingerprints | None, values, "fingerprints"),
    )


def _origin(values: dict[str, Any]) -> Origin | None:
    origin: Origin | None = _typed(Origin | None, values, "origin")
    ancestors = _typed(tuple[Ancestor, ...], {STARTED_FROM: [], **values}, STARTED_FROM)
    return origin and replace(origin, started_from=ancestors)


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
