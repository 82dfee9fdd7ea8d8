"""`Equivariance`: a changed latent is compared with the image that is changed in the same way."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vae3d.autoencoder.vae import CustomVAE
from vae3d.errors import ConfigError
from vae3d.loss.config import EquivarianceSpec, LossConfig
from vae3d.loss.grids import draw_change, planes_of
from vae3d.loss.objective import Objective, warmed_up
from vae3d.model.frozen import is_frozen
from vae3d.model.vae import VAEOutput
from vae3d.runtime.seeding import numpy_generator

LEAST_VARIANCE = 0.01
"""Added to the variance of a channel, to which errors of latents are relative: channels below it
hold nothing (Burda et al. 2016, arXiv:1509.00519, section 5)."""


@dataclass(frozen=True)
class ChangedCase:
    """What goes into one side of the network, (C, *spatial), and what should come out."""

    source: Tensor
    target: Tensor
    seed: int


class Equivariance:
    """The equivariance term of each case of a batch.

    A change T is drawn for each case from the seed of its patch: a box of the grid, flips, a
    quarter turn and a scale. With side `decoder` D(T z) is compared with T x by the reconstruction
    terms, as in EQ-VAE (Kouzelis et al. 2025, arXiv:2502.09509) and in scale equivariance
    (Skorokhodov et al. 2025, arXiv:2502.14831), both published for 2D images. With side `encoder`
    the mean of E(T x) is compared with T E(x): the squared error of each channel, relative to its
    variance, so that small latents do not win.

    Only whole latent voxels take part, and only those without padding. An axis that has none is
    neither flipped, turned nor scaled.
    """

    def __init__(
        self,
        objective: Objective,
        spec: EquivarianceSpec,
        spacing: Sequence[float] | None = None,
    ) -> None:
        self.objective = objective
        self.spec = spec
        self.factor = objective.factor
        self.planes = planes_of(self.factor, spacing)

    def weight_at(self, step: int) -> float:
        """Return the weight of the term at this optimizer step."""
        return self.spec.weight * warmed_up(step, self.spec.warmup_steps)

    def __call__(
        self,
        model: CustomVAE,
        output: VAEOutput,
        images: Tensor,
        inside: Sequence[tuple[int, ...]],
        seeds: Sequence[int],
    ) -> Tensor:
        """Return the term of each case, (B,), for images (B, C, *spatial) in [-1, 1].

        `output` is the model's for these images, `inside` their sizes without padding. Cases of
        equal size after their change go through the model together, in the caller's autocast.
        """
        with torch.autocast(images.device.type, enabled=False):
            changed = [
                self._changed(output, place, images[place].float(), inside[place], seed)
                for place, seed in enumerate(seeds)
            ]
        by_size: dict[tuple[torch.Size, torch.Size], list[int]] = {}
        for place, case in enumerate(changed):
            by_size.setdefault((case.source.shape, case.target.shape), []).append(place)
        values: list[Tensor] = [*images.new_zeros(len(changed)).unbind()]
        for places in by_size.values():
            of_places = self._values(model, [changed[place] for place in places])
            for place, value in zip(places, of_places.unbind(), strict=True):
                values[place] = value
        return torch.stack(values)

    def _changed(
        self, output: VAEOutput, place: int, image: Tensor, inside: tuple[int, ...], seed: int
    ) -> ChangedCase:
        """Draw the change of a case, and apply it to its latent and its image."""
        # An axis without a whole latent voxel is one voxel, of all that is inside.
        unit = [min(f, n) for f, n in zip(self.factor, inside, strict=True)]
        cells = [n // u for n, u in zip(inside, unit, strict=True)]
        axes = [axis for axis, u in enumerate(unit) if u == self.factor[axis]]
        planes = [pair for pair in self.planes if {*pair} <= {*axes}]
        generator = numpy_generator(seed, "equivariance")
        change = draw_change(self.spec, cells, axes, planes, generator)
        ones, image = [1] * len(unit), change.of(image, unit)
        if self.spec.side == "decoder":
            return ChangedCase(change.of(output.latent[place], ones), image, seed)
        return ChangedCase(image, change.of(output.posterior.mean[place], ones), seed)

    def _values(self, model: CustomVAE, cases: Sequence[ChangedCase]) -> Tensor:
        """Return the term of cases of one size, (B,)."""
        sources, targets = (
            torch.stack(tensors).contiguous(memory_format=model.memory_format)
            for tensors in ([case.source for case in cases], [case.target for case in cases])
        )
        model.seed_dropout([case.seed for case in cases])
        if self.spec.side == "decoder":
            decoded = model.decode(sources, tuple(targets.shape[2:]))
            with torch.autocast(targets.device.type, enabled=False):
                return self.objective.weighted(decoded.float(), targets)
        means = model.encode(sources).mean
        with torch.autocast(targets.device.type, enabled=False):
            return relative_error(means, targets)


def relative_error(latents: Tensor, targets: Tensor) -> Tensor:
    """Return the squared error of latents (B, C, *spatial) over the variance of the targets, (B,).

    Each channel of each case has its own variance, so that its scale does not matter.
    """
    errors = (latents - targets).square().flatten(2).mean(dim=2)
    variances = targets.flatten(2).var(dim=2, correction=0)
    return (errors / (variances + LEAST_VARIANCE)).mean(dim=1)


def check_equivariance(config: LossConfig, model: CustomVAE) -> None:
    """Raise a ConfigError if the term would train a part that is frozen."""
    spec = config.equivariance
    if spec.weight and spec.side == "encoder" and is_frozen(model.encoder):
        raise ConfigError(
            "loss.equivariance.side=encoder trains the encoder, which trainer.train keeps as it "
            "is; type loss.equivariance.side=decoder, or trainer.train=all"
        )
