"""`Layout`: how the axes of a volume become those of a network of images or of video."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from vae3d.autoencoder.config import AXES
from vae3d.errors import ConfigError
from vae3d.foreign.network import Network

WHOLE, SLICES, VIDEO = "whole", "slices", "video"


@dataclass(frozen=True)
class Layout:
    """How images (B, C, *spatial) go to a network.

    `way` is WHOLE (as they are), SLICES (each slice along `axis` is an image) or VIDEO (`axis` is
    the first of the spatial axes, the time).
    """

    way: str
    axis: int = 0

    @classmethod
    def of(cls, network: Network, axis: str | None, spatial_dims: int) -> "Layout":
        """Return how a network takes data of `spatial_dims` axes.

        Raises:
            ConfigError: it cannot, or an axis is chosen where there is no choice.
        """
        number = AXES.index(axis or AXES[0])
        if network.spatial_dims == 3 and spatial_dims == 2:
            raise ConfigError(
                f"{network.name} is for volumes, these data are images; choose other data"
            )
        if network.spatial_dims == 2 and spatial_dims == 3:
            return cls(SLICES, number)
        if network.frames:
            return cls(VIDEO, number)
        if axis is not None:
            why = "images have no depth" if spatial_dims == 2 else "it takes whole volumes"
            raise ConfigError(f"autoencoder.axis={axis} has no effect on {network.name}: {why}")
        return cls(WHOLE)

    def to_network(self, images: Tensor) -> Tensor:
        """Return images (B, C, *spatial) as the network takes them; slices are a batch."""
        if self.way == SLICES:
            return images.movedim(2 + self.axis, 1).flatten(0, 1)
        return images.movedim(2 + self.axis, 2)

    def from_network(self, images: Tensor, batch: int) -> Tensor:
        """Return what the network made of `batch` images, or of their latents, as images."""
        if self.way == SLICES:
            return images.reshape(batch, -1, *images.shape[1:]).movedim(1, 2 + self.axis)
        return images.movedim(2, 2 + self.axis)

    def inner(self, size: Sequence[int]) -> tuple[int, ...]:
        """Return the size of the network's images for images of a size."""
        rest = (*size[: self.axis], *size[self.axis + 1 :])
        return rest if self.way == SLICES else (size[self.axis], *rest)

    def outer(self, size: Sequence[int], along: int) -> tuple[int, ...]:
        """Return the size of images for that of the network's, with `along` slices."""
        first, rest = (along, size) if self.way == SLICES else (size[0], size[1:])
        return (*rest[: self.axis], first, *rest[self.axis :])
