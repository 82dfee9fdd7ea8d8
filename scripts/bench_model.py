"""Training steps and reconstructions of vae3d and its peers at matched channels and blocks.

    pip install -e '.[bench]' && pip install vae3d2d==0.2.0
    python scripts/bench_model.py --batch 1 4                  # on a CPU, or on a GPU where one is
    python scripts/bench_model.py --contenders default base    # vae3d's own presets alone

All contenders take turns in one process on the same images; the table holds medians of the rounds
and the median of each round's ratio to the first one. Memory is the peak above what the process
held before, `share` is of the device's measured peak of a large matrix product in the same
precision. `--batch` images of `--size` are synthetic; Adam, L1 and a KL of 1e-6.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vae3d.logger.console import announce
from vae3d.model.config import VAEConfig
from vae3d.model.levels import LevelSpec
from vae3d.model.vae import CustomVAE
from vae3d.runtime.distributed import choose_device
from vae3d.runtime.memory import peak_memory

DTYPES = {"fp32": None, "bf16": torch.bfloat16}


@dataclass
class Contender:
    """`losses(images)` gives reconstruction and KL, `reconstruct(images)` the posterior's mode."""

    name: str
    precision: str
    model: nn.Module
    losses: Callable[[Tensor], tuple[Tensor, Tensor]]
    reconstruct: Callable[[Tensor], Tensor]


def main() -> int:
    """A table for each batch size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, nargs=3, default=[32, 32, 32])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--match", choices=("vae3d2d", "monai"), default="monai")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    peaks = {name: peak_flops(device, dtype) for name, dtype in DTYPES.items()}
    announce(", ".join(f"{name} peak {peak / 1e9:,.0f} GFLOP/s" for name, peak in peaks.items()))
    for batch in arguments.batch:
        compare(arguments, batch, device, peaks)
    return 0


def compare(
    arguments: argparse.Namespace, batch: int, device: torch.device, peaks: dict[str, float]
) -> None:
    """All contenders in turns, training and reconstructing."""
    images = torch.rand(batch, 1, *arguments.size, device=device) * 2 - 1
    makers = MATCHES[arguments.match]
    contenders = []
    for make in makers:
        torch.manual_seed(0)
        contenders.append(make())
    for contender in contenders:
        contender.model.to(device)
    calls: dict[tuple[str, str], Callable[[], None]] = {}
    for contender in contenders:
        name = f"{contender.name}, {contender.precision}"
        calls[name, "train"] = trainer(contender, images)
        calls[name, "reconstruct"] = reconstructor(contender, images)
    times: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    memory = {}
    for key, call in calls.items():
        call()
        memory[key] = peak_memory(call, device)
    for _ in range(arguments.rounds):
        for key, call in calls.items():
            times[key].append(timed(call, device))
    first = next(iter(calls))[0]
    voxels = images.numel()
    side = "x".join(map(str, arguments.size))
    sys.stdout.write(
        f"\nbatch {batch} of {side}, {device.type}, {torch.get_num_threads()} threads\n"
    )
    sys.stdout.write("| | parameters | | Mvoxel/s | times the first | memory, MiB | share |\n")
    sys.stdout.write("|---|---|---|---|---|---|---|\n")
    for contender in contenders:
        name = f"{contender.name}, {contender.precision}"
        count = sum(p.numel() for p in contender.model.parameters()) / 1e6
        for kind in ("train", "reconstruct"):
            spent = statistics.median(times[name, kind])
            pairs = zip(times[first, kind], times[name, kind], strict=True)
            ratio = statistics.median(a / b for a, b in pairs)
            work = flops(calls[name, kind])
            held = memory[name, kind]
            sys.stdout.write(
                f"| {name} | {count:.2f} M | {kind} | {voxels / spent / 1e6:.3f} | {ratio:.2f} | "
                f"{(held or 0) / 2**20:.0f} | {work / spent / peaks[contender.precision]:.0%} |\n"
            )
    sys.stdout.flush()


def trainer(contender: Contender, images: Tensor) -> Callable[[], None]:
    """One step of Adam."""
    optimizer = torch.optim.Adam(contender.model.parameters(), lr=1e-4)
    dtype = DTYPES[contender.precision]

    def step() -> None:
        contender.model.train()
        with torch.autocast(images.device.type, dtype, enabled=dtype is not None):
            reconstruction, kl = contender.losses(images)
        loss = (reconstruction.float() - images).abs().mean() + 1e-6 * kl.float()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()

    return step


def reconstructor(contender: Contender, images: Tensor) -> Callable[[], None]:
    """One reconstruction without gradients."""
    dtype = DTYPES[contender.precision]

    def call() -> None:
        contender.model.eval()
        with torch.no_grad(), torch.autocast(images.device.type, dtype, enabled=dtype is not None):
            contender.reconstruct(images)

    return call


def timed(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of a call, everything on the device finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def flops(call: Callable[[], None]) -> int:
    """Operations of a call, a multiplication with its addition as two."""
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def peak_flops(device: torch.device, dtype: torch.dtype | None) -> float:
    """Operations a second of a large matrix product: what the device can do."""
    side = 2048 if device.type == "cpu" else 8192
    a = torch.randn(side, side, device=device, dtype=dtype)
    best = min(timed(lambda: torch.mm(a, a), device) for _ in range(6))
    return float(2 * side**3 / best)


def ours(name: str, config: VAEConfig, precision: str) -> Contender:
    """A CustomVAE."""
    model = CustomVAE(config)
    generator = torch.Generator().manual_seed(0)

    def losses(images: Tensor) -> tuple[Tensor, Tensor]:
        output = model(images, generator)
        return output.reconstruction, output.posterior.kl().flatten(1).sum(1).mean()

    def reconstruct(images: Tensor) -> Tensor:
        found: Tensor = model(images).reconstruction
        return found

    return Contender(name, precision, model, losses, reconstruct)


MONAI_CHANNELS = (16, 32, 64)


def monai(precision: str) -> Contender:
    """MONAI's AutoencoderKL with one block a level and a factor of 4."""
    from monai.networks.nets.autoencoderkl import AutoencoderKL

    model: Any = AutoencoderKL(
        spatial_dims=3, in_channels=1, out_channels=1, channels=MONAI_CHANNELS,
        num_res_blocks=1, latent_channels=4, norm_num_groups=8, attention_levels=(False,) * 3,
        with_encoder_nonlocal_attn=False, with_decoder_nonlocal_attn=False,
    )  # fmt: skip

    def losses(images: Tensor) -> tuple[Tensor, Tensor]:
        reconstruction, mean, sigma = model(images)
        mean, sigma = mean.float(), sigma.float()
        kl = 0.5 * (mean**2 + sigma**2 - (sigma**2).log() - 1)
        return reconstruction, kl.flatten(1).sum(1).mean()

    return Contender(
        "MONAI AutoencoderKL", precision, model, losses, lambda x: model.decode(model.encode(x)[0])
    )


