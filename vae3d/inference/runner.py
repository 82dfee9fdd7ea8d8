"""`ModelRunner`: images through a model on a device, in bounded memory or patch by patch."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from threading import Lock, Semaphore
from typing import Any, ClassVar, TypeVar

import torch
from torch import Generator, Tensor

from vae3d.autoencoder.protocol import Autoencoder
from vae3d.errors import ConfigError
from vae3d.inference.config import MODES, InferenceConfig
from vae3d.model.gaussian import DiagonalGaussian, draw_noise
from vae3d.model.sizes import cropped, pad_to_multiple
from vae3d.model.vae import eval_mode
from vae3d.patching.blending import PatchAggregator
from vae3d.patching.region import Region
from vae3d.patching.samplers import GridPatches, patch_size
from vae3d.runtime.kernels import kernel_search
from vae3d.runtime.memory import GIB, Memory, memory_budget
from vae3d.runtime.precision import Precision
from vae3d.runtime.threads import lanes, map_concurrently
from vae3d.streaming.plan import StreamingPlan

log = logging.getLogger(__name__)

R = TypeVar("R")
MEMORY_KEY = "evaluation.inference.memory"
"""The setting that messages name for the memory of an evaluation."""
CPU = torch.device("cpu")
STITCHING_SHARE = 0.25
"""Share of a GPU's memory that an image and its patches, stitched, may take."""
OnPosterior = Callable[[DiagonalGaussian], None]


def ignore(posterior: DiagonalGaussian) -> None:
    """Do nothing with a posterior."""


class ModelRunner:
    """Encodes, decodes and reconstructs images, in eval mode without gradients.

    Images (C, *spatial) in [-1, 1] and latents are on the CPU, as input and as output. An image
    that does not fit into `memory` in one pass goes through the network slab by slab, with the
    same result up to rounding. The model is moved to the device. As many threads may call this as
    `concurrently` says: images that are computed at the same time share `memory`.

    Raises:
        ConfigError: from any method, if an image does not fit into `memory` in any way.
    """

    has_seams: ClassVar[bool] = False
    """Whether reconstructions are assembled from patches."""

    def __init__(
        self,
        model: Autoencoder,
        device: torch.device,
        precision: Precision,
        memory: Memory = None,
        memory_key: str = "memory",
    ) -> None:
        self.model = model.to_device(device)
        self.device = device
        self.precision = precision
        self.memory = memory
        self.memory_key = memory_key
        self._lanes = 1
        self._shares = Semaphore(1)
        self._turn = Lock()

    @contextlib.contextmanager
    def concurrently(self, images: int) -> Iterator[int]:
        """Enter with the number of these images to compute at a time: on a CPU two, if there are.

        The threads of one convolution wait for each other, so that a process that takes one core
        stops them all; two images do not wait for each other.
        """
        count = lanes(min(2, max(1, images))) if self._computes_concurrently else 1
        self._lanes, self._shares = count, Semaphore(count)
        # Here, as the first of two threads that leave the mode would end that of the other.
        with eval_mode(self.model):
            yield count
        self._lanes, self._shares = 1, Semaphore(1)

    @property
    def _computes_concurrently(self) -> bool:
        return self.device.type == "cpu" and self.model.concurrent

    @property
    def protocol(self) -> dict[str, Any]:
        """The settings that two reconstructions must share to be comparable."""
        return {"mode": "full", "patch_size": None, "overlap": None, "blend": None}

    @torch.no_grad()
    def encode(self, image: Tensor) -> DiagonalGaussian:
        """Return the posterior (1, latent_channels, *size) of an image."""
        with eval_mode(self.model), self.precision.autocast(self.device):
            posterior = self._in_memory(
                tuple(image.shape[1:]), lambda gib: self.model.encode(image[None], gib)
            )
        return DiagonalGaussian(posterior.mean.cpu(), posterior.logvar.cpu())

    @torch.no_grad()
    def decode(self, latent: Tensor, size: tuple[int, ...]) -> Tensor:
        """Return the image (C, *size), float32 and clipped, of a latent (channels, *spatial)."""
        with eval_mode(self.model), self.precision.autocast(self.device):
            image = self._in_memory(size, lambda gib: self.model.decode(latent[None], size, gib))
        return image[0].cpu().clamp_(-1, 1)

    @torch.no_grad()
    def reconstruct(
        self,
        image: Tensor,
        generator: Generator | None = None,
        on_posterior: OnPosterior = ignore,
    ) -> Tensor:
        """Return the reconstruction (C, *spatial), float32 and clipped, of an image.

        Without a generator the posterior's mode is decoded, with one a sample of it. The noise is
        drawn for the whole latent grid, so that the sample does not depend on the division into
        patches. `on_posterior` is called with the posterior.
        """
        noise = self._noise(image, generator)
        with eval_mode(self.model):
            posterior, decoded = self._in_memory(
                tuple(image.shape[1:]), lambda gib: self._forward(image[None].float(), noise, gib)
            )
        on_posterior(posterior)
        return decoded[0].clamp_(-1, 1)

    def borders(self, shape: tuple[int, ...]) -> list[list[int]]:
        """Return, for each axis, the planes inside an image at which a patch begins or ends."""
        return [[] for _ in shape]

    def plan(self, shape: tuple[int, ...]) -> StreamingPlan:
        """Return how an image of this spatial shape goes through the model."""
        try:
            return self.model.plan(shape, memory_budget(self.memory, self.device))
        except ConfigError as error:
            reason = str(error).replace("memory", self.memory_key, 1)
            hint = "; mode=patch takes less" if self.memory_key == MEMORY_KEY else ""
            raise ConfigError(f"{reason}{hint}") from error

    def _in_memory(self, shape: tuple[int, ...], call: Callable[[float | None], R]) -> R:
        """Return `call` with the GiB that an image of this shape may take.

        With `memory` auto it is called again with half of them if the device has too little
        memory: other programs may use the rest.
        """
        # A volume has a shape of its own, for which a search of kernels does not pay.
        with self._share(shape) as gib, kernel_search(self.device, False):
            try:
                return call(gib)
            except torch.OutOfMemoryError:
                if self.memory != "auto" or gib is None:
                    raise
            # Outside of the handler, which would keep the tensors of the first call.
            torch.cuda.empty_cache()
            log.warning(
                f"{self.memory_key}=auto: {gib:.1f} GiB are not free on the device; "
                f"continuing with {gib / 2:.1f}"
            )
            return call(gib / 2)

    @contextlib.contextmanager
    def _share(self, shape: tuple[int, ...]) -> Iterator[float | None]:
        """Enter with the GiB that an image of this shape may take now; None is no limit.

        It is an equal share of `memory`, and all of it, once other images are done, if the image
        does not fit into its share.

        Raises:
            ConfigError: it does not fit, even in the thinnest slabs.
        """
        gib = memory_budget(self.memory, self.device)
        if gib is None:
            yield None
            return
        self.plan(shape)
        shares = 1 if self._fits(shape, gib / self._lanes) else self._lanes
        # One image at a time collects its shares: two that both need all would wait for ever.
        with self._turn:
            for _ in range(shares):
                self._shares.acquire()
        try:
            yield gib * shares / self._lanes
        finally:
            self._shares.release(shares)

    def _fits(self, shape: tuple[int, ...], gib: float) -> bool:
        with contextlib.suppress(ConfigError):
            self.model.plan(shape, gib)
            return True
        return False

    def _noise(self, image: Tensor, generator: Generator | None) -> Tensor | None:
        """Return unit noise (1, latent_channels, *size) for an image, None without a generator."""
        if generator is None:
            return None
        size = self.model.latent_size(image.shape[1:])
        return draw_noise((1, self.model.latent_channels, *size), generator)

    def _forward(
        self,
        images: Tensor,
        noise: Tensor | None,
        memory: float | None = None,
        place: torch.device = CPU,
    ) -> tuple[DiagonalGaussian, Tensor]:
        """Return the posterior of (B, C, *spatial), and at `place` what it is decoded to.

        That is its mode, or with unit noise a sample of it.
        """
        with self.precision.autocast(self.device):
            posterior = self.model.encode(images, memory)
            latent = posterior.mode()
            if noise is not None:
                latent = posterior.at(noise.to(latent.device))
            decoded = self.model.decode(latent, tuple(images.shape[2:]), memory)
            return posterior, decoded.to(place)


