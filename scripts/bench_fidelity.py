"""PSNR after some minutes of training: vae3d with any settings, and its peers.

    python scripts/bench_fidelity.py --scans /ct_64 --train model=small --train "model.norm=group"
    python scripts/bench_fidelity.py --scans /mr_64 --mri --peers vae3d2d monai monai_bf16

Every fourth case is held out and scored whole. Random patches, L1 or whatever `loss=` says, from
the posterior's sample; the learning rate warms up over a twentieth of the time and falls along a
cosine to the end. Peers are trained as their tutorials do: Adam, a constant rate of 1e-3, L1 and
their KL at 1e-6. Everything is in memory; the clock counts training alone. `--steps` trains so
many steps instead, however long they take: what minutes of an idle machine give, on a busy one.
"""

import argparse
import logging
import math
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import peers
from peers import Network
from vae3d.autoencoder.vae import CustomVAE
from vae3d.cli.compose import composed
from vae3d.loss.equivariance import Equivariance
from vae3d.loss.objective import Objective
from vae3d.loss.perceptual import build_perceptual
from vae3d.run.config import TrainConfig
from vae3d.runtime.messages import show_messages
from vae3d.runtime.precision import Precision
from vae3d.scans.files import read_volume
from vae3d.trainer.ema import ExponentialMovingAverage
from vae3d.trainer.optimizer import build_optimizer, learning_rate

log = logging.getLogger("vae3d.bench_fidelity")

CPU = torch.device("cpu")
TICKS = 10_000
"""The clock's hand goes round in so many steps, for the schedule."""


@dataclass
class Contender:
    """`step(batch, progress in [0, 1])` trains, `reconstruct` decodes the posterior's mode."""

    name: str
    model: nn.Module
    step: Callable[[Tensor, float], float]
    reconstruct: Callable[[Tensor], Tensor]


def main() -> int:
    """Trains one after the other; a row for each."""
    show_messages()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scans", type=Path, required=True)
    parser.add_argument("--mri", action="store_true", help="percentiles 0 and 99.5, else HU")
    parser.add_argument("--train", action="append", default=[], metavar="OVERRIDES")
    parser.add_argument("--peers", nargs="*", default=[], choices=PEERS)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--steps", type=int, help="instead of --seconds")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fold", type=int, default=3, choices=range(4), help="held out")
    arguments = parser.parse_args()
    volumes = [scaled(path, arguments.mri) for path in sorted(arguments.scans.glob("*.nii*"))]
    held_out = volumes[arguments.fold :: 4]
    train = [volume for index, volume in enumerate(volumes) if index % 4 != arguments.fold]
    log.info(f"{len(train)} to train, {len(held_out)} held out")
    sys.stdout.write("| | parameters | steps | Mvoxel/s | PSNR, dB |\n|---|---|---|---|---|\n")
    makers: list[Callable[[], Contender]] = [
        partial(ours, text, arguments) for text in arguments.train
    ]
    makers += [PEERS[name] for name in arguments.peers]
    for make in makers:
        torch.manual_seed(arguments.seed)
        contender = make()
        start = time.perf_counter()
        steps = fit(contender, train, arguments)
        seconds = time.perf_counter() - start
        psnr = statistics.fmean(score(contender, volume) for volume in held_out)
        count = sum(p.numel() for p in contender.model.parameters()) / 1e6
        speed = steps * arguments.batch * arguments.size**3 / seconds / 1e6
        sys.stdout.write(
            f"| {contender.name} | {count:.2f} M | {steps} | {speed:.2f} | {psnr:.2f} |\n"
        )
        sys.stdout.flush()
    return 0


def scaled(path: Path, mri: bool) -> Tensor:
    """A scan (1, D, H, W) in [-1, 1]."""
    data = read_volume(path).data.float()
    low, high = np.percentile(data.numpy(), [0, 99.5]) if mri else (-1000.0, 1000.0)
    return (data.clamp(low, high) - low) * (2 / (high - low)) - 1


