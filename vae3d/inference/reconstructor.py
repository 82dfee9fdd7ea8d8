"""`Reconstructor`: a volume through encoder and decoder."""

import math
from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Generator, Tensor

from vae3d.errors import ConfigError
from vae3d.inference.config import MODES, InferenceConfig
from vae3d.model.gaussian import DiagonalGaussian, draw_noise
from vae3d.model.sizes import cropped, pad_to_multiple
from vae3d.model.streaming.plan import StreamingPlan
from vae3d.model.streaming.volume import stream_decode, stream_encode
from vae3d.model.vae import CustomVAE
from vae3d.patching.blending import PatchAggregator
from vae3d.patching.region import Region
from vae3d.patching.samplers import GridPatches, patch_size
from vae3d.runtime.memory import planned_memory
from vae3d.runtime.precision import Precision
from vae3d.runtime.threads import lanes, side_by_side


class Reconstructor:
    """Encodes and decodes volumes of any size, `full` (as if at once) or by `patch`.

    `on_posterior` hears of every posterior on its way to the decoder.

    Raises:
        ConfigError: an unknown mode, or a size of patches that does not fit the model's axes.
    """

    def __init__(
        self, model: CustomVAE, mode: str, config: InferenceConfig, precision: Precision
    ) -> None:
        if mode not in MODES:
            raise ConfigError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
        self.model = model
        self.mode = mode
        self.config = config
        self.precision = precision
        size = patch_size(
            config.size or (64,), model.spatial_dims, key="evaluation.inference.size"
        )
        # A patch that starts off the latent grid would be shifted against its neighbours.
        self.size = round_up(size, model.factor)
        self.on_posterior: Callable[[DiagonalGaussian], None] = lambda posterior: None

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return next(self.model.parameters()).device

    def numbers(self, shape: tuple[int, ...]) -> int:
        """How many numbers the latent of an image of this spatial shape has."""
        return self.model.config.latent_channels * math.prod(self.model.latent_size(shape))

    def borders(self, shape: tuple[int, ...]) -> list[list[int]]:
        """Along each axis the planes inside of an image at which a patch begins or ends."""
        if self.mode == "full":
            return [[] for _ in shape]
        ends = [set[int]() for _ in shape]
        for region in self._regions(round_up(shape, self.model.factor)):
            for at, corner, size in zip(ends, region.corner, region.size, strict=True):
                at |= {corner, corner + size}
        return [sorted(i for i in at if 0 < i < n) for at, n in zip(ends, shape, strict=True)]

    def _regions(self, shape: tuple[int, ...]) -> list[Region]:
        size = tuple(min(s, n) for s, n in zip(self.size, shape, strict=True))
        return GridPatches(size, self.config.overlap).regions(shape, self.model.factor)

    @torch.inference_mode()
    def reconstruct(self, image: Tensor, generator: Generator | None = None) -> Tensor:
        """The reconstruction (C, *spatial), float32 on the CPU, clipped to [-1, 1], of an image.

        Decodes the posterior's mode, or with a generator a sample of it. Its noise is drawn for
        the whole latent grid, so that the sample is the same however the volume is cut.

        Raises:
            ConfigError: it cannot be done in `memory`.
        """
        training = self.model.training
        self.model.eval()
        try:
            noise = self._noise(image, generator)
            run = self._whole if self.mode == "full" else self._patchwise
            result = run(image.float(), noise)
        finally:
            self.model.train(training)
        return cropped(result[None], image.shape[1:])[0].clamp_(-1, 1)

    def plan(self, shape: tuple[int, ...]) -> StreamingPlan:
        """How an image of this spatial shape goes through the model with `mode=full`.

        Raises:
            ConfigError: it cannot be done in `memory`.
        """
        try:
            return self.model.plan(shape, planned_memory(self.config.memory, self.device))
        except ConfigError as error:
            told = str(error).replace("memory", "evaluation.inference.memory", 1)
            raise ConfigError(f"{told}; mode=patch takes less") from error

    def _noise(self, image: Tensor, generator: Generator | None) -> Tensor | None:
        if generator is None:
            return None
        size = self.model.latent_size(image.shape[1:])
        return draw_noise((1, self.model.config.latent_channels, *size), generator)[0]

    def _whole(self, image: Tensor, noise: Tensor | None) -> Tensor:
        batched = None if noise is None else noise[None]
        if self.config.memory is not None:
            plan = self.plan(tuple(image.shape[1:]))
            if plan.way != "whole":
                return self._streamed(image[None], batched, plan.planes)[0]
        padded = pad_to_multiple(image[None], self.model.factor)
        posterior, images = self._forward(padded, batched)
        self.on_posterior(posterior)
        return images[0]

    def _streamed(self, images: Tensor, noise: Tensor | None, planes: int) -> Tensor:
        """(B, C, *spatial) on the CPU to the same, slab by slab; the posterior stays there too."""
        with self.precision.autocast(self.device):
            posterior = stream_encode(self.model, images, planes)
            self.on_posterior(posterior)
            latent = posterior.mode() if noise is None else posterior.at(noise)
            return stream_decode(self.model, latent, tuple(images.shape[2:]), planes)

    def _patchwise(self, image: Tensor, noise: Tensor | None) -> Tensor:
        image = pad_to_multiple(image[None], self.model.factor)[0]
        shape = tuple(image.shape[1:])
        grid = self._regions(shape)
        aggregator = PatchAggregator(grid, image.shape[0], shape, self.config.blend)

        def forward(regions: list[Region]) -> tuple[list[Region], DiagonalGaussian, Tensor]:
            images = torch.stack([region.cut(image) for region in regions])
            latents = [region.divided(self.model.factor) for region in regions]
            cut = None if noise is None else torch.stack([at.cut(noise) for at in latents])
            return regions, *self._forward(images, cut)

        count = lanes(self.config.batch_size) if self.device.type == "cpu" else 1
        parts = chunks(grid, self.config.batch_size // count)
        for regions, posterior, patches in side_by_side(forward, parts, count):
            self.on_posterior(posterior)
            for region, patch in zip(regions, patches, strict=True):
                aggregator.add(patch, region)
        return aggregator.volume()

    def _forward(self, images: Tensor, noise: Tensor | None) -> tuple[DiagonalGaussian, Tensor]:
        """The posterior of (B, C, *spatial) on the CPU, and the same decoded."""
        device = self.device
        with self.precision.autocast(device):
            posterior = self.model.encode(images.to(device))
            latent = posterior.mode() if noise is None else posterior.at(noise.to(device))
            return posterior, self.model.decode(latent).cpu()


def round_up(size: tuple[int, ...], factor: tuple[int, ...]) -> tuple[int, ...]:
    """The smallest multiples of `factor` that are no smaller than `size`."""
    return tuple(-(-s // f) * f for s, f in zip(size, factor, strict=True))


def chunks(regions: list[Region], count: int) -> Iterator[list[Region]]:
    """Lists of `count` regions, the last one shorter."""
    rest = iter(regions)
    while chunk := list(islice(rest, count)):
        yield chunk
