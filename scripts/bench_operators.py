"""The private operators of torch, with and without: seconds, and their ratio round by round.

    python scripts/bench_operators.py [--rounds 7]

`vae3d/model/operators.py` calls two convolutions of torch directly and knows the outputs of some
operators on the meta device. Each is timed against what torch does by itself, alternating within a
round. The table has the medians, and the median of the ratios.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from unittest import mock

import torch

from vae3d.loss.structural import ssim
from vae3d.model import convolution
from vae3d.model.config import LevelSpec, VAEConfig
from vae3d.model.vae import VAE

SHAPE = (1, 1, 64, 64, 64)
PLAN = (
    "import torch, vae3d.model.operators as operators; {change}"
    "from vae3d.model.config import VAEConfig; from vae3d.model.vae import VAE;"
    "from vae3d.streaming.plan import streaming_plan;"
    "model = torch.device('meta').__enter__() and VAE(VAEConfig(spatial_dims=3));"
    "streaming_plan(model, (64, 64, 64), None)"
)


def network() -> VAE:
    """A network of few channels, as `model=tiny` has."""
    torch.manual_seed(0)
    return VAE(VAEConfig(levels=[LevelSpec(16), LevelSpec(32, stride=(2,))], patch=(2,)))


def training_step() -> Callable[[], None]:
    """Forward and backward of one image."""
    model, image = network().train(), torch.rand(SHAPE)

    def step() -> None:
        model.zero_grad()
        model(image, torch.Generator()).reconstruction.square().mean().backward()

    return step


def reconstruction() -> Callable[[], None]:
    """Encoder and decoder of one image."""
    model, image = network().eval(), torch.rand(SHAPE)

    def reconstruct() -> None:
        with torch.no_grad():
            model(image)

    return reconstruct


def similarity() -> Callable[[], None]:
    """SSIM of two images."""
    first, second = torch.rand(SHAPE), torch.rand(SHAPE)

    def compare() -> None:
        with torch.no_grad():
            ssim(first, second, data_range=1.0)

    return compare


def plan(change: str) -> Callable[[], None]:
    """A plan of a volume's memory in a new Python."""

    def measure() -> None:
        subprocess.run([sys.executable, "-c", PLAN.format(change=change)], check=True)

    return measure


def seconds(call: Callable[[], None]) -> float:
    """The time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def without(call: Callable[[], None]) -> Callable[[], None]:
    """The same with torch's own choice of kernels."""

    def plain() -> None:
        with (
            mock.patch.object(convolution, "is_slow", return_value=False),
            mock.patch.object(convolution, "FEW_CHANNELS", 0),
            mock.patch("vae3d.loss.blur.computes_in_float32", return_value=False),
        ):
            call()

    return plain


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    calls = {
        "training step, one image": training_step(),
        "reconstruction, one image": reconstruction(),
        "SSIM, one image": similarity(),
    }
    pairs = {name: (call, without(call)) for name, call in calls.items()}
    pairs["plan of memory, new Python"] = plan(""), plan("operators.META_OUTPUTS.clear();")
    for name, (ours, torchs) in pairs.items():
        ours(), torchs()
        timed = [(seconds(ours), seconds(torchs)) for _ in range(rounds)]
        a, b = (statistics.median(column) for column in zip(*timed, strict=True))
        ratio = statistics.median(y / x for x, y in timed)
        sys.stdout.write(f"| {name} | {a:.3f} | {b:.3f} | {ratio:.1f} |\n")


if __name__ == "__main__":
    main()
