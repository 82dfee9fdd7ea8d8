"""`trainer.memory`: what a training step takes, and what it recomputes to take no more."""

import logging
import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from vae3d.adversary.discriminator import new_discriminator
from vae3d.autoencoder.vae import CustomVAE
from vae3d.budget.footprint import Footprint, footprint
from vae3d.budget.recomputation import Choice, Footprints, combined, least_work, nothing, smallest
from vae3d.errors import ConfigError
from vae3d.layers.recomputation import RECOMPUTATIONS
from vae3d.loading.loader import PatchLoader
from vae3d.loss.config import LossConfig
from vae3d.loss.perceptual import build_perceptual
from vae3d.model.config import VAEConfig
from vae3d.model.frozen import freeze, trained_parameters
from vae3d.runtime.distributed import Distributed
from vae3d.runtime.memory import GIB, memory_budget
from vae3d.runtime.messages import counted
from vae3d.runtime.precision import Precision, has_bf16
from vae3d.trainer.config import OPTIMIZERS, TrainerConfig

log = logging.getLogger(__name__)

KERNEL_BYTES = 6 * 2**20
"""Bytes that kernels and threads keep for themselves, besides two copies of the largest weight and
one of the largest tensor in layouts of their own."""
COUNTED_VALUES = 1000
"""Weights of the parameter whose optimizer state is counted."""


