"""Open the cases or the source that a config selects."""

import logging
from collections.abc import Callable

from vae3d.data.cases import Cases
from vae3d.data.config import DATA, CaseData, DataConfig
from vae3d.errors import ConfigError
from vae3d.lists.left_out import summary
from vae3d.runtime.progress import Progress
from vae3d.runtime.registry import load
from vae3d.scans.source import CaseSource
from vae3d.values.intensity import IntensityContract
from vae3d.values.value_check import check_percentiles

log = logging.getLogger(__name__)

Adopt = Callable[[IntensityContract, int], IntensityContract]
"""Called with the data's own contract and number of spatial axes; returns the contract to use."""


def keep(contract: IntensityContract, spatial_dims: int) -> IntensityContract:
    """Return the data's own contract."""
    return contract


def open_cases(
    config: DataConfig,
    progress: Progress,
    source: CaseSource | None = None,
    adopt: Adopt = keep,
) -> Cases:
    """Open the cases of a config or of `source`; write them to a store first if it asks for one.

    `adopt` is called before anything is prepared.

    Raises:
        UserError: the cases do not exist, cannot be prepared, or `adopt` refuses them.
    """
    _check(config.opener)
    if adopt is keep and isinstance(config, CaseData):
        check_percentiles(getattr(config, "percentiles", None), config.check)
    cases: Cases = load(config.opener)(config, progress, source, adopt)
    return cases


def build_source(config: DataConfig) -> CaseSource:
    """Return the source of the cases that a config describes.

    Raises:
        UserError: the cases do not exist, or the config names none (`data=run` outside of eval).
    """
    _check(config.source)
    source: CaseSource = load(config.source)(config)
    if source.hint:
        log.info(source.hint)
    if source.left_out:
        log.warning(summary(source.left_out))
    return source


def _check(place: str) -> None:
    if not place:
        raise ConfigError(
            f"data must be one of {', '.join(DATA)} here; data=run is for vae3d eval"
        )
