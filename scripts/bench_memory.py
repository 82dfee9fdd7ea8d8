"""The memory of a training step: against the least it could take, and the largest patch per GiB.

    python scripts/bench_memory.py --models tiny small --size 32 --batch 4
    python scripts/bench_memory.py --patches 1 2 4 8    # GiB; with the peers that are installed

Memory is measured as in a training with `trainer.memory`: large blocks are mapped on their own, a
first step is not counted, and the peak is that of the process above what it held before the model.
The minimum is weights, gradients, optimizer state and what autograd has saved when the backward
pass begins. Largest patches follow from bytes a voxel: those of peers are measured, those of vae3d
planned (the first table compares plans with peaks).
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vae3d.runtime.heap import map_large_blocks

map_large_blocks()  # before torch is imported

import torch  # noqa: E402
import yaml  # noqa: E402

import peers  # noqa: E402
from benchmarks.step_memory import StepMemory, measure_step  # noqa: E402
from peers import Network  # noqa: E402
from vae3d.budget.memory import TrainingMemory, TrainingStep  # noqa: E402
from vae3d.layers.recomputation import RECOMPUTATIONS  # noqa: E402
from vae3d.loss.config import LossConfig  # noqa: E402
from vae3d.model.config import VAEConfig  # noqa: E402
from vae3d.runtime.distributed import choose_device  # noqa: E402
from vae3d.runtime.memory import GIB, peak_memory  # noqa: E402
from vae3d.trainer.config import TrainerConfig  # noqa: E402

MODELS = ("tiny", "small", "base", "large", "maisi")
CONF = Path(__file__).parent.parent / "conf" / "model"
PEER_SIDE = 80
"""Side of the patch whose peak is measured, for peers; torch unfolds smaller ones."""
PLANNED_SIDES = (64, 128)
"""Sides of the two patches whose peaks are planned, for vae3d."""
MEBIBYTE = 2**20


@dataclass(frozen=True)
class StepRow:
    """A measured step of a model whose blocks all recompute the same, and the planned bytes."""

    model: str
    recomputes: str
    memory: StepMemory
    planned: int

    def __str__(self) -> str:
        """Return the row of the table."""
        memory = self.memory
        peak = memory.peak or 0
        shown = (memory.weights, memory.state, memory.saved, memory.minimum, peak, self.planned)
        numbers = " | ".join(f"{number / MEBIBYTE:,.0f}" for number in shown)
        ratio = f"{peak / memory.minimum:.2f} | {peak / self.planned:.2f}"
        return f"| {self.model} | {self.recomputes} | {numbers} | {ratio} |"


@dataclass(frozen=True)
class PatchRow:
    """The memory of a training step of one patch: `fixed` bytes and `per_voxel`."""

    name: str
    fixed: float
    per_voxel: float

    def side(self, gib: float, multiple: int = 4) -> int:
        """Return the side of the largest cubic patch, a multiple of the factor."""
        voxels = max(0.0, (gib * GIB - self.fixed) / self.per_voxel)
        side = int(voxels ** (1 / 3) + 1e-9)
        return side - side % multiple

    def row(self, sizes: Iterable[float]) -> str:
        """Return the row of the table."""
        sides = " | ".join(f"{self.side(gib)}^3" for gib in sizes)
        return f"| {self.name} | {self.fixed / MEBIBYTE:,.0f} | {self.per_voxel:,.0f} | {sides} |"


def model_config(name: str) -> VAEConfig:
    """Return the settings of an option of conf/model."""
    values = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    del values["defaults"]
    given = {"spatial_dims": 3, **values}
    return VAEConfig.from_json({**VAEConfig().__dict__, **given})


def step_rows(
    models: Iterable[str], precision: str, device: torch.device, batch: int, side: int
) -> Iterator[StepRow]:
    """Yield the measured steps of each model, for each of RECOMPUTATIONS."""
    for name in models:
        step = training_step(name, precision, device, batch, side)
        memory = TrainingMemory(step)
        for what in RECOMPUTATIONS:
            plan = memory.uniform(what)
            yield StepRow(name, what, measure_step(step, plan.blocks), plan.bytes)


def training_step(
    model: str, precision: str, device: torch.device, batch: int, side: int
) -> TrainingStep:
    """Return a step of AdamW without an average, on patches of side^3."""
    trainer = TrainerConfig(precision=precision)
    shape = (batch, 1, side, side, side)
    return TrainingStep(model_config(model), LossConfig(), trainer, device, shape)


def patch_rows(precision: str, device: torch.device) -> Iterator[PatchRow]:
    """Yield the memory per voxel of vae3d, with and without recomputation, and of its peers."""
    for name in ("small", "base"):
        steps = [training_step(name, precision, device, 1, side) for side in PLANNED_SIDES]
        memories = [TrainingMemory(step) for step in steps]
        norms = [memory.uniform("norms").bytes for memory in memories]
        least = [memory.least().bytes for memory in memories]
        plain = [memory.uniform("nothing").bytes for memory in memories]
        for what, planned in (("nothing", plain), ("norms", norms), ("all it can", least)):
            yield patch_row(f"vae3d, model={name}, recomputes {what}", PLANNED_SIDES, planned)
    makers: tuple[Callable[[str], Network], ...] = (peers.monai, peers.vae3d2d)
    for make in makers:
        try:
            network = make(precision)
        except ImportError as error:
            sys.stderr.write(f"left out: {error}\n")
            continue
        # Weights, gradients and the two averages of AdamW.
        fixed = 4 * sum(p.nbytes for p in network.model.parameters())
        peak = peer_peak(network, device, PEER_SIDE) or 0
        yield PatchRow(network.name, fixed, (peak - fixed) / PEER_SIDE**3)


def patch_row(name: str, sides: Sequence[int], peaks: Sequence[int]) -> PatchRow:
    """Return the row of the peaks at two sides."""
    voxels = [side**3 for side in sides]
    per_voxel = (peaks[1] - peaks[0]) / (voxels[1] - voxels[0])
    return PatchRow(name, peaks[0] - per_voxel * voxels[0], per_voxel)


def peer_peak(network: Network, device: torch.device, side: int) -> int | None:
    """Return the bytes of a training step of a peer, with weights and optimizer state."""
    model = network.model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    images = torch.rand(1, 1, side, side, side, device=device) * 2 - 1

    def step() -> None:
        with network.autocast(device):
            reconstruction, kl = network.losses(images)
        loss = (reconstruction.float() - images).abs().mean() + 1e-6 * kl.float()
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    peak = peak_memory(step, device)
    # Weights and the two averages of AdamW.
    held = 3 * sum(p.nbytes for p in model.parameters())
    return None if peak is None else peak + held


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="*", choices=MODELS, default=[])
    parser.add_argument("--patches", nargs="*", type=float, default=[], metavar="GIB")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    if arguments.models:
        sys.stdout.write(
            "| model | recomputes | weights, MiB | state | saved | minimum | peak | planned | "
            f"peak / minimum | peak / planned |\n{'|---' * 10}|\n"
        )
    rows = step_rows(
        arguments.models, arguments.precision, device, arguments.batch, arguments.size
    )
    for row in rows:
        sys.stdout.write(f"{row}\n")
        sys.stdout.flush()
    if arguments.patches:
        sizes = " | ".join(f"{gib:g} GiB" for gib in arguments.patches)
        sys.stdout.write(f"\n| | fixed, MiB | bytes a voxel | {sizes} |\n")
        sys.stdout.write(f"{'|---' * (3 + len(arguments.patches))}|\n")
        for patch in patch_rows(arguments.precision, device):
            sys.stdout.write(f"{patch.row(arguments.patches)}\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