@dataclass(frozen=True)
class TrainingStep:
    """All that the memory of a training step depends on.

    `shape` is (B, C, *spatial) of a portion of a batch, `portions` the number of them, of which
    `lanes` are in memory at the same time. `ranks` is the number of processes that exchange
    gradients, `box` the size of stored latents that are decoded instead of encoding patches.
    """

    model: VAEConfig
    loss: LossConfig
    trainer: TrainerConfig
    device: torch.device
    shape: tuple[int, ...]
    portions: int = 1
    lanes: int = 1
    ranks: int = 1
    box: tuple[int, ...] | None = None

    @classmethod
    def of(
        cls,
        model: VAEConfig,
        loss: LossConfig,
        trainer: TrainerConfig,
        device: torch.device,
        patch: tuple[int, ...],
        ranks: int = 1,
        box: tuple[int, ...] | None = None,
    ) -> "TrainingStep":
        """Return the step of a training on patches of this size, or on latents of size `box`."""
        portions = min(trainer.portions or 1, trainer.batch_size)
        threads = trainer.threads_per_portion or 1
        lanes = trainer.lanes or max(1, torch.get_num_threads() // threads)
        lanes = min(lanes, portions) if device.type == "cpu" else 1
        shape = (-(-trainer.batch_size // portions), model.in_channels, *patch)
        return cls(model, loss, trainer, device, shape, portions, lanes, ranks, box)

    def footprint(self, recompute: str) -> Footprint:
        """Return the tensors of the step, if all blocks recompute this, see RECOMPUTATIONS."""
        precision = Precision(self.trainer.precision, self.device, "trainer.precision")
        return footprint(
            self.model,
            self.loss,
            precision,
            self.device,
            self.shape,
            recompute,
            self.trainer.train,
            self.box,
        )

    def held_bytes(self) -> int:
        """Return the bytes besides the tensors of one forward and backward pass.

        Of weights, optimizer state and average, which are held between two steps too, also of a
        discriminator; of the frozen network of a perceptual term; of earlier gradients, where
        gradients are added up or exchanged; and of what kernels allocate.
        """
        with torch.device("meta"):
            model = CustomVAE(self.model)
            freeze(model, self.trainer.train)
            discriminator = new_discriminator(
                self.loss.adversary, model.spatial_dims, self.model.in_channels
            )
            perceptual = build_perceptual(self.loss, empty=True)
        features = perceptual.extractor.nbytes if perceptual else 0
        sizes = [parameter.nbytes for parameter in model.parameters()]
        trained = sum(parameter.nbytes for parameter in trained_parameters(model))
        copies = optimizer_copies(self.trainer.optimizer)
        averaged = self.trainer.ema_decay is not None
        added = max(self.trainer.accumulation, self.portions, self.ranks) > 1
        held = sum(sizes) + trained * (copies + averaged + added) + features
        if self.loss.adversary.weight:
            opponent = sum(parameter.nbytes for parameter in discriminator.parameters())
            held += opponent * (1 + copies + added)
        return held + 2 * max(sizes) + KERNEL_BYTES

    def __str__(self) -> str:
        """Return the patches of the step in words."""
        patches = f"{self.trainer.batch_size} x {_sides(self.shape[2:])}"
        if self.portions == 1:
            return patches
        return f"{patches} ({self.shape[0] * self.lanes} at a time)"


@dataclass(frozen=True)
class TrainingPlan:
    """What each block recomputes in a training step, and what the step then takes.

    `bytes` is the peak with weights, gradients and optimizer state, without Python and its
    libraries. `work` is the time of a step that recomputes nothing times this, as far as the
    number of operations predicts it.
    """

    blocks: Choice
    bytes: int
    work: float

    def __str__(self) -> str:
        """Return in words what is recomputed."""
        counts = Counter(self.blocks.values())
        kinds = (("the norms", counts["norms"]), ("all", counts["block"] + counts["all"]))
        parts = [f"{what} of {count}" for what, count in kinds if count]
        blocks = counted(len(self.blocks), "residual block")
        if not parts:
            return "recomputes nothing"
        return f"recomputes {' and '.join(parts)} of {blocks} (operations: {self.work:.2f} times)"


class TrainingMemory:
    """The memory of a training step, for any choice of what it recomputes."""

    def __init__(self, step: TrainingStep) -> None:
        self.step = step
        self._plain = step.footprint("nothing")
        self._held = step.held_bytes() + step.lanes * self._plain.largest

    def plan(self, memory: float | None) -> TrainingPlan | None:
        """Return the plan that recomputes least in `memory` GiB; None if no plan fits.

        Without a limit nothing is recomputed.
        """
        limit = math.inf if memory is None else (memory * GIB - self._held) / self.step.lanes
        if self._plain.peak <= limit:
            return self._plan(nothing(self._plain), {"nothing": self._plain})
        choice = least_work(self._footprints, limit)
        return None if choice is None else self._plan(choice, self._footprints)

    def least(self) -> TrainingPlan:
        """Return the plan that takes the least memory."""
        return self._plan(smallest(self._footprints), self._footprints)

    def uniform(self, recompute: str) -> TrainingPlan:
        """Return the plan in which all blocks recompute the same, one of RECOMPUTATIONS."""
        return self._plan(dict.fromkeys(nothing(self._plain), recompute), self._footprints)

    @cached_property
    def _footprints(self) -> dict[str, Footprint]:
        more = {what: self.step.footprint(what) for what in RECOMPUTATIONS if what != "nothing"}
        return {"nothing": self._plain, **more}

    def _plan(self, choice: Choice, footprints: Footprints) -> TrainingPlan:
        chosen = combined(footprints, choice)
        taken = self._held + self.step.lanes * chosen.peak
        return TrainingPlan(choice, taken, chosen.work / self._plain.work)


def fit_into_memory(
    model: CustomVAE,
    loss: LossConfig,
    trainer: TrainerConfig,
    loader: PatchLoader,
    distributed: Distributed,
) -> None:
    """Set what the blocks of a model recompute, so that a step fits in `trainer.memory`.

    Without a limit the model stays as `model.checkpointing` made it.

    Raises:
        ConfigError: a step takes more, even if everything is recomputed.
    """
    memory = memory_budget(trainer.memory, distributed.device)
    if memory is None:
        return
    device, patch = distributed.device, largest_patch(loader)
    latents = loader.dataset.latents
    box = None if latents is None else latents.box_size(patch)
    step = TrainingStep.of(model.config, loss, trainer, device, patch, distributed.world, box)
    needed = TrainingMemory(step)
    plan = needed.plan(memory)
    if plan is None:
        raise ConfigError(
            f"trainer.memory must be at least {_rounded_up(needed.least())} for {step}, got "
            f"{memory:.3g}; lower {'trainer.lanes, ' if step.lanes > 1 else ''}trainer.batch_size "
            "(and raise trainer.accumulation) or patching.size"
        )
    model.recompute(plan.blocks)
    if distributed.is_main:
        if trainer.precision == "bf16" and not has_bf16(distributed.device):
            log.warning("trainer.memory does not count the copies by which bf16 is emulated")
        taken = f"a step of {step} takes {plan.bytes / GIB:.2g} GiB and {plan}"
        log.info(f"trainer.memory={memory:.3g}: {taken}")


def training_lines(step: TrainingStep, memory: float | None) -> list[str]:
    """Return lines with the memory of a training step, and of what it recomputes in `memory`."""
    needed = TrainingMemory(step)
    plain, least = needed.plan(None), needed.least()
    assert plain is not None
    lines = [
        f"training         {step}: {plain.bytes / GIB:.2f} GiB",
        f"                 {least.bytes / GIB:.2f} GiB if it {least}",
    ]
    if memory is not None:
        plan = needed.plan(memory)
        lines.append(f"                 in {memory:g} GiB it {plan or 'does not fit'}")
    return lines


def largest_patch(loader: PatchLoader) -> tuple[int, ...]:
    """Return the size of the largest patch: that of all patches, or of the largest volume."""
    dataset = loader.dataset
    size = getattr(dataset.sampler, "size", None)
    return tuple(size or max(dataset.cases.shapes(dataset.indices), key=math.prod))


def optimizer_copies(name: str) -> int:
    """Return how many values an optimizer keeps for each weight."""
    weight = nn.Parameter(torch.zeros(COUNTED_VALUES))
    optimizer = OPTIMIZERS[name]([weight], lr=1e-3)
    weight.grad = torch.zeros_like(weight)
    optimizer.step()
    return sum(state.numel() == COUNTED_VALUES for state in optimizer.state[weight].values())


def _rounded_up(plan: TrainingPlan) -> str:
    """Return the GiB of a plan with two digits after the point, not below it."""
    return f"{math.ceil(plan.bytes / GIB * 100) / 100:.2f}"


def _sides(numbers: tuple[int, ...]) -> str:
    return " x ".join(map(str, numbers))
