"""`PatchAggregator`: patches become a volume again by weighted overlap-add."""

import math

import torch
from torch import Tensor

from vae3d.errors import ConfigError
from vae3d.patching.region import Region


def uniform(size: int) -> Tensor:
    """Every voxel of a patch counts the same."""
    return torch.ones(size)


def hann(size: int) -> Tensor:
    """A Hann window of size + 2 without its two zeros, so that a lone border voxel counts."""
    return torch.sin(math.pi * torch.arange(1, size + 1) / (size + 1)) ** 2


def gaussian(size: int) -> Tensor:
    """A Gaussian of sigma = size / 8 (nnU-Net's), floored so that the corners stay in range."""
    offset = torch.arange(size) - (size - 1) / 2
    return torch.exp(-0.5 * (offset / (size / 8)) ** 2).clamp(min=1e-3)


BLENDS = {"uniform": uniform, "hann": hann, "gaussian": gaussian}


class PatchAggregator:
    """The weighted mean of patches (C, *size) on a volume (C, *shape), in float32.

    The mean is kept up to date patch by patch (West 1979, doi:10.1145/359146.359153) instead of
    dividing sums in the end: patches that agree leave it as it is, so that stitching an image's
    own patches gives the image back to the last bit, for any blend and overlap.
    """

    def __init__(
        self,
        channels: int,
        shape: tuple[int, ...],
        blend: str = "hann",
        device: torch.device | str = "cpu",
    ) -> None:
        if blend not in BLENDS:
            raise ConfigError(
                f"evaluation.blend must be one of {', '.join(BLENDS)}, got {blend!r}"
            )
        self.shape = shape
        self.blend = blend
        self.mean = torch.zeros(channels, *shape, device=device)
        self.weight = torch.zeros(shape, device=device)
        self._windows: dict[tuple[int, ...], Tensor] = {}

    def add(self, patch: Tensor, region: Region) -> None:
        """Adds a patch (C, *region.size); what reaches past the volume is dropped."""
        inside = Region((0,) * len(self.shape), region.inside(self.shape)).slices
        window = self._window(region.size)[inside]
        mean, weight = self.mean[region.slices], self.weight[region.slices]
        weight += window
        mean += (patch[inside].float() - mean) * (window / weight)

    def volume(self) -> Tensor:
        """The stitched volume (C, *shape).

        Raises:
            RuntimeError: some voxel was covered by no patch.
        """
        if not bool((self.weight > 0).all()):
            raise RuntimeError("patches do not cover the volume")
        return self.mean

    def _window(self, size: tuple[int, ...]) -> Tensor:
        if size not in self._windows:
            window = torch.ones(())
            for length in size:
                window = window[..., None] * BLENDS[self.blend](length)
            self._windows[size] = window.to(self.mean.device)
        return self._windows[size]
