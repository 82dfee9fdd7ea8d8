"""`PatchRunner`: reconstruction patch by patch."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch import Generator, Tensor

from vae3d.autoencoder.vae import CustomVAE
from vae3d.inference.config import InferenceConfig
from vae3d.inference.runner import MEMORY_KEY, ModelRunner, OnPosterior, ignore
from vae3d.model.gaussian import DiagonalGaussian
from vae3d.model.sizes import cropped, pad_to_multiple
from vae3d.model.vae import eval_mode
from vae3d.patching.blending import PatchAggregator
from vae3d.patching.region import Region
from vae3d.patching.samplers import GridPatches, patch_size
from vae3d.runtime.precision import Precision
from vae3d.runtime.threads import lanes, map_concurrently


class PatchRunner(ModelRunner):
    """A runner that reconstructs overlapping patches of an image and blends them.

    Raises:
        ConfigError: a size of patches that does not fit the model's axes.
    """

    has_seams = True

    def __init__(
        self,
        model: CustomVAE,
        device: torch.device,
        precision: Precision,
        config: InferenceConfig,
    ) -> None:
        super().__init__(model, device, precision, config.memory, MEMORY_KEY)
        self.config = config
        size = patch_size(
            config.size or (64,), model.spatial_dims, key="evaluation.inference.size"
        )
        # A patch that starts off the latent grid would be shifted against its neighbours.
        self.size = round_up(size, model.factor)

    @property
    def protocol(self) -> dict[str, Any]:
        """Mode, size, overlap and blend of the patches."""
        return {
            "mode": "patch",
            "patch_size": [*self.size],
            "overlap": self.config.overlap,
            "blend": self.config.blend,
        }

    @torch.no_grad()
    def reconstruct(
        self,
        image: Tensor,
        generator: Generator | None = None,
        on_posterior: OnPosterior = ignore,
    ) -> Tensor:
        """Return the reconstruction as `ModelRunner` does.

        `on_posterior` is called with the posterior of each batch of patches.
        """
        noise = self._noise(image, generator)
        padded = pad_to_multiple(image[None].float(), self.model.factor)[0]
        shape = tuple(padded.shape[1:])
        grid = self._regions(shape)
        aggregator = PatchAggregator(grid, padded.shape[0], shape, self.config.blend)

        def forward(regions: list[Region]) -> tuple[list[Region], DiagonalGaussian, Tensor]:
            images = torch.stack([region.cut(padded) for region in regions])
            latents = [region.divided(self.model.factor) for region in regions]
            cut = None if noise is None else torch.stack([at.cut(noise) for at in latents])
            return regions, *self._forward(images, cut)

        # On a CPU, lanes compute parts of a batch concurrently.
        count = lanes(self.config.batch_size) if self.device.type == "cpu" else 1
        parts = chunks(grid, self.config.batch_size // count)
        with eval_mode(self.model):
            for regions, posterior, patches in map_concurrently(forward, parts, count):
                on_posterior(posterior)
                for region, patch in zip(regions, patches, strict=True):
                    aggregator.add(patch, region)
        return cropped(aggregator.volume()[None], image.shape[1:])[0].clamp_(-1, 1)

    def borders(self, shape: tuple[int, ...]) -> list[list[int]]:
        """Return, for each axis, where a patch begins or ends inside of an image."""
        ends = [set[int]() for _ in shape]
        for region in self._regions(round_up(shape, self.model.factor)):
            for at, corner, size in zip(ends, region.corner, region.size, strict=True):
                at |= {corner, corner + size}
        return [sorted(i for i in at if 0 < i < n) for at, n in zip(ends, shape, strict=True)]

    def _regions(self, shape: tuple[int, ...]) -> list[Region]:
        """Return the boxes of the patches of an image of this shape."""
        size = tuple(min(s, n) for s, n in zip(self.size, shape, strict=True))
        return GridPatches(size, self.config.overlap).regions(shape, self.model.factor)

    def _forward(self, images: Tensor, noise: Tensor | None) -> tuple[DiagonalGaussian, Tensor]:
        """Return the posterior of (B, C, *spatial) and its reconstruction, on the CPU."""
        with self.precision.autocast(self.device):
            posterior = self.model.encode(images)
            latent = posterior.mode()
            if noise is not None:
                latent = posterior.at(noise.to(self.device))
            return posterior, self.model.decode(latent).cpu()


def round_up(size: tuple[int, ...], factor: tuple[int, ...]) -> tuple[int, ...]:
    """Return the smallest multiples of `factor` that are no smaller than `size`."""
    return tuple(-(-s // f) * f for s, f in zip(size, factor, strict=True))


def chunks(regions: list[Region], count: int) -> Iterator[list[Region]]:
    """Yield lists of `count` regions, the last one shorter."""
    rest = iter(regions)
    while chunk := list(islice(rest, count)):
        yield chunk