def like_monai(norm: str = "layer") -> VAEConfig:
    """MONAI's channels and blocks."""
    levels = [LevelSpec(c, 1, (2,) if i else (1,)) for i, c in enumerate(MONAI_CHANNELS)]
    return VAEConfig(spatial_dims=3, levels=levels, norm=norm, upsampling="nearest", patch=(1,))


def vae3d2d(precision: str) -> Contender:
    """The seed library's CustomVAE with its own channels and blocks."""
    from vae3d2d import CustomVAE as Seed

    model: Any = Seed(**VAE3D2D)

    def losses(images: Tensor) -> tuple[Tensor, Tensor]:
        reconstruction, loss = model(images)
        return reconstruction, loss

    def reconstruct(images: Tensor) -> Tensor:
        found: Tensor = model(images)
        return found

    return Contender("vae3d2d CustomVAE", precision, model, losses, reconstruct)


VAE3D2D: dict[str, Any] = {
    "init_filters": 16,
    "smallest_filters": 64,
    "blocks_down": (1, 2, 2),
    "blocks_up": (1, 1),
    "downsample_strides": [(2, 2, 2), (2, 2, 2)],
    "vae_down_stride": (1, 1, 1),
    "vae_latent_channels": 4,
    "beta": 1e-6,
    "custom_losses": ["l1"],
    "custom_loss_weights": [1.0],
}
"""Without downsample_strides its constructor fails; this gives a factor of 4."""


def like_vae3d2d(norm: str = "layer") -> VAEConfig:
    """Its channels, blocks and strides."""
    levels = [
        LevelSpec(16, 1),
        LevelSpec(32, 2, (2,), decoder_blocks=1),
        LevelSpec(64, 2, (2,), decoder_blocks=0),
    ]
    return VAEConfig(spatial_dims=3, levels=levels, norm=norm, patch=(1,))


MATCHES: dict[str, list[Callable[[], Contender]]] = {
    "monai": [
        lambda: ours("vae3d", like_monai(), "bf16"),
        lambda: ours("vae3d, group norm", like_monai("group"), "bf16"),
        lambda: ours("vae3d", like_monai(), "fp32"),
        lambda: monai("bf16"),
        lambda: monai("fp32"),
    ],
    "vae3d2d": [
        lambda: ours("vae3d", like_vae3d2d(), "bf16"),
        lambda: ours("vae3d, group norm", like_vae3d2d("group"), "bf16"),
        lambda: ours("vae3d", like_vae3d2d(), "fp32"),
        lambda: vae3d2d("bf16"),
        lambda: vae3d2d("fp32"),
    ],
}


if __name__ == "__main__":
    sys.exit(main())
