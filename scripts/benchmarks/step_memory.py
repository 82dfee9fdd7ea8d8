"""`measure_step`: the memory of a training step as it is taken, and the least it could take."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from vae3d.adversary.play import Cases
from vae3d.adversary.player import BatchPart
from vae3d.autoencoder.vae import CustomVAE
from vae3d.budget.memory import TrainingStep
from vae3d.loss.objective import Objective
from vae3d.loss.perceptual import build_perceptual
from vae3d.model.frozen import freeze
from vae3d.model.gaussian import DiagonalGaussian
from vae3d.model.sizes import cropped
from vae3d.runtime.distributed import Distributed
from vae3d.runtime.memory import peak_memory
from vae3d.runtime.precision import Precision
from vae3d.trainer.adversary import build_adversary
from vae3d.trainer.ema import ExponentialMovingAverage
from vae3d.trainer.optimizer import build_optimizer


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a training step.

    Of the weights; of their gradients; of the `state` of the optimizer, and the average of the
    weights; of the activations that autograd has `saved` when the backward pass begins; and of all
    at the `peak`, None where the system does not report it.
    """

    weights: int
    gradients: int
    state: int
    saved: int
    peak: int | None

    @property
    def minimum(self) -> int:
        """The bytes without which the step cannot be computed."""
        return self.weights + self.gradients + self.state + self.saved


class _MeasuredStep:
    """A training step on random images, as the trainer takes it."""

    def __init__(self, step: TrainingStep, blocks: Mapping[str, str]) -> None:
        self.device = step.device
        self.model = CustomVAE(step.model).to_device(step.device).train()
        freeze(self.model, step.trainer.train)
        self.model.recompute(blocks)
        trainer = step.trainer
        self.precision = Precision(trainer.precision, step.device, "trainer.precision")
        self.optimizer = build_optimizer(trainer.optimizer, self.model, 1e-4, 0.0)
        self.average = ExponentialMovingAverage(self.model, trainer.ema_decay)
        perceptual = build_perceptual(step.loss, step.device)
        self.objective = Objective(step.loss, self.model.factor, perceptual)
        spec = step.loss.adversary
        one = Distributed(device=step.device)
        self.adversary = build_adversary(spec, self.model, trainer, 1, one, self.precision, 0)
        self.adversary.begin(spec.start_step)
        images = torch.rand(step.shape, device=step.device) * 2 - 1
        self.images = images.contiguous(memory_format=self.model.memory_format)
        self.given: Tensor | DiagonalGaussian = self.images
        if step.box is not None:
            shape = 2, len(images), step.model.latent_channels, *step.box
            self.given = DiagonalGaussian(*torch.randn(shape, device=step.device))

    def loss(self) -> tuple[Tensor, BatchPart]:
        """Return what to compute gradients of for the images, and the adversary's gradients."""
        generators = [torch.Generator().manual_seed(n) for n in range(len(self.images))]
        with self.precision.autocast(self.device):
            output = self.model(self.given, generators)
        reconstruction = cropped(output.reconstruction, self.images.shape[2:])
        output = self.adversary.cut(replace(output, reconstruction=reconstruction))
        inside = [tuple(self.images.shape[2:])] * len(self.images)
        loss = self.objective(output, self.images, inside, 0).total.mean()
        weights = torch.full((len(inside),), 1 / len(inside), device=self.device)
        cases = Cases(self.images, output.reconstruction, inside, weights)
        part = BatchPart({"loss": loss.detach()})
        return self.adversary.joined(loss, part, reconstruction, cases)

    def __call__(self) -> None:
        """Take the step."""
        finite = torch.tensor(True, device=self.device)
        loss, part = self.loss()
        self.precision.backward(loss, self.adversary.inputs)
        self.adversary.add(part)
        self.adversary.exchange()
        self.precision.clip(self.model, self.optimizer, 1.0)
        self.adversary.clip()
        self.precision.step(self.optimizer, finite, *self.adversary.optimizers)
        self.optimizer.zero_grad(set_to_none=True)
        self.adversary.end(part.losses, finite)
        self.average.update()

    def saved(self) -> int:
        """Return the bytes that autograd keeps of one forward pass, besides weights and images."""
        sizes: dict[int, int] = {}
        kept = [*self.model.parameters(), *self.model.buffers(), self.images]
        others = {tensor.untyped_storage().data_ptr() for tensor in kept}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in others:
                sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with saved_tensors_hooks(note, lambda tensor: tensor):
            # Named, since what a loss that is freed has saved is freed with it.
            loss = self.loss()
        del loss
        return sum(sizes.values())


def measure_step(step: TrainingStep, blocks: Mapping[str, str]) -> StepMemory:
    """Return the memory of a step whose `blocks` recompute as named, see RECOMPUTATIONS."""
    taken = _MeasuredStep(step, blocks)
    # The first step allocates the state of the optimizer.
    taken()
    players = (taken.model, *taken.adversary.models)
    weights = sum(p.nbytes for model in players for p in model.parameters())
    optimizers = (taken.optimizer, *taken.adversary.optimizers)
    held = weights + sum(_nbytes(s) for each in optimizers for s in each.state.values())
    held += _nbytes(taken.average.average)
    peak = peak_memory(taken, step.device)
    return StepMemory(
        weights=weights,
        gradients=weights,
        state=held - weights,
        saved=taken.saved(),
        peak=None if peak is None else peak + held,
    )


def _nbytes(tensors: Mapping[str, Any]) -> int:
    return sum(value.nbytes for value in tensors.values() if isinstance(value, Tensor))
