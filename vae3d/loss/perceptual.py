"""`PerceptualLoss`: the distance of an image from its reconstruction, in features of a network."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vae3d.errors import ConfigError, RunError
from vae3d.features.distance import feature_distance
from vae3d.features.extractor import FeatureExtractor
from vae3d.features.opening import open_extractor
from vae3d.features.slices import drawn_slices, plane_size, planes
from vae3d.loss.config import LossConfig


class PerceptualLoss:
    """The distance of features of volumes, or of a share of the `slices` of their three planes.

    The sum over the planes of the mean over slices, as in MONAI's PerceptualLoss ("fake 3D"). What
    is smaller than the network takes is left out. `extractor` is no part of the model that is
    trained: its weights are in no checkpoint, average or exchange of gradients.
    """

    def __init__(self, extractor: FeatureExtractor, slices: float = 1.0) -> None:
        self.extractor = extractor
        self.slices = slices

    def __call__(self, reconstruction: Tensor, image: Tensor, seeds: Sequence[int]) -> Tensor:
        """Return the distance of each case, (B,), for images (B, C, *spatial) in [-1, 1].

        Slices are drawn from the case's own seed.
        """
        size = tuple(image.shape[2:])
        if len(size) == self.extractor.spatial_dims:
            if self.extractor.takes(size):
                return feature_distance(self.extractor, reconstruction, image)
            return image.new_zeros(len(image))
        total = image.new_zeros(len(image))
        for axis in self.axes(size):
            length = image.shape[axis]
            chosen = [drawn_slices(seed, axis, length, self.slices) for seed in seeds]
            pair = (planes(volumes, axis, chosen) for volumes in (reconstruction, image))
            distances = feature_distance(self.extractor, *pair)
            total = total + distances.reshape(len(image), -1).mean(dim=1)
        return total

    def axes(self, size: Sequence[int]) -> list[int]:
        """Return the axes, 2 to 4, whose slices are large enough in volumes of this size."""
        axes = range(2, 2 + len(size))
        return [axis for axis in axes if self.extractor.takes(plane_size(size, axis))]

    def check(self, spatial_dims: int, channels: int, size: Sequence[int] | None) -> None:
        """Refuse data and patches of which the network sees nothing.

        `size` is that of a patch, None for whole volumes.

        Raises:
            ConfigError: they have other axes or channels, or are too small.
        """
        extractor = self.extractor
        extractor.check(spatial_dims, channels)
        if size is None:
            return
        whole = len(size) == extractor.spatial_dims
        if not (extractor.takes(size) if whole else self.axes(size)):
            least = " x ".join([str(extractor.input.least)] * extractor.spatial_dims)
            raise ConfigError(
                f"loss.perceptual.features={extractor.name.path}: {extractor.name.network} takes "
                f"images of {least} voxels or more; patching.size={[*size]} has none"
            )

    def __str__(self) -> str:
        """Return in words what is compared."""
        extractor = self.extractor
        layers = ", ".join(extractor.compared)
        return f"{extractor.name.network} ({layers})"


def build_perceptual(
    loss: LossConfig, device: torch.device | None = None, *, empty: bool = False
) -> PerceptualLoss | None:
    """Return the perceptual term of these settings, on a device; None if they have none.

    An `empty` one has no values; only the description of the features is read.

    Raises:
        UserError: the features are missing, damaged, or do not fit the settings.
    """
    spec = loss.perceptual
    spec.check_given()
    if spec.features is None or spec.weight == 0:
        if "perceptual.weight" in loss.typed and spec.weight > 0:
            raise ConfigError(
                "loss.perceptual.weight has an effect only with loss.perceptual.features=FOLDER"
            )
        return None
    try:
        extractor = open_extractor(spec.features, spec.layers, spec.range, empty=empty)
    except (ConfigError, RunError) as error:
        raise type(error)(f"loss.perceptual.features={error}") from error
    # A module without values cannot be moved, not even to where it is.
    return PerceptualLoss(extractor if device is None else extractor.to(device), spec.slices)
