"""`StoreSettings`: the sources and settings of a store."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from vae3d.errors import ConfigError, DataError
from vae3d.files.checksums import warn_if_changed
from vae3d.files.links import check_inside
from vae3d.files.plain import from_plain, read_json
from vae3d.values.intensity import IntensityContract

CATALOG, SETTINGS = "catalog.sqlite", "store.json"


SOURCE: dict[str, Any] = {
    "kind": str | None,
    "spacing": list[float] | None,
    "channel": int | None,
    "reader": int | None,
    "resampling": str | bool | None,
}
"""Types of the entries of `source` that readers of a store use."""


@dataclass(frozen=True)
class StoreSettings:
    """The sources of a store and the settings with which it was prepared.

    `source` names the scans: kind, root, list, channel, spacing. `contract` is the default
    intensity contract for readers, who may replace it.
    """

    source: dict[str, Any]
    nonfinite: str
    codec: str
    spatial_dims: int
    contract: dict[str, Any]
    format: int = 1

    @classmethod
    def read(cls, folder: Path) -> "StoreSettings":
        """Read the settings of a store.

        Raises:
            DataError: no store, a damaged one, or one of another format.
        """
        path = check_inside(folder, folder / SETTINGS)
        warn_if_changed(path)
        try:
            settings: StoreSettings = from_plain(cls, read_json(path))
        except FileNotFoundError:
            raise DataError(f"{folder}: no store here ({SETTINGS} is missing)") from None
        except (ConfigError, TypeError) as error:
            raise DataError(f"{path}: damaged ({error}); prepare the store again") from error
        if settings.format != cls.format:
            reason = f"format {settings.format} is not {cls.format}; prepare the store again"
            raise DataError(f"{path}: {reason}")
        return settings

    def __post_init__(self) -> None:
        if self.spatial_dims not in (2, 3):
            raise ConfigError(f"spatial_dims must be 2 or 3, got {self.spatial_dims}")
        from_plain(IntensityContract, self.contract, "contract")
        for key, kind in SOURCE.items():
            from_plain(kind, self.source.get(key), f"source.{key}")

    def identity(self) -> dict[str, Any]:
        """Return the settings on which the stored voxels depend, as plain values."""
        values = asdict(self)
        del values["contract"]
        return cast("dict[str, Any]", json.loads(json.dumps(values)))

    def fingerprint(self) -> str:
        """Return ten hexadecimal digits that change with the identity."""
        text = json.dumps(self.identity(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]
