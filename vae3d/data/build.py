"""Data sources by the config that chose them."""

from vae3d.data.custom import CustomConfig, DatasetSource, import_dataset
from vae3d.data.phantoms import PhantomSource, SyntheticConfig
from vae3d.data.scans import CTConfig, Images2DConfig, MRIConfig, ScansConfig, ScanSource
from vae3d.data.source import CaseSource, DataConfig
from vae3d.errors import ConfigError

DATA: dict[str, type[DataConfig]] = {
    "synthetic": SyntheticConfig,
    "ct": CTConfig,
    "mri": MRIConfig,
    "images_2d": Images2DConfig,
    "custom": CustomConfig,
}
"""The options of the group `data` that name cases of their own."""


def build_source(config: DataConfig) -> CaseSource:
    """The cases that a config describes.

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
