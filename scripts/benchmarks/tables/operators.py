"""The private operators of torch that vae3d calls, with and without.

`vae3d/layers/operators.py` calls two convolutions of torch directly and knows the outputs of some
operators on the meta device. Each is timed against what torch does by itself.
"""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from unittest import mock

import torch

from benchmarks.processes import SCRIPTS, environment
from benchmarks.result import Block
from benchmarks.timing import alternate, timed
from vae3d.layers import convolution
from vae3d.loss.structural import ssim
from vae3d.model.config import LevelSpec, VAEConfig
from vae3d.model.vae import VAE

TITLE = "Private operators of torch"
PEERS = ()

PLAN = (
    "import torch, vae3d.layers.operators as operators; {change}"
    "from vae3d.model.config import VAEConfig; from vae3d.model.vae import VAE;"
    "from vae3d.streaming.plan import streaming_plan;"
    "model = torch.device('meta').__enter__() and VAE(VAEConfig(spatial_dims=3));"
    "streaming_plan(model, (64, 64, 64), None)"
)


@dataclass(frozen=True)
class Sizes:
    """The side of the image, how often, and whether a new Python plans a volume's memory."""

    side: int = 64
    rounds: int = 7
    seconds: float = 300.0
    plan: bool = True


SIZES = {
    "full": Sizes(),
    "quick": Sizes(rounds=3, seconds=3.0),
    "miniature": Sizes(side=16, rounds=2, plan=False),
}


def measure(sizes: Sizes) -> list[Block]:
    """Time every operator with and without."""
    shape = (1, 1, *(sizes.side,) * 3)
    calls = {
        "training step, one image": training_step(shape),
        "reconstruction, one image": reconstruction(shape),
        "SSIM, one image": similarity(shape),
    }
    pairs: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
        name: (call, partial(without, call)) for name, call in calls.items()
    }
    if sizes.plan:
        pairs["plan of memory, new Python (imports included)"] = (
            partial(plan, ""),
            partial(plan, "operators.META_OUTPUTS.clear();"),
        )
    rows, values, rounds = [], {}, []
    for name, (ours, torchs) in pairs.items():
        samples = alternate(
            {"vae3d": timed(ours), "torch": timed(torchs)}, sizes.rounds, sizes.seconds
        )
        a, b = (samples.spread(side).median for side in ("vae3d", "torch"))
        rows.append([name, f"{a:.3f}", f"{b:.3f}", samples.ratio("torch", "vae3d").shown(1)])
        values[name] = samples.values["vae3d"]
        rounds.append(samples.rounds)
    caption = (
        "Seconds with the operators of `vae3d/layers/operators.py` and with what torch does by "
        f"itself, and the median of the ratios. One float32 image of {sizes.side}^3 through a "
        f"network of 16 and 32 channels, {min(rounds)} rounds."
    )
    return [Block(caption, ["", "vae3d", "torch by itself", "ratio"], rows, values)]


def network() -> VAE:
    """Return a network of few channels, as `model=tiny` has."""
    torch.manual_seed(0)
    return VAE(VAEConfig(levels=[LevelSpec(16), LevelSpec(32, stride=(2,))], patch=(2,)))


def training_step(shape: tuple[int, ...]) -> Callable[[], None]:
    """Return the forward and backward pass of one image."""
    model, image = network().train(), torch.rand(shape)

    def step() -> None:
        model.zero_grad()
        loss = model(image, torch.Generator()).reconstruction.square().mean()
        torch.autograd.backward(loss)

    return step


def reconstruction(shape: tuple[int, ...]) -> Callable[[], None]:
    """Return encoder and decoder of one image."""
    model, image = network().eval(), torch.rand(shape)

    def reconstruct() -> None:
        with torch.no_grad():
            model(image)

    return reconstruct


def similarity(shape: tuple[int, ...]) -> Callable[[], None]:
    """Return the SSIM of two images."""
    first, second = torch.rand(shape), torch.rand(shape)

    def compare() -> None:
        with torch.no_grad():
            ssim(first, second, data_range=1.0)

    return compare


def plan(change: str) -> None:
    """Plan a volume's memory in a new Python."""
    command = [sys.executable, "-c", PLAN.format(change=change)]
    subprocess.run(command, check=True, env=environment(), cwd=SCRIPTS)


def without(call: Callable[[], None]) -> None:
    """Do the same with torch's own choice of kernels."""
    # Its name in earlier versions, which --against measures.
    limit = "FEW_CHANNELS" if hasattr(convolution, "FEW_CHANNELS") else "MAX_PLANAR_CHANNELS"
    with (
        mock.patch.object(convolution, "is_slow", return_value=False),
        mock.patch.object(convolution, limit, 0),
        mock.patch("vae3d.loss.blur.computes_in_float32", return_value=False),
    ):
        call()