def fit(contender: Contender, train: list[Tensor], arguments: argparse.Namespace) -> int:
    """Trains until the time, or the number of steps, is over; the number of steps."""
    rng = np.random.default_rng(arguments.seed)
    size, steps = arguments.size, 0
    contender.model.train()
    start = time.perf_counter()
    while (progress := progress_of(steps, start, arguments)) < 1:
        patches = []
        for index in rng.integers(len(train), size=arguments.batch):
            corner = [int(rng.integers(n - size + 1)) for n in train[index].shape[1:]]
            box = tuple(slice(c, c + size) for c in corner)
            place = (slice(None), *box)
            patches.append(train[index][place])
        loss = contender.step(torch.stack(patches), progress)
        steps += 1
        if steps % 200 == 0:
            log.info(f"{contender.name}: {progress:.0%} step {steps} loss {loss:.4f}")
    return steps


def progress_of(steps: int, start: float, arguments: argparse.Namespace) -> float:
    """The part of the training that is over, in [0, 1] and beyond."""
    if arguments.steps:
        return float(steps / arguments.steps)
    return float((time.perf_counter() - start) / arguments.seconds)


def score(contender: Contender, volume: Tensor) -> float:
    """PSNR of a whole volume, data range 2."""
    contender.model.eval()
    with torch.no_grad():
        found = contender.reconstruct(volume[None]).float().clamp(-1, 1)
    return 10 * math.log10(4 / float((found - volume[None]).square().mean()))


def ours(text: str, arguments: argparse.Namespace) -> Contender:
    """vae3d with the settings that `vae3d train TEXT` would have."""
    config: TrainConfig = composed("train", *shlex.split(text))
    model = CustomVAE(config.model).to_device(CPU)
    objective = Objective(config.loss, model.factor, build_perceptual(config.loss))
    equivariance = Equivariance(objective, config.loss.equivariance)
    options = config.trainer
    optimizer = build_optimizer(options.optimizer, model, options.lr, options.weight_decay)
    precision = Precision(options.precision, CPU)
    ema = ExponentialMovingAverage(model, options.ema_decay)
    noise = torch.Generator().manual_seed(arguments.seed)

    def step(images: Tensor, progress: float) -> float:
        rate = learning_rate(
            int(progress * TICKS), TICKS, options.lr, TICKS // 20, options.min_lr_ratio
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        with precision.autocast(CPU):
            output = model(images, noise)
        inside = [tuple(images.shape[2:])] * len(images)
        tick = int(progress * TICKS)
        terms = objective(output, images, inside, tick)
        if weight := equivariance.weight_at(tick):
            seeds = torch.randint(2**31, (len(images),), generator=noise).tolist()
            with precision.autocast(CPU):
                value = equivariance(model, output, images, inside, seeds)
            terms = terms.plus("equivariance", value, weight)
        loss = terms.total.mean()
        precision.backward(loss)
        precision.clip(model, optimizer, options.clip_norm)
        precision.step(optimizer, loss.detach().isfinite())
        optimizer.zero_grad(set_to_none=True)
        ema.update()
        return loss.item()

    def reconstruct(image: Tensor) -> Tensor:
        with precision.autocast(CPU), ema.averaged():
            found: Tensor = model(image).reconstruction
        return found

    return Contender(f"`{text}`", model, step, reconstruct)


def peer(network: Network) -> Contender:
    """A peer in a loop of its tutorials' kind."""
    model = network.model
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step(images: Tensor, progress: float) -> float:
        with network.autocast(CPU):
            reconstruction, kl = network.losses(images)
        loss = (reconstruction.float() - images).abs().mean() + 1e-6 * kl.float()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        return float(loss)

    def reconstruct(image: Tensor) -> Tensor:
        with network.autocast(CPU):
            return network.reconstruct(image)

    return Contender(network.title, model, step, reconstruct)


PEERS: dict[str, Callable[[], Contender]] = {
    "monai": lambda: peer(peers.monai("fp32")),
    "monai_bf16": lambda: peer(peers.monai("bf16")),
    "vae3d2d": lambda: peer(peers.vae3d2d("fp32")),
    "vae3d2d_bf16": lambda: peer(peers.vae3d2d("bf16")),
}


if __name__ == "__main__":
    sys.exit(main())