class PatchRunner(ModelRunner):
    """A runner that reconstructs overlapping patches of an image and blends them.

    Raises:
        ConfigError: a size of patches that does not fit the model's axes.
    """

    has_seams = True

    def __init__(
        self,
        model: Autoencoder,
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
        place = self._place_of(padded)
        padded = padded.to(place)
        shape = tuple(padded.shape[1:])
        grid = self._regions(shape)
        aggregator = PatchAggregator(grid, padded.shape[0], shape, self.config.blend, place)

        def forward(regions: list[Region]) -> tuple[list[Region], DiagonalGaussian, Tensor]:
            images = torch.stack([region.cut(padded) for region in regions])
            latents = [region.divided(self.model.factor) for region in regions]
            cut = None if noise is None else torch.cat([at.cut(noise) for at in latents])
            return regions, *self._forward(images, cut, place=place)

        # On a CPU, lanes compute parts of a batch concurrently.
        count = lanes(self.config.batch_size) if self._computes_concurrently else 1
        length = self.config.batch_size // count
        parts = (grid[start : start + length] for start in range(0, len(grid), length))
        with eval_mode(self.model), kernel_search(self.device, True):
            for regions, posterior, patches in map_concurrently(forward, parts, count):
                on_posterior(posterior)
                for region, patch in zip(regions, patches, strict=True):
                    aggregator.add(patch, region)
        return cropped(aggregator.volume()[None], image.shape[1:])[0].clamp_(-1, 1).cpu()

    def _place_of(self, image: Tensor) -> torch.device:
        """Return where patches are cut and stitched: on a GPU if image and result fit there."""
        if self.device.type == "cpu":
            return self.device
        memory = memory_budget("auto", self.device)
        assert memory is not None
        fits = 2 * image.nbytes <= 2 * memory * STITCHING_SHARE * GIB
        return self.device if fits else CPU

    @contextlib.contextmanager
    def concurrently(self, images: int) -> Iterator[int]:
        """Enter with 1: the patches of one image are computed concurrently."""
        yield 1

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


def round_up(size: tuple[int, ...], factor: tuple[int, ...]) -> tuple[int, ...]:
    """Return the smallest multiples of `factor` that are no smaller than `size`."""
    return tuple(-(-s // f) * f for s, f in zip(size, factor, strict=True))


def warn_of_unused(config: InferenceConfig, mode: str) -> None:
    """Warn of settings that were typed and have no effect in a mode."""
    for key in sorted(config.typed - {"memory"}) if mode == "full" else ():
        log.warning(f"evaluation.inference.{key} has an effect with mode=patch only")


def build_runner(
    config: InferenceConfig,
    mode: str,
    model: Autoencoder,
    device: torch.device,
    precision: Precision,
) -> ModelRunner:
    """Return the runner of one of MODES, with the model on the device.

    Raises:
        ConfigError: an unknown mode, or a size of patches that does not fit the model's axes.
    """
    if mode not in MODES:
        raise ConfigError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
    if mode == "patch":
        return PatchRunner(model, device, precision, config)
    return ModelRunner(model, device, precision, config.memory, MEMORY_KEY)
