"""Rules that settings of the latent and of the two ends of a network must keep together."""

import math
from collections.abc import Sequence

from vae3d.errors import ConfigError

QUANTIZED_CHANNELS = 64
"""Most channels of a quantized latent."""
MAX_LEVELS = 256
"""Most levels of a channel of a quantized latent."""
MAX_CODEBOOK = 2**62
"""Most entries of a codebook: indices are 64-bit integers."""


def is_codebook(levels: Sequence[int]) -> bool:
    """Return whether these are the levels of each channel of a codebook."""
    if not 0 < len(levels) <= QUANTIZED_CHANNELS or math.prod(levels) > MAX_CODEBOOK:
        return False
    return all(2 <= n <= MAX_LEVELS for n in levels)


def check_codebook(levels: Sequence[int], channels: int) -> None:
    """Raise a ConfigError if the levels of a latent of this many channels make no codebook."""
    if len(levels) not in (1, channels):
        raise ConfigError(
            f"model.fsq_levels needs 1 or {channels} numbers (model.latent_channels), "
            f"got {[*levels]}"
        )
    if not is_codebook([*levels] * (channels if len(levels) == 1 else 1)):
        raise ConfigError(
            f"model.variance=fsq takes a codebook of at most 2^62 entries and "
            f"{QUANTIZED_CHANNELS} channels; lower model.latent_channels ({channels}) or "
            f"model.fsq_levels ({[*levels]})"
        )


def check_folding(folding: str, patch: Sequence[int]) -> None:
    """Raise a ConfigError if a wavelet does not fit the sides of the blocks."""
    if folding != "blocks" and not {*patch} <= {1, 2}:
        raise ConfigError(
            f"model.folding={folding} needs a model.patch of 1 or 2 along each axis, "
            f"got {[*patch]}; a level with a stride does the rest"
        )
    if folding != "blocks" and max(patch) == 1:
        raise ConfigError(
            f"model.folding={folding} folds nothing with model.patch=1; type model.patch=2, or "
            "model.folding=blocks"
        )


def check_overlap(folding: str, patch: Sequence[int], kernel: int) -> None:
    """Raise a ConfigError if the cells of a head cannot overlap."""
    for needed, holds, value in (
        ("model.head_kernel=3", kernel == 3, kernel),
        ("model.folding=blocks", folding == "blocks", folding),
        ("a model.patch above 1", max(patch) > 1, [*patch]),
    ):
        if not holds:
            raise ConfigError(f"model.head_overlap=true needs {needed}, got {value}")
