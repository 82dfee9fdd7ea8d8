"""Training steps and reconstructions of vae3d and its peers at matched channels and blocks.

    pip install -e '.[bench]' && pip install vae3d2d==0.2.0
    python scripts/bench_model.py --match monai --batch 1 4    # on a CPU, or on a GPU where one is
    python scripts/bench_model.py --match vae3d2d

All contenders take turns in one process on the same images; the table holds medians of the rounds
and the median of each round's ratio to the last one, the peer as it runs by itself. Memory is the
peak above what the process held before, `share` is of the device's measured peak of a large matrix
product in the same precision. `--batch` images of `--size` are synthetic; Adam, L1 and a KL of
1e-6. bf16 takes part where the device computes in it.

vae3d has the peer's channels, blocks, activation and factor of 4, once at the peer's resolutions
and once as its presets are built: blocks of 2 voxels folded into channels, the last step left out.
"""

import argparse
import logging
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import peers
import torch
from peers import DTYPES, MONAI_CHANNELS, Network
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from vae3d.autoencoder.vae import CustomVAE
from vae3d.model.config import LevelSpec, VAEConfig
from vae3d.runtime.distributed import choose_device
from vae3d.runtime.memory import peak_memory
from vae3d.runtime.messages import show_messages
from vae3d.runtime.precision import has_bf16

log = logging.getLogger("vae3d.bench_model")


def main() -> int:
    """A table for each batch size."""
    show_messages()
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
    dtypes = {name: dtype for name, dtype in DTYPES.items() if name == "fp32" or has_bf16(device)}
    peaks = {name: peak_flops(device, dtype) for name, dtype in dtypes.items()}
    log.info(", ".join(f"{name} peak {peak / 1e9:,.0f} GFLOP/s" for name, peak in peaks.items()))
    for batch in arguments.batch:
        compare(arguments, batch, device, peaks)
    return 0


def compare(
    arguments: argparse.Namespace, batch: int, device: torch.device, peaks: dict[str, float]
) -> None:
    """All contenders in turns, training and reconstructing."""
    images = torch.rand(batch, 1, *arguments.size, device=device) * 2 - 1
    contenders = []
    for make, precision in MATCHES[arguments.match]:
        if precision in peaks:
            torch.manual_seed(0)
            contenders.append(make(precision))
    for contender in contenders:
        model = contender.model
        model.to_device(device) if isinstance(model, CustomVAE) else model.to(device)
    calls: dict[tuple[str, str], Callable[[], None]] = {}
    for contender in contenders:
        name = contender.title
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
    last = contenders[-1].title
    voxels = images.numel()
    side = "x".join(map(str, arguments.size))
    sys.stdout.write(
        f"\nbatch {batch} of {side}, {device.type}, {torch.get_num_threads()} threads\n"
    )
    sys.stdout.write("| | parameters | | Mvoxel/s | times the last | memory, MiB | share |\n")
    sys.stdout.write("|---|---|---|---|---|---|---|\n")
    for contender in contenders:
        name = contender.title
        count = sum(p.numel() for p in contender.model.parameters()) / 1e6
        for kind in ("train", "reconstruct"):
            spent = statistics.median(times[name, kind])
            pairs = zip(times[last, kind], times[name, kind], strict=True)
            ratio = statistics.median(a / b for a, b in pairs)
            work = flops(calls[name, kind])
            held = memory[name, kind]
            sys.stdout.write(
                f"| {name} | {count:.2f} M | {kind} | {voxels / spent / 1e6:.3f} | {ratio:.2f} | "
                f"{(held or 0) / 2**20:.0f} | {work / spent / peaks[contender.precision]:.0%} |\n"
            )
    sys.stdout.flush()


