"""`CustomVAE`: the variational autoencoder."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from vae3d.errors import RunError, UserError
from vae3d.model.blocks import BlockStyle, pixel_shuffle, pixel_unshuffle, shuffle_smoothly
from vae3d.model.config import VAEConfig
from vae3d.model.decoder import Decoder
from vae3d.model.encoder import Encoder
from vae3d.model.gaussian import DiagonalGaussian
from vae3d.model.hub import local_folder
from vae3d.model.layers import SampleDropout
from vae3d.model.sizes import cropped, pad_to_multiple
from vae3d.model.statistics import LatentStatistics
from vae3d.model.streaming.plan import StreamingPlan, streaming_plan
from vae3d.model.streaming.volume import stream_decode, stream_encode
from vae3d.model.weights import read_weights, save_weights
from vae3d.runtime.registry import plugin_hint

CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
LOGVAR_RANGE = (-30.0, 20.0)


@dataclass(frozen=True)
class VAEOutput:
    """`reconstruction` (B, C, *spatial), `posterior` and `latent` on the latent grid."""

    reconstruction: Tensor
    posterior: DiagonalGaussian
    latent: Tensor


class CustomVAE(nn.Module):
    """A convolutional VAE for images of any size in two or three dimensions.

    An image whose size is no multiple of `factor` is continued past its end by its last voxels
    before it is encoded, and the reconstruction is cut back to the image's own size. `contract`
    says how scans become its input: intensity and spacing, as a training found them; `statistics`
    the scale of its latents, None where nobody has measured them.
    """

    def __init__(self, config: VAEConfig | None = None) -> None:
        super().__init__()
        self.config = config or VAEConfig()
        dims = self.config.dims
        for index, level in enumerate(self.config.levels):
            level.check(f"model.levels.{index}", dims)
        self.spatial_dims = dims
        self.contract: dict[str, Any] = {}
        self.statistics: LatentStatistics | None = None
        self.memory_format = torch.contiguous_format
        self.factor = self.config.factor
        folded = self.config.in_channels * math.prod(self.config.patches)
        self.encoder = Encoder(
            folded,
            self._posterior_channels(),
            self.config.levels,
            self._style(),
            self.config.latent_channels if self.config.projection else None,
        )
        self.decoder = Decoder(
            self.config.latent_channels,
            folded,
            self.config.levels,
            self._style(),
            self.config.upsampling,
            self.config.final_activation,
            self.config.projection,
        )
        if self.config.smooth_init:
            shuffle_smoothly(self.decoder.head, math.prod(self.config.patches))
        self._plans: dict[tuple[tuple[int, ...], float | None], StreamingPlan] = {}
        self._dropouts = [m for m in self.modules() if isinstance(m, SampleDropout)]
        for number, dropout in enumerate(self._dropouts):
            dropout.number = number

    @classmethod
    def from_pretrained(cls, folder: str | Path, revision: str | None = None) -> "CustomVAE":
        """The model of a folder that `save_pretrained` or a training wrote, in eval mode.

        A string like "owner/name" that is no local folder is a repository of the Hugging Face hub,
        at its `revision` (a branch, a tag or a commit); what was downloaded once is read offline.

        Raises:
            RunError: missing, damaged, of a newer format, not of this architecture, or the hub
                does not give it.
        """
        found = read_weights(local_folder(folder, revision))
        try:
            # Nothing is allocated for a network that is described, but not there.
            with torch.device("meta"):
                model = cls(VAEConfig.from_json(found.architecture))
            described = model.state_dict()
            found.check(described)
            # A copy, in the network's own type: the file is mapped, and may hold half precision.
            tensors = {n: t.to(described[n].dtype, copy=True) for n, t in found.tensors().items()}
            model.load_state_dict(tensors, assign=True)
        except (UserError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            hint = plugin_hint([*found.plugins])
            raise RunError(f"{folder}: its weights fit no architecture: {reason}{hint}") from error
        channels = model.config.latent_channels
        if found.statistics and len(found.statistics.latents_mean) != channels:
            raise RunError(
                f"{folder}: latents must hold figures of {channels} channels, "
                f"got {len(found.statistics.latents_mean)}"
            )
        model.contract, model.statistics = found.contract, found.statistics
        return model.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes `config.json`, `model.safetensors` and a model card, whole or not at all.

        Latents of weights that changed since have other statistics: say `statistics = None` then.
        """
        save_weights(Path(folder), self.config, self.state_dict(), self.contract, self.statistics)

    def forward(
        self, image: Tensor, generator: Generator | Sequence[Generator] | None = None
    ) -> VAEOutput:
        """Reconstructs images (B, C, *spatial) in [-1, 1] from a sample of their posterior.

        Without a generator the posterior's mode is decoded. With one a case, dropout too is
        drawn for each case, from the generator's seed.
        """
        for dropout in self._dropouts:
            dropout.seeds = seeds_of(generator)
        posterior = self.encode(image)
        latent = posterior.mode() if generator is None else posterior.sample(generator)
        reconstruction = self.decode(latent, tuple(image.shape[2:]))
        return VAEOutput(reconstruction, posterior, latent)

    def encode(self, image: Tensor, memory: float | None = None) -> DiagonalGaussian:
        """The posterior of images (B, C, *spatial) over latents of ceil(spatial / factor).

        With `memory` it is found in so many GiB beside images, latents and weights: slab by slab
        where all at once would take more, equal to it but for rounding, in eval mode and without
        gradients.

        Raises:
            ConfigError: even the thinnest slabs take more, or a layer cannot be streamed.
        """
        if memory is not None:
            plan = self.plan(tuple(image.shape[2:]), memory / len(image))
            if plan.way != "whole":
                return stream_encode(self, image, plan.planes)
        return self.posterior(self.encoder(self.folded(image)))

    def decode(
        self,
        latent: Tensor,
        size: tuple[int, ...] | None = None,
        memory: float | None = None,
    ) -> Tensor:
        """Images in float32 of latents (B, latent_channels, *spatial), cut to `size` if given.

        `memory` and what it raises as in `encode`.
        """
        if memory is not None:
            full = tuple(n * f for n, f in zip(latent.shape[2:], self.factor, strict=True))
            plan = self.plan(full, memory / len(latent))
            if plan.way != "whole":
                return stream_decode(self, latent, size, plan.planes)
        image = self.unfolded(self.decoder(latent))
        return image if size is None else cropped(image, size)

    def plan(self, shape: tuple[int, ...], memory: float | None) -> StreamingPlan:
        """How an image of this spatial shape is encoded and decoded in so many GiB.

        Raises:
            ConfigError: it cannot be.
        """
        key = shape, memory
        if key not in self._plans:
            self._plans[key] = streaming_plan(self, shape, memory)
        return self._plans[key]

    def folded(self, image: Tensor) -> Tensor:
        """The encoder's input of images (B, C, *spatial), continued to multiples of `factor`."""
        if self.config.unit_range:
            image = (image + 1) / 2
        return pixel_unshuffle(pad_to_multiple(image, self.factor), self.config.patches)

    def posterior(self, parameters: Tensor) -> DiagonalGaussian:
        """The posterior that the encoder's output stands for, in float32."""
        parameters = at_least_float32(parameters)
        if self.config.variance == "fixed":
            logvar = torch.full_like(parameters, 2 * math.log(self.config.fixed_std))
            return DiagonalGaussian(parameters, logvar)
        mean, logvar = parameters.chunk(2, dim=1)
        return DiagonalGaussian(mean, logvar.clamp(*LOGVAR_RANGE))

    def unfolded(self, output: Tensor) -> Tensor:
        """The images in float32 that the decoder's output stands for."""
        image = at_least_float32(pixel_shuffle(output, self.config.patches))
        return 2 * image - 1 if self.config.unit_range else image

    def placed(self, device: torch.device) -> "CustomVAE":
        """This model on the device, in the order of memory in which it is fastest there.

        Convolutions read channels last faster, on tensor cores and on CPUs; norms over groups of
        channels are so much slower there on a CPU that they undo it (docs/experiments.md).
        """
        self.memory_format = torch.contiguous_format
        if device.type != "cpu" or self.config.norm not in ("group", "instance"):
            self.memory_format = CHANNELS_LAST[self.spatial_dims]
        # torch's stubs do not know a memory format without a dtype.
        self.to(device, memory_format=self.memory_format)  # type: ignore[call-overload]
        return self

    def latent_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """The spatial size of the latent of an image of this size."""
        return tuple(math.ceil(s / f) for s, f in zip(size, self.factor, strict=True))

    def _posterior_channels(self) -> int:
        learned = self.config.variance == "learned"
        return self.config.latent_channels * (2 if learned else 1)

    def _style(self) -> BlockStyle:
        return BlockStyle(
            spatial_dims=self.spatial_dims,
            norm=self.config.norm,
            norm_groups=self.config.norm_groups,
            activation=self.config.activation,
            dropout=self.config.dropout,
            checkpointing=self.config.checkpointing,
            residual_scale=self.config.residual_scale,
            zero_init=self.config.zero_init,
            smooth_init=self.config.smooth_init,
            head_norm=self.config.head_norm,
            head_activation=self.config.head_activation,
            head_kernel=self.config.head_kernel,
            downsampling=self.config.downsampling,
            widening=self.config.widening,
            attention=self.config.attention,
        )


def seeds_of(generator: Generator | Sequence[Generator] | None) -> list[int] | None:
    """What each case of a batch may draw from, if each has a generator of its own."""
    if generator is None or isinstance(generator, Generator):
        return None
    return [g.initial_seed() for g in generator]


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision ends where a distribution or an image comes out."""
    return x if x.dtype == torch.float64 else x.float()
