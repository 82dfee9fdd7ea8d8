"""`CustomVAE`: the network as people hold it, with its weights on disk and bounded memory."""

from pathlib import Path

import torch
from torch import Tensor

from vae3d.autoencoder.hub import local_folder
from vae3d.autoencoder.weights import read_weights, save_weights
from vae3d.errors import RunError, UserError
from vae3d.model.config import VAEConfig
from vae3d.model.gaussian import DiagonalGaussian
from vae3d.model.vae import VAE
from vae3d.runtime.registry import plugin_hint
from vae3d.streaming.plan import StreamingPlan, streaming_plan
from vae3d.streaming.volume import stream_decode, stream_encode
from vae3d.values.contract import InputContract
from vae3d.values.latent_statistics import LatentStatistics

CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


class CustomVAE(VAE):
    """A VAE that is loaded, saved and run in bounded memory.

    `contract` says how scans become its input, as a training set it; `statistics` is the scale of
    its latents, None where nobody has measured them.
    """

    def __init__(self, config: VAEConfig | None = None) -> None:
        super().__init__(config)
        self.contract = InputContract()
        self.statistics: LatentStatistics | None = None
        self.memory_format = torch.contiguous_format
        self._plans: dict[tuple[tuple[int, ...], float | None], StreamingPlan] = {}

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

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    def to_device(self, device: torch.device) -> "CustomVAE":
        """Move this model to the device, in the memory format that is fastest there.

        Convolutions read channels last faster, on tensor cores and on CPUs; norms over groups of
        channels are so much slower there on a CPU that they undo it (docs/experiments.md).
        """
        self.memory_format = torch.contiguous_format
        if device.type != "cpu" or self.config.norm not in ("group", "instance"):
            self.memory_format = CHANNELS_LAST[self.spatial_dims]
        # torch's stubs do not know a memory format without a dtype.
        self.to(device, memory_format=self.memory_format)  # type: ignore[call-overload]
        return self

    def encode(self, image: Tensor, memory: float | None = None) -> DiagonalGaussian:
        """Return the posterior of images (B, C, *spatial) over latents of ceil(spatial / factor).

        With `memory` it takes so many GiB beside images, latents and weights: slab by slab where
        one pass would take more, equal to it but for rounding, in eval mode and without gradients.
        Images on another device are moved to the model's, slab by slab if need be.

        Raises:
            ConfigError: even the thinnest slabs take more, or a layer cannot be streamed.
        """
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
        """Return float32 images of latents (B, latent_channels, *spatial), cut to `size` if given.

        `memory`, devices and what it raises as in `encode`.
        """
        full = tuple(n * f for n, f in zip(latent.shape[2:], self.factor, strict=True))
        plan = self._plan_of(size or full, len(latent), memory)
        if plan is not None and plan.way != "whole":
            return stream_decode(self, latent, size, plan.planes)
        return super().decode(latent.to(self.device), size)

    def plan(self, shape: tuple[int, ...], memory: float | None) -> StreamingPlan:
        """Return how an image of this spatial shape is encoded and decoded in so many GiB.

        Raises:
            ConfigError: it cannot be.
        """
        key = shape, memory
        if key not in self._plans:
            self._plans[key] = streaming_plan(self, shape, memory)
        return self._plans[key]

    def _plan_of(
        self, shape: tuple[int, ...], batch: int, memory: float | None
    ) -> StreamingPlan | None:
        return None if memory is None else self.plan(shape, memory / batch)
