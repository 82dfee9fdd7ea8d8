"""`LatentStatistics`: the scale of a model's latents, for those who train on them."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from vae3d.errors import ConfigError

NAMES = ("scaling_factor", "shift_factor", "latents_mean", "latents_std")
"""Diffusers' names, in files as here."""


@dataclass(frozen=True)
class LatentStatistics:
    """How the latents of a set become numbers around 0 of standard deviation 1.

    Under diffusers' names: (z - shift_factor) * scaling_factor, or for each channel on its own
    (z - latents_mean) / latents_std. Both are of samples of the posteriors. `cases` is how many
    the set had, None where that is not known.
    """

    scaling_factor: float
    shift_factor: float
    latents_mean: list[float]
    latents_std: list[float]
    cases: int | None = None

    def __post_init__(self) -> None:
        if len(self.latents_mean) != len(self.latents_std) or not self.latents_mean:
            raise ConfigError("latents_mean and latents_std must hold one number a channel each")
        figures = [self.shift_factor, *self.latents_mean]
        spreads = [self.scaling_factor, *self.latents_std]
        if not all(map(math.isfinite, [*figures, *spreads])) or min(spreads) < 0:
            raise ConfigError("latent statistics must be finite, and no deviation below 0")
        if self.scaling_factor == 0:
            raise ConfigError("scaling_factor must be above 0")
        if self.cases is not None and self.cases < 1:
            raise ConfigError(f"cases must be at least 1, got {self.cases}")

    @classmethod
    def of(cls, summary: dict[str, Any], cases: int) -> "LatentStatistics | None":
        """Those in what `LatentHealth.summary` tells of so many cases.

        None where a figure is no number: of a model that diverged, or of no case at all.
        """
        found: dict[str, Any] = {name: summary.get(name) for name in NAMES}
        channels = [*(found["latents_mean"] or []), *(found["latents_std"] or [])]
        figures = [found["scaling_factor"], found["shift_factor"], *channels]
        if not channels or any(f is None or not math.isfinite(f) for f in figures):
            return None
        return cls(**found, cases=cases)

    def describe(self) -> dict[str, Any]:
        """Plain values for a JSON file; what is not known is left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def normalised(self, latent: Tensor, way: str = "channels", axis: int | None = None) -> Tensor:
        """Latents (..., C, *spatial) as a diffusion model wants them, `channels` or `factor`.

        Raises:
            ConfigError: it has other channels, or they could be on either of the first two axes
                and `axis` does not say on which.
        """
        shift, scale = self._shift_and_scale(latent, way, axis)
        return (latent - shift) / scale

    def restored(self, latent: Tensor, way: str = "channels", axis: int | None = None) -> Tensor:
        """The inverse of `normalised`, for what a diffusion model made."""
        shift, scale = self._shift_and_scale(latent, way, axis)
        return latent * scale + shift

    def _shift_and_scale(
        self, latent: Tensor, way: str, axis: int | None
    ) -> tuple[Tensor, Tensor]:
        if way == "factor":
            return latent.new_tensor(self.shift_factor), latent.new_tensor(1 / self.scaling_factor)
        if way != "channels":
            raise ConfigError(f"normalise must be channels, factor or null, got {way!r}")
        wide = (-1, *(1,) * (latent.dim() - self._axis(latent, axis) - 1))
        mean = latent.new_tensor(self.latents_mean).reshape(wide)
        # A channel that says nothing is left without a scale.
        std = latent.new_tensor([s or 1.0 for s in self.latents_std]).reshape(wide)
        return mean, std

    def _axis(self, latent: Tensor, axis: int | None) -> int:
        """Where the channels are: on the second axis of a batch, on the first of one latent."""
        channels = len(self.latents_mean)
        # Five axes are a batch in three dimensions, three one latent in two.
        places = (
            {3: (0,), 5: (1,)}.get(latent.dim(), (0, 1))
            if axis is None
            else (axis % latent.dim(),)
        )
        fitting = [a for a in places if latent.shape[a : a + 1] == (channels,)]
        if not fitting:
            raise ConfigError(
                f"latents of shape {tuple(latent.shape)} have not the statistics' "
                f"{channels} channels"
            )
        if len(fitting) > 1 and channels > 1:
            raise ConfigError(
                f"the {channels} channels of latents of shape {tuple(latent.shape)} may be on "
                "either axis; say axis=0 for one latent, axis=1 for a batch"
            )
        return fitting[0]
