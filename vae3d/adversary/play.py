"""`play`: one batch of scans and reconstructions through the discriminator, for both players."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vae3d.adversary.config import AdversarySpec
from vae3d.adversary.discriminator import Discriminator
from vae3d.adversary.losses import LOSSES, feature_distance, gradient_penalty, per_case
from vae3d.model.sizes import cropped
from vae3d.runtime.precision import Precision


@dataclass(frozen=True)
class Cases:
    """Scans and their reconstructions, both (B, C, *spatial) in [-1, 1].

    The reconstructions are a leaf that requires a gradient. `inside` is the size of each image
    without padding, `weights` (B,) its share in the step.
    """

    images: Tensor
    reconstructions: Tensor
    inside: Sequence[tuple[int, ...]]
    weights: Tensor

    def without_padding(self) -> list[tuple[Tensor, Tensor]]:
        """Return the pairs in one batch if nothing is padded, else each cropped to its size."""
        both = self.images, self.reconstructions
        if all(size == tuple(self.images.shape[2:]) for size in self.inside):
            return [both]
        return [
            (cropped(image[None], size), cropped(reconstruction[None], size))
            for image, reconstruction, size in zip(*both, self.inside, strict=True)
        ]


@dataclass(frozen=True)
class Play:
    """A batch's part of what both players need in a step.

    `losses` are sums over the cases by name, each case with its weight in the step, and `term` is
    that of the whole adversarial term. `image_gradient` (B, C, *spatial) is the gradient of `term`
    at the reconstructions. `gradients` are those of the discriminator's loss for its parameters,
    scaled where float16 needs it.
    """

    losses: dict[str, Tensor]
    term: Tensor
    image_gradient: Tensor
    gradients: tuple[Tensor, ...]


def play(
    discriminator: Discriminator, spec: AdversarySpec, precision: Precision, cases: Cases
) -> Play:
    """Send scans and reconstructions through the discriminator, each once.

    Each case is reduced on its own, without its padding, as in `Objective`.
    """
    parts = [_losses(discriminator, spec, precision, *pair) for pair in cases.without_padding()]
    sums = {
        name: (torch.cat([part[name] for part in parts]) * cases.weights).sum()
        for name in parts[0]
    }
    term, of_discriminator = sums["adversarial"], sums["discriminator"]
    if spec.feature_matching:
        term = term + spec.feature_matching * sums["feature_matching"]
    if spec.r1:
        of_discriminator = of_discriminator + spec.r1 * sums["r1"]
    (image_gradient,) = torch.autograd.grad(
        precision.scaled(term), cases.reconstructions, retain_graph=True
    )
    gradients = torch.autograd.grad(
        precision.scaled(of_discriminator), [*discriminator.parameters()]
    )
    return Play(
        losses={name: value.detach() for name, value in sums.items()},
        term=term.detach(),
        image_gradient=image_gradient / precision.scaled(torch.ones_like(term)),
        gradients=gradients,
    )


def _losses(
    discriminator: Discriminator,
    spec: AdversarySpec,
    precision: Precision,
    image: Tensor,
    reconstruction: Tensor,
) -> dict[str, Tensor]:
    """Return the losses of each case (B,) by name, and the accuracy of the discriminator."""
    # R1 in float32: the gradient at a voxel is too small for half precision.
    context = precision.autocast(image.device)
    if spec.r1:
        context = torch.autocast(image.device.type, enabled=False)
    image = image.float().detach().requires_grad_(spec.r1 > 0)
    with context:
        real = discriminator(image)
        penalty = gradient_penalty(real[-1], image) if spec.r1 else None
    with precision.autocast(image.device):
        fake = discriminator(reconstruction)
    loss = LOSSES[spec.kind]
    of_real, of_fake = real[-1].float(), fake[-1].float()
    losses = {
        "adversarial": per_case(loss.generator(of_fake)),
        "discriminator": (per_case(loss.real(of_real)) + per_case(loss.fake(of_fake))) / 2,
        "real_accuracy": per_case(of_real > loss.threshold),
        "fake_accuracy": per_case(of_fake <= loss.threshold),
    }
    if spec.feature_matching:
        losses["feature_matching"] = feature_distance(real[:-1], fake[:-1])
    if penalty is not None:
        losses["r1"] = penalty
    return losses