def trainer(contender: Network, images: Tensor) -> Callable[[], None]:
    """One step of Adam."""
    optimizer = torch.optim.Adam(contender.model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        contender.model.train()
        with contender.autocast(images.device):
            reconstruction, kl = contender.losses(images)
        loss = (reconstruction.float() - images).abs().mean() + 1e-6 * kl.float()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()

    return step


def reconstructor(contender: Network, images: Tensor) -> Callable[[], None]:
    """One reconstruction without gradients."""

    def call() -> None:
        contender.model.eval()
        with torch.no_grad(), contender.autocast(images.device):
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
    # The counter knows torch's own convolution alone, not oneDNN's called directly.
    with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def peak_flops(device: torch.device, dtype: torch.dtype | None) -> float:
    """Operations a second of a large matrix product: what the device can do."""
    side = 2048 if device.type == "cpu" else 8192
    a = torch.randn(side, side, device=device, dtype=dtype)
    best = min(timed(lambda: torch.mm(a, a), device) for _ in range(6))
    return float(2 * side**3 / best)


def ours(name: str, config: VAEConfig, precision: str) -> Network:
    """A CustomVAE."""
    model = CustomVAE(config)
    generator = torch.Generator().manual_seed(0)

    def losses(images: Tensor) -> tuple[Tensor, Tensor]:
        output = model(images, generator)
        return output.reconstruction, output.posterior.kl().flatten(1).sum(1).mean()

    def reconstruct(images: Tensor) -> Tensor:
        found: Tensor = model(images).reconstruction
        return found

    return Network(name, precision, model, losses, reconstruct)


def like_monai(norm: str = "layer") -> VAEConfig:
    """MONAI's channels, blocks and resolutions."""
    levels = [LevelSpec(c, 1, (2,) if i else (1,)) for i, c in enumerate(MONAI_CHANNELS)]
    return VAEConfig(spatial_dims=3, levels=levels, norm=norm, upsampling="nearest", patch=(1,))


def like_vae3d2d(norm: str = "layer") -> VAEConfig:
    """Its channels, blocks, resolutions, activation and head."""
    levels = [
        LevelSpec(16, 1),
        LevelSpec(32, 2, (2,), decoder_blocks=1),
        LevelSpec(64, 2, (2,), decoder_blocks=0),
    ]
    return VAEConfig(
        spatial_dims=3, levels=levels, norm=norm, activation="relu", patch=(1,), head_kernel=1
    )


def folded(config: VAEConfig) -> VAEConfig:
    """The same channels, blocks and factor with 2 voxels a side folded into channels."""
    *levels, last = config.levels
    return replace(config, patch=(2,), levels=[*levels, replace(last, stride=(1,))])


Maker = Callable[[str], Network]
MATCHES: dict[str, list[tuple[Maker, str]]] = {
    "monai": [
        (lambda p: ours("vae3d, folded", folded(like_monai()), p), "bf16"),
        (lambda p: ours("vae3d", like_monai(), p), "bf16"),
        (lambda p: ours("vae3d, folded", folded(like_monai()), p), "fp32"),
        (lambda p: ours("vae3d", like_monai(), p), "fp32"),
        (lambda p: ours("vae3d, group norm", like_monai("group"), p), "fp32"),
        (peers.monai, "bf16"),
        (peers.monai, "fp32"),
    ],
    "vae3d2d": [
        (lambda p: ours("vae3d, folded", folded(like_vae3d2d()), p), "bf16"),
        (lambda p: ours("vae3d", like_vae3d2d(), p), "bf16"),
        (lambda p: ours("vae3d, folded", folded(like_vae3d2d()), p), "fp32"),
        (lambda p: ours("vae3d", like_vae3d2d(), p), "fp32"),
        (lambda p: ours("vae3d, group norm", like_vae3d2d("group"), p), "fp32"),
        (peers.vae3d2d, "bf16"),
        (peers.vae3d2d, "fp32"),
    ],
}
"""Contenders with their precision; the peer as it runs by itself is the last one."""


if __name__ == "__main__":
    sys.exit(main())
