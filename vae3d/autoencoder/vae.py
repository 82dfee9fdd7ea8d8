"""`CustomVAE`: the network with weights on disk and inference in bounded memory."""

import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vae3d.autoencoder.description import CONFIG_FILE, Origin, SplitRecord
from vae3d.autoencoder.hub import local_folder
from vae3d.autoencoder.places import Place, holds_weights
from vae3d.autoencoder.weights import read_weights, save_weights
from vae3d.errors import ConfigError, RunError, UserError
from vae3d.model.config import VAEConfig
from vae3d.model.gaussian import DiagonalGaussian
from vae3d.model.vae import VAE
from vae3d.runtime.registry import plugin_hint
from vae3d.runtime.run_folder import RunFolder
from vae3d.runtime.run_list import runs_near
from vae3d.streaming.plan import StreamingPlan, may_exceed_gpu, streaming_plan
from vae3d.streaming.volume import stream_decode, stream_encode
from vae3d.values.contract import InputContract
from vae3d.values.latent_statistics import LatentStatistics

CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


class CustomVAE(VAE):
    """A VAE that can be loaded, saved and run in bounded memory.

    `contract` describes how scans become its input, as in its training; `statistics` is the scale
    of its latents, None if it has not been measured. `origin` and `split_rule` state how the
    weights were made, as far as it is known.
    """

    concurrent = True
    """Several threads may call it."""

    def __init__(self, config: VAEConfig | None = None) -> None:
        super().__init__(config)
        self.contract = InputContract()
        self.statistics: LatentStatistics | None = None
        self.origin: Origin | None = None
        self.split_rule: SplitRecord | None = None
        self.memory_format = torch.contiguous_format
        self._plans: dict[tuple[tuple[int, ...], float | None], StreamingPlan] = {}

    @classmethod
    def from_pretrained(cls, folder: str | Path, revision: str | None = None) -> "CustomVAE":
        """Return the model of a folder from `save_pretrained` or a training, in eval mode.

        The folder of a run means its best weights, or its latest if it has no best ones.
        "hub:owner/name" is a repository of the Hugging Face hub, at its `revision` (branch, tag
        or commit); so is "owner/name" if there is no local folder `owner`. Once downloaded, it
        is read offline.

        Raises:
            RunError: the weights are missing, damaged, of a newer format or of another
                architecture, or the download from the hub failed.
        """
        place = local_folder(folder, revision)
        if not os.path.lexists(place) and (hint := runs_near(place)):
            raise RunError(f"{folder}: no weights here ({CONFIG_FILE} is missing){hint}")
        if os.path.lexists(RunFolder(place).config) and not holds_weights(place):
            place = Place(RunFolder(place)).weights
        weights = read_weights(place)
        description = weights.description
        try:
            # Nothing is allocated until the tensors are known to fit the network.
            with torch.device("meta"):
                model = cls(VAEConfig.from_json(description.architecture))
            expected = model.state_dict()
            weights.check(expected)
            # A copy, in the network's own type: the file is mapped, and may hold half precision.
            tensors = weights.tensors().items()
            state = {name: t.to(expected[name].dtype, copy=True) for name, t in tensors}
            model.load_state_dict(state, assign=True)
        except (UserError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            hint = plugin_hint([*description.plugins])
            raise RunError(f"{folder}: its weights fit no architecture: {reason}{hint}") from error
        channels, statistics = model.config.latent_channels, description.statistics
        if statistics and len(statistics.latents_mean) != channels:
            raise RunError(
                f"{folder}: latents must hold statistics of {channels} channels, "
                f"got {len(statistics.latents_mean)}"
            )
        model.contract, model.statistics = description.contract, statistics
        model.origin, model.split_rule = description.origin, description.split_rule
        return model.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json`, `model.safetensors` and a model card, all of them or none.

        If the weights have changed since `statistics` were measured, set them to None first.
        """
        save_weights(
            Path(folder),
            self.config,
            self.state_dict(),
            self.contract,
            self.statistics,
            self.origin,
            self.split_rule,
        )

    @property
    def periods(self) -> tuple[tuple[int, ...], ...]:
        """Along each axis the voxels per voxel of each coarser grid: folding, levels, latent."""
        return self.config.periods

    @property
    def latent_channels(self) -> int:
        """The channels of its latents."""
        return self.config.latent_channels

    @property
    def codes(self) -> tuple[int, ...]:
        """The levels of each channel of quantized latents; empty for others."""
        return self.config.codes

    def describe(self) -> dict[str, Any]:
        """Return parameters, channels and compression as JSON values, for reports."""
        channels = self.latent_channels
        return {
            "model": {"parameters": sum(p.numel() for p in self.parameters())},
            "channels": self.config.in_channels,
            "compression": {
                "ratio": math.prod(self.factor) * self.config.in_channels / channels,
                "factor": [*self.factor],
                "latent_channels": channels,
            },
        }

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    def to_device(self, device: torch.device) -> "CustomVAE":
        """Move this model to the device, in the memory format that is fastest there."""
        self.memory_format = memory_format_on(device, self.config)
        # torch's stubs do not know a memory format without a dtype.
        self.to(device, memory_format=self.memory_format)  # type: ignore[call-overload]
        return self

    def encode(self, image: Tensor, memory: float | None = None) -> DiagonalGaussian:
        """Return the posterior of images (B, C, *spatial) over latents of ceil(spatial / factor).

        With `memory`, encoding takes at most that many GiB besides images, latents and weights.
        If one pass would take more, it goes slab by slab, in eval mode and without gradients; the
        result is the same up to rounding. Images on another device are moved to the model's, slab
        by slab where possible.

        Raises:
            ConfigError: the images have another number of channels, even the thinnest slabs take
                more, or a layer cannot be streamed.
        """
        channels = self.config.in_channels
        if image.shape[1] != channels:
            raise ConfigError(
                f"these weights take images of {channels} channels, these data have "
                f"{image.shape[1]}; choose other data or other weights"
            )
        plan = self._plan_of(tuple(image.shape[2:]), len(image), memory)
        if plan is not None and plan.way != "whole":
            return stream_encode(self, image, plan.planes)
        return super().encode(image.to(self.device))

    def decode(
        self,
        latent: Tensor,
        size: tuple[int, ...] | None = None,
        memory: float | None = None,
    ) -> Tensor:
        """Return float32 images of latents (B, latent_channels, *spatial).

        They are cropped to `size` if given. `memory`, devices and errors are as in `encode`.
        """
        full = tuple(n * f for n, f in zip(latent.shape[2:], self.factor, strict=True))
        plan = self._plan_of(size or full, len(latent), memory)
        if plan is not None and plan.way != "whole":
            return stream_decode(self, latent, size, plan.planes)
        return super().decode(latent.to(self.device), size)

    def plan(self, shape: tuple[int, ...], memory: float | None) -> StreamingPlan:
        """Return how an image of this spatial shape is encoded and decoded in `memory` GiB.

        Raises:
            ConfigError: even the thinnest slabs take more, or a layer cannot be streamed.
        """
        key = shape, memory
        if key not in self._plans:
            self._plans[key] = streaming_plan(self, shape, memory)
        return self._plans[key]

    def _plan_of(
        self, shape: tuple[int, ...], batch: int, memory: float | None
    ) -> StreamingPlan | None:
        """Return the plan of a batch that shares `memory` GiB, or None without a limit."""
        if memory is None:
            return self.plan(shape, None) if may_exceed_gpu(self, batch, shape) else None
        return self.plan(shape, memory / batch)


def memory_format_on(device: torch.device, config: VAEConfig) -> torch.memory_format:
    """Return the memory format in which a network is fastest on the device.

    Convolutions are faster with channels last, on tensor cores and on CPUs. On a CPU, norms over
    groups of channels are so much slower with it that nothing is gained (docs/experiments.md).
    """
    if device.type == "cpu" and config.norm in ("group", "instance"):
        return torch.contiguous_format
    return CHANNELS_LAST[config.dims]
