"""Cases by the config that chose them: prepared into a store, or read as they are."""

from dataclasses import dataclass, replace
from pathlib import Path

from vae3d.data.cases import Cases, LoadedCases
from vae3d.data.custom import CustomConfig, DatasetSource, import_dataset
from vae3d.data.intensity import IntensityContract
from vae3d.data.phantoms import PhantomSource, SyntheticConfig
from vae3d.data.prepare import Preparation, Progress
from vae3d.data.scans import (
    CTConfig,
    Images2DConfig,
    MRIConfig,
    ScansConfig,
    ScanSource,
    pair,
)
from vae3d.data.source import CaseData, CaseSource, DataConfig, PreparableData, SourceData
from vae3d.data.store import StoredCases, StoreSettings
from vae3d.errors import ConfigError

STORES = "stores"
"""Where `data.store=auto` puts stores, below the working folder."""


@dataclass
class StoreConfig(CaseData):
    """A store that was prepared before, opened without looking at its sources.

    `window` or `percentiles` [low, high] replace those it was prepared with.
    """

    root: str | None = None
    window: tuple[float, ...] | None = None
    percentiles: tuple[float, ...] | None = None

    def contract(self, own: IntensityContract) -> IntensityContract:
        """The store's own contract with what was given replaced.

        Raises:
            ConfigError: the store's is of the other kind.
        """
        for kind, values in (("window", self.window), ("percentiles", self.percentiles)):
            if values is None:
                continue
            if kind != own.kind:
                raise ConfigError(
                    f"data.{kind} does not fit this store, whose range is {own.kind}"
                )
            low, high = pair(values, f"data.{kind}")
            return replace(own, low=low, high=high)
        return own


DATA: dict[str, type[DataConfig]] = {
    "synthetic": SyntheticConfig,
    "ct": CTConfig,
    "mri": MRIConfig,
    "images_2d": Images2DConfig,
    "store": StoreConfig,
    "custom": CustomConfig,
}
"""The options of the group `data` that name cases of their own."""


def open_cases(config: DataConfig, progress: Progress, source: CaseSource | None = None) -> Cases:
    """The cases of a config, or of a given source; prepared first where that is asked for.

    Raises:
        UserError: they do not exist, or cannot be prepared.
    """
    if isinstance(config, StoreConfig):
        if config.root is None:
            raise ConfigError("data.root must name a store that vae3d prepare made")
        stored = StoredCases(Path(config.root).expanduser(), config)
        stored.contract = config.contract(stored.contract)
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
    if isinstance(config, SyntheticConfig):
        return PhantomSource(config)
    if isinstance(config, ScansConfig):
        return ScanSource(config)
    if isinstance(config, CustomConfig):
        return DatasetSource(import_dataset(config), tuple(config.window))
    raise ConfigError(f"data must be one of {', '.join(DATA)} here; data=run is for vae3d eval")


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
