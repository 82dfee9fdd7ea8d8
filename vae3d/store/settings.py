"""`StoreSettings`: what a store is a copy of."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from vae3d.errors import DataError

CATALOG, SETTINGS = "catalog.sqlite", "store.json"


@dataclass(frozen=True)
class StoreSettings:
    """What a store is a copy of, and how it was made; `contract` is only a default for readers.

    `source` names the scans: kind, root, list, channel, spacing.
    """

    source: dict[str, Any]
    nonfinite: str
    codec: str
    spatial_dims: int
    contract: dict[str, Any]
    format: int = 1

    @classmethod
    def read(cls, folder: Path) -> "StoreSettings":
        """Those of a store.

        Raises:
            DataError: there is none, or a newer one.
        """
        path = folder / SETTINGS
        try:
            found = cls(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise DataError(f"{folder}: no store here ({SETTINGS} is missing)") from None
        except (OSError, TypeError, ValueError) as error:
            raise DataError(f"{path}: damaged ({error}); prepare anew") from error
        if found.format != cls.format:
            raise DataError(f"{path}: format {found.format} is not {cls.format}; prepare anew")
        return found

    def identity(self) -> dict[str, Any]:
        """What two stores of the same voxels share, as plain values."""
        values = asdict(self)
        del values["contract"]
        return cast("dict[str, Any]", json.loads(json.dumps(values)))

    def fingerprint(self) -> str:
        """Ten letters that change with the identity."""
        told = json.dumps(self.identity(), sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:10]
