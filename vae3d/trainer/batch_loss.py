"""`BatchLoss`: a batch through the network, from its images or its stored latents, to its loss."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from vae3d.adversary.play import Cases
from vae3d.adversary.player import BatchPart, NoAdversary
from vae3d.autoencoder.vae import CustomVAE
from vae3d.loading.latents import StoredLatents
from vae3d.loading.patches import Batch
from vae3d.loss.equivariance import Equivariance
from vae3d.loss.objective import Objective
from vae3d.model.frozen import is_frozen
from vae3d.model.gaussian import LatentNoise
from vae3d.runtime.precision import Precision
from vae3d.runtime.seeding import torch_generator


@dataclass
class BatchLoss:
    """Computes the loss of a batch on a device.

    `latent_std` is the deviation of each latent channel, to which `loss.latent_noise` is relative;
    None takes the deviations in each case. `equivariance` is None if its weight is 0.
    """

    model: CustomVAE
    objective: Objective
    precision: Precision
    device: torch.device
    latent_std: Sequence[float] | None = None
    equivariance: Equivariance | None = None
    adversary: NoAdversary = field(default_factory=NoAdversary)

    def __call__(self, network: nn.Module, batch: Batch, step: int) -> tuple[Tensor, BatchPart]:
        """Return what to compute gradients of, and the batch's part of the step.

        Without an adversary the former is the batch's part of the step's mean loss.
        """
        layout = self.model.memory_format
        images = batch.images.to(self.device, non_blocking=True, memory_format=layout)
        weights = batch.weights.to(self.device, non_blocking=True)
        stored = batch.latents
        given = images if stored is None else stored.posterior(self.device, layout)
        with self.precision.autocast(self.device):
            output = network(given, batch.generators(), self._noise(batch))
        if stored is not None:
            output = stored.inner(output, images.shape[2:], self.model.factor)
        reconstruction = output.reconstruction
        output = self.adversary.cut(output)
        terms = self.objective(output, images, batch.inside, step, batch.noise_seeds)
        if self.equivariance:
            with self.precision.autocast(self.device):
                value = self.equivariance(
                    inner_model(network), output, images, batch.inside, batch.noise_seeds
                )
            terms = terms.plus("equivariance", value, self.equivariance.weight_at(step))
        loss = (terms.total * weights).sum()
        parts = {name: (term.detach() * weights).sum() for name, term in terms.by_name.items()}
        part = BatchPart({"loss": loss.detach(), **parts})
        cases = Cases(images, output.reconstruction, batch.inside, weights)
        return self.adversary.joined(loss, part, reconstruction, cases)

    def _noise(self, batch: Batch) -> LatentNoise | None:
        """Return the noise of a batch, each case's from the seed of its patch."""
        level = self.objective.config.latent_noise
        if not level:
            return None
        generators = [torch_generator(seed, "latent_noise") for seed in batch.noise_seeds]
        return LatentNoise(level, self.latent_std, generators)


def inner_model(network: nn.Module) -> CustomVAE:
    """Return the model inside of DDP and of what is compiled.

    Parameters are the same: what a pass through it adds to their gradients before a backward pass
    begins is exchanged between the ranks, too.
    """
    return next(m for m in network.modules() if isinstance(m, CustomVAE))


def deviations_of(model: CustomVAE, latents: StoredLatents | None) -> list[float] | None:
    """Return the deviation of each latent channel, if it is known and does not change."""
    if latents is not None:
        return latents.deviations
    if model.statistics is None or not is_frozen(model.encoder):
        return None
    return model.statistics.latents_std
