"""`footprint`: the memory of a training step, counted with tensors that have no values."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vae3d.adversary.config import AdversarySpec
from vae3d.adversary.discriminator import new_discriminator
from vae3d.adversary.play import Cases
from vae3d.adversary.player import Adversary, BatchPart, NoAdversary, Schedule
from vae3d.autoencoder.summary import FlopMeter
from vae3d.autoencoder.vae import CustomVAE, memory_format_on
from vae3d.layers.operators import as_convolution, tensors_without_values
from vae3d.loss.config import LossConfig
from vae3d.loss.equivariance import Equivariance
from vae3d.loss.objective import Objective
from vae3d.loss.perceptual import build_perceptual
from vae3d.model.config import VAEConfig
from vae3d.model.frozen import freeze
from vae3d.model.gaussian import DiagonalGaussian
from vae3d.model.sizes import cropped
from vae3d.runtime.distributed import Distributed
from vae3d.runtime.precision import Precision

VALUE_FLOPS = 100
"""Floating point operations of a convolution in the time that one value of a norm or an activation
takes."""


@dataclass(frozen=True)
class Part:
    """A part of a step: `grown` bytes more are held after it, and at most `peak` more during it.

    `work` is its time in floating point operations, `block` the residual block that it belongs to,
    None outside of them.
    """

    block: str | None
    grown: int
    peak: int
    work: float


@dataclass(frozen=True)
class Footprint:
    """The parts of a step in their order: forward, loss and backward."""

    parts: list[Part]
    largest: int
    """Bytes of the largest tensor."""

    @property
    def peak(self) -> int:
        """The largest number of bytes held, without those that existed before the step."""
        return max(self._peaks())

    @property
    def work(self) -> float:
        """The time of the step in floating point operations."""
        return sum(part.work for part in self.parts)

    def excess(self, limit: float) -> float:
        """Return the bytes above the limit, added up over all parts."""
        return sum(max(0.0, peak - limit) for peak in self._peaks())

    def _peaks(self) -> Iterator[int]:
        """Yield the largest number of bytes held in each part."""
        held = 0
        for part in self.parts:
            yield held + part.peak
            held += part.grown


def footprint(
    config: VAEConfig,
    loss: LossConfig,
    precision: Precision,
    device: torch.device,
    shape: tuple[int, ...],
    recompute: str,
    train: str | Sequence[str] = "all",
    box: tuple[int, ...] | None = None,
) -> Footprint:
    """Return what forward, loss and backward of a batch hold, if all blocks recompute this.

    `shape` is that of the batch (B, C, *spatial), `recompute` one of RECOMPUTATIONS, `train` what
    is not frozen. With `box` the step takes stored latents of that size (*spatial). Nothing is
    computed: tensors without values pass through the network and the loss.
    """
    with tensors_without_values(), torch.device(device):
        network = _network(config, device)
        freeze(network, train)
        network.recompute(dict.fromkeys(network.blocks(), recompute))
        images = torch.empty(shape).to(memory_format=network.memory_format)
        given = images if box is None else _posterior(network, len(images), box)
        generators = [torch.Generator().manual_seed(0) for _ in range(len(images))]
        objective = Objective(loss, network.factor, build_perceptual(loss, empty=True))
        adversary = _adversary(loss.adversary, network, precision, device)
        inside = [tuple(shape[2:])] * len(images)
        with _StepMeter() as meter:
            _mark_blocks(network, meter)
            with precision.autocast(device):
                output = network(given, generators)
            if box is not None:
                output = replace(output, reconstruction=cropped(output.reconstruction, shape[2:]))
            reconstruction, output = output.reconstruction, adversary.cut(output)
            terms = objective(output, images, inside, 0)
            if loss.equivariance.weight:
                # Neither scaled nor cut: no case takes more.
                spec = replace(loss.equivariance, min_scale=1.0, shift=0)
                equivariance = Equivariance(objective, spec)
                with precision.autocast(device):
                    value = equivariance(network, output, images, inside, [0] * len(images))
                terms = terms.plus("equivariance", value, loss.equivariance.weight)
            cases = Cases(images, output.reconstruction, inside, torch.ones(len(images)))
            loss_sum = terms.total.sum()
            # The adversary's gradients are held during the backward pass.
            total, part = adversary.joined(
                loss_sum, BatchPart({"loss": loss_sum.detach()}), reconstruction, cases
            )
            del output, reconstruction, cases
            torch.autograd.backward(total, inputs=adversary.inputs)
            del part
            meter.mark(meter.last)
    return Footprint(meter.parts, meter.largest)


def _adversary(
    spec: AdversarySpec, network: CustomVAE, precision: Precision, device: torch.device
) -> NoAdversary:
    """Return the adversary in a step in which it plays, if it has a weight."""
    if not spec.weight:
        return NoAdversary()
    discriminator = new_discriminator(spec, network.spatial_dims, network.config.in_channels)
    optimizer = torch.optim.SGD(discriminator.parameters(), lr=0.0)
    schedule = Schedule(lambda step: 0.0, 1.0)
    distributed = Distributed(device=device)
    adversary = Adversary(
        spec, discriminator, optimizer, schedule, network, distributed, precision
    )
    adversary.begin(spec.start_step)
    return adversary


def _posterior(network: CustomVAE, count: int, box: tuple[int, ...]) -> DiagonalGaussian:
    """Return the posterior of a batch of stored latents."""
    mean, logvar = (torch.empty(count, network.config.latent_channels, *box) for _ in range(2))
    return DiagonalGaussian(mean, logvar)


def _network(config: VAEConfig, device: torch.device) -> CustomVAE:
    """Return a network whose weights have the memory format of the device."""
    network = CustomVAE(config).train()
    network.memory_format = memory_format_on(device, config)
    for parameter in network.parameters():
        if parameter.dim() == network.spatial_dims + 2:
            parameter.data = parameter.data.to(memory_format=network.memory_format)
    return network


class _StepMeter(FlopMeter):  # type: ignore[no-untyped-call]
    """Counts the bytes and the time of each part of a step between two marks.

    `last` is the block with which the backward pass ends, None if it ends outside of the blocks.
    """

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[Part] = []
        self.largest = 0
        self.last: str | None = None
        self._work = 0.0
        self._start = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call the operator and count the tensors that it creates and what it computes."""
        func, args = as_convolution(func, args)
        before = self.flops
        result = super().__torch_dispatch__(func, types, args, kwargs)
        if self.flops == before and isinstance(result, Tensor):
            self._work += VALUE_FLOPS * result.numel()
        return result

    def _count(self, number: int) -> None:
        self.largest = max(self.largest, number)
        super()._count(number)

    def mark(self, block: str | None) -> None:
        """End a part, which belongs to `block`."""
        grown, peak = self.bytes - self._start, self.peak - self._start
        self.parts.append(Part(block, grown, peak, self._work + self.flops))
        self._start = self.peak = self.bytes
        self._work, self.flops = 0.0, 0


def _mark_blocks(network: CustomVAE, meter: _StepMeter) -> None:
    """Mark where each residual block begins and ends, forward and backward."""
    for name, block in network.blocks().items():
        block.register_forward_pre_hook(partial(_before, meter, name))
        block.register_forward_hook(partial(_after, meter, name))


def _before(meter: _StepMeter, name: str, block: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    meter.mark(None)
    if inputs[0].requires_grad:
        # Called when the gradient of the input is complete: the block's backward pass ends.
        inputs[0].register_hook(lambda gradient: meter.mark(name))  # type: ignore[no-untyped-call]


def _after(
    meter: _StepMeter, name: str, block: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
) -> None:
    meter.mark(name)
    if not output.requires_grad:
        return
    output.register_hook(lambda gradient: meter.mark(None))  # type: ignore[no-untyped-call]
    if not inputs[0].requires_grad:
        # All before this block is frozen.
        meter.last = name
