"""`LatentStatistics`: the scale of a model's latents, for training on them."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from vae3d.errors import ConfigError
from vae3d.runtime.messages import counted

NAMES = ("scaling_factor", "shift_factor", "latents_mean", "latents_std")
"""The names of the diffusers library, in files as in Python."""


@dataclass(frozen=True)
class LatentStatistics:
    """The statistics that normalise latents to mean 0 and standard deviation 1.

    Under diffusers' names: (z - shift_factor) * scaling_factor, or per channel
    (z - latents_mean) / latents_std. Both are statistics of samples of the posteriors. `cases` is
    the number of cases that were measured, None if it is not known.
    """

    scaling_factor: float
    shift_factor: float
    latents_mean: list[float]
    latents_std: list[float]
    cases: int | None = None

    def __post_init__(self) -> None:
        if len(self.latents_mean) != len(self.latents_std) or not self.latents_mean:
            raise ConfigError("latents_mean and latents_std must hold one number a channel each")
        means = [self.shift_factor, *self.latents_mean]
        spreads = [self.scaling_factor, *self.latents_std]
        if not all(map(math.isfinite, [*means, *spreads])) or min(spreads) < 0:
            raise ConfigError("latent statistics must be finite, and no deviation below 0")
        if self.scaling_factor == 0:
            raise ConfigError("scaling_factor must be above 0")
        if self.cases is not None and self.cases < 1:
            raise ConfigError(f"cases must be at least 1, got {self.cases}")

    @property
    def text(self) -> str:
        """The factors for all channels, and whose latents were measured."""
        return (
            f"shift_factor {self.shift_factor:.6g}, scaling_factor {self.scaling_factor:.6g}, "
            f"from {self.measured_on}"
        )

    @property
    def measured_on(self) -> str:
        """The cases whose latents were measured, of statistics that are saved with weights."""
        if self.cases is None:
            return "cases that are not recorded"
        return f"{counted(self.cases, 'validation case')} of the training"

    @classmethod
    def of(cls, summary: dict[str, Any], cases: int) -> "LatentStatistics | None":
        """Return the statistics in `LatentHealth.summary` of this number of cases.

        None if a value is missing or not finite: the model diverged, or there was no case.
        """
        values: dict[str, Any] = {name: summary.get(name) for name in NAMES}
        channels = [*(values["latents_mean"] or []), *(values["latents_std"] or [])]
        numbers = [values["scaling_factor"], values["shift_factor"], *channels]
        if not channels or any(n is None or not math.isfinite(n) for n in numbers):
            return None
        return cls(**values, cases=cases)

    def describe(self) -> dict[str, Any]:
        """Return plain values for a JSON file, without those that are None."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def normalised(self, latent: Tensor, way: str = "channels", axis: int | None = None) -> Tensor:
        """Return latents (..., C, *spatial) normalised, as diffusion models expect them.

        `way` is `channels` (each channel by its own mean and deviation) or `factor` (all by
        shift_factor and scaling_factor).

        Raises:
            ConfigError: the number of channels differs, or either of the first two axes may hold
                them and `axis` is not given.
        """
        shift, scale = self._shift_and_scale(latent, way, axis)
        return (latent - shift) / scale

    def restored(self, latent: Tensor, way: str = "channels", axis: int | None = None) -> Tensor:
        """Return the inverse of `normalised`, for the output of a diffusion model."""
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
        # A constant channel is not scaled: its deviation is 0.
        std = latent.new_tensor([s or 1.0 for s in self.latents_std]).reshape(wide)
        return mean, std

    def _axis(self, latent: Tensor, axis: int | None) -> int:
        """Return the axis of the channels: the second of a batch, the first of one latent."""
        channels = len(self.latents_mean)
        # Five axes are a batch of 3D latents, three axes one 2D latent; four may be either.
        candidates = (
            {3: (0,), 5: (1,)}.get(latent.dim(), (0, 1))
            if axis is None
            else (axis % latent.dim(),)
        )
        fitting = [a for a in candidates if latent.shape[a : a + 1] == (channels,)]
        if not fitting:
            raise ConfigError(
                f"latents of shape {tuple(latent.shape)} do not have the statistics' "
                f"{channels} channels"
            )
        if len(fitting) > 1 and channels > 1:
            raise ConfigError(
                f"the {channels} channels of latents of shape {tuple(latent.shape)} may be on "
                "either of the first two axes; pass axis=0 for one latent, axis=1 for a batch"
            )
        return fitting[0]
