"""Settings of data that differ from those that weights were trained with."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vae3d.errors import ConfigError
from vae3d.values.contract import InputContract
from vae3d.values.intensity import IntensityContract

log = logging.getLogger(__name__)

SETTINGS, DATA = "these settings say", "these data have"
"""What a value comes from that differs from the weights'."""
KINDS = {"window": "data=ct", "percentiles": "data=mri"}
"""The data whose intensity contract is of a kind."""


@dataclass(frozen=True)
class Difference:
    """A setting `key` whose value `asked` is not the one `trained` of the weights.

    `name` is what a command calls it in `allow`, `unit` that of the weights' value.
    """

    name: str
    key: str
    trained: Any
    asked: Any
    unit: str

    def note(self) -> str:
        """Return the sentence for a reader of the results."""
        return (
            f"{self.key}={_text(self.asked)} was used; the weights were trained with "
            f"{_text(self.trained)}{self.unit}"
        )


def differences(
    contract: InputContract, asked: Mapping[str, Any], keys: Mapping[str, str]
) -> list[Difference]:
    """Return where settings contradict the contract of weights.

    `asked` has values by name: `window` and `percentiles` [low, high], `spacing` (D, H, W) in mm
    or None for the scans' own, and the number `channel`. `keys` are the keys that users type for
    them, where they are not those of `data`. Names that the contract does not know are ignored,
    and so is None for all but the spacing.
    """
    known = contract.values
    return [
        Difference(
            name, keys.get(name, f"data.{name}"), known[name], value, contract.unit_of(name)
        )
        for name, value in sorted(asked.items())
        if name in known and _key(known[name]) != _key(value)
        if (name == "spacing" or value is not None)
        and (name != "channel" or known[name] is not None)
    ]


@dataclass
class Agreement:
    """What data and settings may differ in from the `contract` of weights.

    `owner` names the weights, `allow` what may differ. `notes` are sentences on what did differ.
    """

    owner: str
    contract: InputContract
    spatial_dims: int
    allow: Collection[str] = ()
    notes: list[str] = field(default_factory=list)

    def on(
        self, asked: Mapping[str, Any], keys: Mapping[str, str] | None = None, of: str = SETTINGS
    ) -> InputContract:
        """Return the contract with the values of `asked` that may differ; see `differences`.

        Raises:
            ConfigError: another value differs.
        """
        found = differences(self.contract, asked, keys or {})
        refused = [difference for difference in found if difference.name not in self.allow]
        if refused:
            raise ConfigError(self._refusal(refused, of))
        for note in (difference.note() for difference in found):
            if note not in self.notes:
                self.notes.append(note)
                log.warning(note)
        values = {difference.name: difference.asked for difference in found}
        intensity = self.contract.intensity
        if intensity is not None and intensity.kind in values:
            low, high = values.pop(intensity.kind)
            intensity = replace(intensity, low=float(low), high=float(high))
        return replace(self.contract, intensity=intensity, **values)

    def adopt(
        self, intensity: IntensityContract, offered: IntensityContract, spatial_dims: int
    ) -> IntensityContract:
        """Return the contract `intensity` for data whose contract is of the same kind and unit.

        Raises:
            ConfigError: the data are of another kind, or have other axes.
        """
        if spatial_dims != self.spatial_dims:
            raise ConfigError(
                f"the weights of {self.owner} are for {self.spatial_dims}D data, "
                f"these are {spatial_dims}D"
            )
        if (intensity.kind, intensity.unit) != (offered.kind, offered.unit):
            raise ConfigError(
                f"the weights of {self.owner} expect {intensity.kind} in {intensity.unit}, "
                f"these data have {offered.kind} in {offered.unit}; "
                f"{_way_to(intensity, offered)}"
            )
        return intensity

    def _refusal(self, refused: Collection[Difference], of: str) -> str:
        trained = " and ".join(f"{d.key}={_text(d.trained)}{d.unit}" for d in refused)
        asked = " and ".join(_text(d.asked) for d in refused)
        names = ",".join(dict.fromkeys([*self.allow, *(d.name for d in refused)]))
        keys = " and ".join(d.key for d in refused)
        way = f"drop {keys}" if of == SETTINGS else "choose other data"
        return (
            f"the weights of {self.owner} were trained with {trained}; {of} {asked}; "
            f"{way}, or add allow=[{names}] to use {asked}"
        )


def _way_to(wanted: IntensityContract, offered: IntensityContract) -> str:
    """Return what to type for data that are as the weights expect them."""
    if wanted.kind == offered.kind:
        return f"data.unit={wanted.unit} if their values are in {wanted.unit}, else other data"
    return f"type {KINDS[wanted.kind]} if these scans fit, else choose other data"


def _key(value: Any) -> Any:
    return tuple(map(float, value)) if isinstance(value, list | tuple) else value


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, list | tuple):
        return f"[{', '.join(f'{item:g}' for item in value)}]"
    return f"{value}"
