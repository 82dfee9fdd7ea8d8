"""`FeatureExtractor`: a frozen network, the input that it expects, and its compared layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from vae3d.errors import ConfigError
from vae3d.features.networks import FeatureNetwork, HasFeatures

LEAST_DEVIATION = 1e-3
"""The least deviation, of values in [-1, 1], that is brought to 1: a patch of air has none."""
ONE_BY_ONE = (1, 3)
"""Channels of a network that sees any other number of channels one by one, each as grey."""


@dataclass(frozen=True)
class Name:
    """What the features are of: the `path` that a user named, the network in words, a digest.

    `digest` is the SHA-256 of the tensors; it is empty if they were not read.
    """

    path: str
    network: str
    digest: str = ""


@dataclass(frozen=True)
class Input:
    """What a network takes: `channels`, at least `least` voxels along each axis, and values.

    Images in [-1, 1] are brought to `range`, or each to mean 0 and deviation 1 over all its values
    where that is None. Then `mean` is subtracted and the result divided by `std`, numbers for each
    channel; empty ones leave it as it is. `reverses` channels in the order RGB.
    """

    channels: int
    least: int = 1
    range: tuple[float, float] | None = (-1.0, 1.0)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    reverses: bool = False

    @classmethod
    def of(cls, network: FeatureNetwork, values: tuple[float, float] | None) -> "Input":
        """Return the input of a public network; `values` replaces its range."""
        return cls(
            max(1, len(network.mean)),
            network.least,
            network.range and (values or network.range),
            network.mean,
            network.std,
            network.order == "BGR",
        )

    def __call__(self, images: Tensor) -> Tensor:
        """Return the network's input (B * passes, channels, *spatial) for (B, C, *spatial)."""
        images = self._scaled(images)
        if images.shape[1] == self.channels:
            images = images.flip(1) if self.reverses else images
        else:
            images = images.reshape(-1, 1, *images.shape[2:])
            images = images.expand(-1, self.channels, *images.shape[2:])
        if not self.mean:
            return images
        sides = (-1, *(1,) * (images.dim() - 2))
        mean, std = (images.new_tensor(v).reshape(sides) for v in (self.mean, self.std))
        return (images - mean) / std

    def _scaled(self, images: Tensor) -> Tensor:
        if self.range is None:
            return standardised(images)
        low, high = self.range
        return images if self.range == (-1.0, 1.0) else low + (images + 1) * ((high - low) / 2)


class FeatureExtractor(nn.Module):
    """A frozen network that returns the features of images at some of its layers.

    It stays in eval mode and writes nothing, so that several threads may call it. `layers` are
    those of the network from the image on with their channels, `compared` the names of those that
    it returns; the head of a layer has a weight for each of its channels, from LPIPS or ones.

    The channels of an image pass one by one where the network takes others, if it takes 1 or 3.
    All their features are then compared as those of one image.
    """

    def __init__(
        self,
        name: Name,
        network: nn.Module,
        spatial_dims: int,
        given: Input,
        layers: Sequence[tuple[str, int]],
        compared: Sequence[str],
    ) -> None:
        super().__init__()
        self.name = name
        self.network = network
        self.spatial_dims = spatial_dims
        self.input = given
        names = [layer for layer, _ in layers]
        if unknown := {*compared} - {*names}:
            raise ConfigError(
                f"{name.path}: {name.network} has no layer {min(unknown)!r:.60}; choose from "
                f"{', '.join(names)}"
            )
        self.compared = tuple(layer for layer in names if layer in compared)
        self.names = names[: names.index(self.compared[-1]) + 1]
        for layer, channels in layers:
            if layer in compared:
                self.register_buffer(f"head_{layer}", torch.ones(channels))
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "FeatureExtractor":
        """Stay in eval mode."""
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the features (B, channels, *spatial) of each compared layer, in their order.

        `images` are (B, C, *spatial) in [-1, 1]. Nothing behind the last layer is computed.
        """
        outputs = cast("HasFeatures", self.network).outputs(self.input(images))
        # The names come first, so that the layer behind the last one is not asked for.
        pairs = zip(self.names, outputs, strict=False)
        return [
            features.reshape(len(images), -1, *features.shape[2:])
            for name, features in pairs
            if name in self.compared
        ]

    def heads(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the weights of the channels of features, (channels,) for each compared layer."""
        found = []
        for layer, of_layer in zip(self.compared, features, strict=True):
            weights: Tensor = self.get_buffer(f"head_{layer}")
            found.append(weights.repeat(of_layer.shape[1] // len(weights)))
        return found

    def takes(self, size: Sequence[int]) -> bool:
        """Return whether an image of this size (*spatial) is large enough."""
        return all(side >= self.input.least for side in size)

    def check(self, spatial_dims: int, channels: int) -> None:
        """Raise a ConfigError if images of these axes and channels cannot pass."""
        if self.spatial_dims > spatial_dims:
            raise ConfigError(
                f"{self.name.path}: {self.name.network} takes volumes, these data are "
                f"{spatial_dims}D"
            )
        own = self.input.channels
        if channels != own and own not in ONE_BY_ONE:
            raise ConfigError(
                f"{self.name.path}: {self.name.network} takes images of {own} channels, these "
                f"data have {channels}"
            )

    @property
    def nbytes(self) -> int:
        """The bytes of its tensors."""
        return sum(value.nbytes for value in self.state_dict().values())


def standardised(images: Tensor) -> Tensor:
    """Return images (B, C, *spatial), each with mean 0 and deviation 1 over all its values.

    As MONAI does for MedicalNet. An image and its reconstruction are brought there independently:
    what differs in brightness and contrast alone has no distance.
    """
    axes = tuple(range(1, images.dim()))
    mean = images.mean(axes, keepdim=True)
    # Limited before the root, whose derivative at 0 is infinite.
    variance = images.var(axes, keepdim=True).clamp(min=LEAST_DEVIATION**2)
    return (images - mean) / variance.sqrt()
