"""`open_prepared`: copy cases into a store, then open the store."""

from pathlib import Path

from vae3d.data.build import Adopt, build_source
from vae3d.data.config import PreparableData
from vae3d.data.stored import StoredCases
from vae3d.runtime.progress import Progress
from vae3d.scans.source import CaseSource
from vae3d.store.prepare import Preparation
from vae3d.store.settings import StoreSettings

STORES = "stores"
"""Folder of the stores of `data.store=auto`, in the working directory."""


def open_prepared(
    config: PreparableData, progress: Progress, source: CaseSource | None, adopt: Adopt
) -> StoredCases:
    """Bring the store of these data up to date, and open it.

    Raises:
        UserError: the data do not exist, or cannot be prepared.
    """
    source = source or build_source(config)
    contract = adopt(source.contract, source.spatial_dims)
    folder, settings = resolve_store(config, source)
    Preparation(source, settings, folder, progress=progress).run()
    return StoredCases(folder, config, contract)


def resolve_store(config: PreparableData, source: CaseSource) -> tuple[Path, StoreSettings]:
    """Return the folder and the settings of the store of these data."""
    settings = StoreSettings(
        source=config.identity(),
        nonfinite=config.nonfinite,
        codec=config.codec,
        spatial_dims=source.spatial_dims,
        contract=source.contract.describe(),
    )
    if config.store in (None, "auto"):
        return Path(STORES) / f"{config.label}-{settings.fingerprint()}", settings
    return Path(str(config.store)).expanduser(), settings
