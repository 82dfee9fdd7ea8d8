"""`Adversary`: the second player of a training, with its optimizer and its state."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from vae3d.adversary.config import AdversarySpec
from vae3d.adversary.discriminator import Discriminator
from vae3d.adversary.play import Cases, play
from vae3d.model.frozen import trained_parameters
from vae3d.model.vae import VAE, VAEOutput
from vae3d.runtime.distributed import Distributed
from vae3d.runtime.memory_order import add_gradient, load_optimizer
from vae3d.runtime.precision import Precision

log = logging.getLogger(__name__)

MAX_RATIO, LEAST_NORM = 1e4, 1e-6
"""Largest ratio of gradient norms, and what is added to its denominator."""
WINDOW = 50
"""Steps over which the accuracy of the discriminator is averaged."""
WON = 0.95
"""Accuracy on scans and on reconstructions above which the discriminator has won."""


@dataclass(frozen=True)
class Schedule:
    """The learning rate of the discriminator at an optimizer step, and its largest gradient."""

    rate: Callable[[int], float]
    clip_norm: float


@dataclass(frozen=True)
class BatchPart:
    """A batch's part of a step: of its mean losses by name, and of the adversary's gradients.

    `gradients` are those of the discriminator's parameters, `last_layer` those of the decoder's
    last layer, of the other terms and of the adversarial one.
    """

    losses: dict[str, Tensor]
    gradients: Sequence[Tensor] = ()
    last_layer: Sequence[Tensor] = ()


class NoAdversary:
    """What the training loop asks of an adversary, answered for a training without one."""

    models: Sequence[nn.Module] = ()
    optimizers: Sequence[torch.optim.Optimizer] = ()
    inputs: Sequence[Tensor] | None = None
    """The tensors whose gradients a step adds up; None is all leaves."""

    def begin(self, step: int) -> None:
        """Prepare for an optimizer step."""

    def cut(self, output: VAEOutput) -> VAEOutput:
        """Return the output from which the other terms are computed."""
        return output

    def joined(
        self, loss: Tensor, part: BatchPart, reconstruction: Tensor, cases: Cases
    ) -> tuple[Tensor, BatchPart]:
        """Return what to compute gradients of, and the batch's part of the step.

        `loss` and `part` are those of the other terms, for the output from `cut`, whose
        reconstructions are those of `cases`. `reconstruction` is that of the network.
        """
        return loss, part

    def add(self, part: BatchPart) -> None:
        """Add the gradients of a batch."""

    def exchange(self) -> dict[str, Tensor]:
        """Add the gradients of all ranks; return what to log of the step besides losses."""
        return {}

    def clip(self) -> dict[str, Tensor]:
        """Clip the gradients; return their norm before, by name."""
        return {}

    def end(self, scores: Mapping[str, Tensor], finite: Tensor) -> None:
        """Take the `scores` of a step into account, if it was `finite`."""

    def report(self, step: int) -> None:
        """Warn once if the discriminator has won; waits for the device."""

    def state_dict(self) -> dict[str, Any]:
        """Return the entries of the checkpoint's state."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned, from the checkpoint's whole state."""


class Adversary(NoAdversary):
    """A discriminator that plays against the VAE.

    Both players' gradients are those of the same weights of both, and both are updated at the end
    of the step. So the reconstruction of the step serves both, and the VAE's forward pass is not
    repeated. Between the other terms and the network the reconstruction is cut: its gradient is
    that of the other terms plus the weighted one of the adversarial term, and the discriminator is
    walked once for it.
    """

    def __init__(
        self,
        spec: AdversarySpec,
        discriminator: Discriminator,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        model: VAE,
        distributed: Distributed,
        precision: Precision,
    ) -> None:
        self.spec = spec
        self.discriminator = discriminator
        self.optimizer = optimizer
        self.schedule = schedule
        self.distributed = distributed
        self.precision = precision
        # Gradient norms at the last layer: of the other terms, over that of the adversarial one.
        self.ratio = torch.zeros((), device=distributed.device)
        # Running means on scans and on reconstructions; zero is far from a victory.
        self.accuracy = torch.zeros(2, device=distributed.device)
        self.reported = False

        self._trained = trained_parameters(model)
        self._last = cast(Tensor, model.decoder.head.weight)
        self._last_layer: list[Tensor] = []
        self._new_ratio = self.ratio
        self._weight = self.ratio
        self._plays = False

    def begin(self, step: int) -> None:
        """Prepare for an optimizer step: rate, weight and power iterations."""
        # In every step: the rate is part of the checkpoint.
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(step)
        self._plays = self.spec.plays(step)
        self.models = [self.discriminator] if self._plays else []
        self.optimizers = [self.optimizer] if self._plays else []
        self.inputs = self._trained if self._plays else None
        if not self._plays:
            return
        weight = torch.full_like(self.ratio, self.spec.weight_at(step))
        self._weight = weight * self.ratio if self.spec.adaptive else weight
        self._last_layer = []
        self.discriminator.iterate()

    def cut(self, output: VAEOutput) -> VAEOutput:
        """Return the output with a reconstruction that is a leaf."""
        if not self._plays:
            return output
        return replace(output, reconstruction=output.reconstruction.detach().requires_grad_())

    def joined(
        self, loss: Tensor, part: BatchPart, reconstruction: Tensor, cases: Cases
    ) -> tuple[Tensor, BatchPart]:
        """Return the sum whose gradients are those of all terms, and the batch's part."""
        if not self._plays:
            return loss, part
        result = play(self.discriminator, self.spec, self.precision, cases)
        # The graph below the posterior is still needed.
        (of_others,) = torch.autograd.grad(
            loss,
            cases.reconstructions,
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        last_layer: list[Tensor] = []
        if self.spec.adaptive:
            scale = self.precision.scaled(torch.ones_like(self.ratio))
            for gradient in (of_others, result.image_gradient):
                (of_layer,) = torch.autograd.grad(
                    reconstruction, self._last, gradient * scale, retain_graph=True
                )
                last_layer.append(of_layer / scale)
        gradient = of_others + self._weight * result.image_gradient
        losses = {
            **part.losses,
            **result.losses,
            "loss": part.losses["loss"] + self._weight * result.term,
        }
        total = loss + (reconstruction * gradient).sum()
        return total, BatchPart(losses, result.gradients, last_layer)

    def add(self, part: BatchPart) -> None:
        """Add the gradients of a batch."""
        if not self._plays:
            return
        for parameter, gradient in zip(
            self.discriminator.parameters(), part.gradients, strict=True
        ):
            add_gradient(parameter, gradient)
        before = self._last_layer or [torch.zeros_like(g) for g in part.last_layer]
        self._last_layer = [a + b for a, b in zip(before, part.last_layer, strict=True)]

    def exchange(self) -> dict[str, Tensor]:
        """Add the gradients of all ranks; return the weight of the adversarial term."""
        if not self._plays:
            return {}
        self.distributed.sum_gradients([*self.discriminator.parameters()])
        if self.spec.adaptive:
            sums = self.distributed.sum(torch.stack(self._last_layer))
            others, adversarial = (torch.linalg.vector_norm(gradient) for gradient in sums)
            self._new_ratio = (others / (adversarial + LEAST_NORM)).clamp(max=MAX_RATIO)
        return {"adversary_weight": self._weight}

    def clip(self) -> dict[str, Tensor]:
        """Clip the discriminator's gradients; return their norm before, by name."""
        if not self._plays:
            return {}
        norm = self.precision.clip(self.discriminator, self.optimizer, self.schedule.clip_norm)
        return {"discriminator_grad_norm": norm.detach()}

    def end(self, scores: Mapping[str, Tensor], finite: Tensor) -> None:
        """Note ratio and accuracy of a step that was finite, and forget its gradients."""
        if not self._plays:
            return
        self.optimizer.zero_grad(set_to_none=True)
        self.ratio = torch.where(finite, self._new_ratio, self.ratio)
        accuracy = torch.stack([scores["real_accuracy"], scores["fake_accuracy"]])
        mean = self.accuracy + (accuracy - self.accuracy) / WINDOW
        self.accuracy = torch.where(finite, mean, self.accuracy)

    def report(self, step: int) -> None:
        """Warn once if the discriminator has won; waits for the device."""
        if self.reported or not self._plays:
            return
        real, fake = self.accuracy.tolist()
        self.reported = min(real, fake) > WON
        if self.reported and self.distributed.is_main:
            log.warning(
                f"step {step}: the discriminator has won: on average over {WINDOW} steps it "
                f"recognises {real:.0%} of the scans and {fake:.0%} of the reconstructions, and "
                "the decoder learns little from it. Train another run with a lower "
                "loss.adversary.lr, fewer loss.adversary.channels, or loss.adversary.r1"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the entry `adversary` of the checkpoint's state."""
        own = {
            "discriminator": self.discriminator.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ratio": self.ratio,
            "accuracy": self.accuracy,
            "reported": self.reported,
        }
        return {"adversary": own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            KeyError: a part is missing.
        """
        own = state["adversary"]
        self.discriminator.load_state_dict(own["discriminator"])
        load_optimizer(self.optimizer, own["optimizer"])
        self.ratio = own["ratio"].to(self.ratio)
        self.accuracy = own["accuracy"].to(self.accuracy)
        self.reported = own["reported"]
