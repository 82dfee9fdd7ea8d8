"""Cases by the config that chose them: prepared into a store, or read as they are."""

from dataclasses import replace
from pathlib import Path

from vae3d.data.cases import Cases, LoadedCases
from vae3d.data.config import DATA, DataConfig, PreparableData, SourceData, StoreConfig
from vae3d.data.intensity import IntensityContract
from vae3d.data.prepare import Preparation, Progress
from vae3d.data.source import CaseSource
from vae3d.data.store import StoredCases, StoreSettings
from vae3d.errors import ConfigError
from vae3d.runtime.registry import load

STORES = "stores"
"""Where `data.store=auto` puts stores, below the working folder."""


def replaced_range(config: StoreConfig, own: IntensityContract) -> IntensityContract:
    """A store's own contract with what was given replaced.

    Raises:
        ConfigError: the store's is of the other kind.
    """
    for kind, values in (("window", config.window), ("percentiles", config.percentiles)):
        if values is None:
            continue
        if kind != own.kind:
            raise ConfigError(f"data.{kind} does not fit this store, whose range is {own.kind}")
        return replace(own, low=values[0], high=values[1])
    return own


def open_cases(config: DataConfig, progress: Progress, source: CaseSource | None = None) -> Cases:
    """The cases of a config, or of a given source; prepared first where that is asked for.

    Raises:
        UserError: they do not exist, or cannot be prepared.
    """
    if isinstance(config, StoreConfig):
        if config.root is None:
            raise ConfigError("data.root must name a store that vae3d prepare made")
        stored = StoredCases(Path(config.root).expanduser(), config)
        stored.contract = replaced_range(config, stored.contract)
        return stored
    source = source or build_source(config)
    assert isinstance(config, SourceData)
    if not isinstance(config, PreparableData) or config.store is None:
        return LoadedCases(source, config)
    folder, settings = store_of(config, source)
    Preparation(source, settings, folder, progress=progress).run()
    return StoredCases(folder, config, source.contract)


def build_source(config: DataConfig) -> CaseSource:
    """The cases that a config describes, as they lie there.

    Raises:
        UserError: they do not exist, or the config names none (`data=run` outside of eval).
    """
    if not isinstance(config, SourceData):
        raise ConfigError(
            f"data must be one of {', '.join(DATA)} here; data=run is for vae3d eval"
        )
    source: CaseSource = load(config.source)(config)
    return source


def store_of(config: PreparableData, source: CaseSource) -> tuple[Path, StoreSettings]:
    """Where the store of these data lies, and what it is made of."""
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
