"""Time and memory of a whole volume's latent and of its way back, against what MONAI does.

    pip install -e '.[bench]'
    python scripts/bench_latents.py --model small --shape 256 512 512 --memory 1 0.5

One table of vae3d's network: at once, slab by slab in so many GiB (`--memory`; at once where that
fits), and by MONAI's SlidingWindowInferer around the same encoder and decoder: cubes of `--size`
voxels, `--overlap`, `--batch` windows a forward, weighed by a Gaussian. Windows of the encoder
that do not start on the latent grid (64 voxels, overlap 0.4: one every 38) are named so; those of
the decoder always do. One table of MONAI's AutoencoderKlMaisi, whose convolutions are computed in
`--splits` parts: MAISI's architecture with `--channels` and `--blocks` (64 128 256 and 2 in full),
split along the second axis as there, in float32.

Each measurement is a process of its own: it warms up on a part of the volume, then does the whole
once. Seconds and MiB (peak of resident memory above what was held before, result included) are
medians of the rounds, in each of which all take turns. `times` is the median of each round's ratio
to the first row, `difference` that from its result: the largest absolute one / the root of the
mean square. What would take more memory than is free (or `--limit` GiB) has no figures, and where
that is the first row the next one takes its place.

CPU, float32, a phantom with a scanner's noise, random weights, also where they begin as zeros.
torch computes single images of few channels slowly (vae3d/model/convolution.py). vae3d's network
avoids that, in MONAI's windows too; AutoencoderKlMaisi does not, but meets it only where an image
has 20480 numbers a column (channels x depth x height) or less: a whole CT has more.
"""

import argparse
import json
import logging
import math
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers import MONAI_CHANNELS
from torch import Tensor, nn

from vae3d.autoencoder.vae import CustomVAE
from vae3d.cli.compose import composed
from vae3d.commands.train import TrainConfig
from vae3d.runtime.memory import free_memory, peak_memory
from vae3d.runtime.messages import show_messages
from vae3d.scans.synthetic import phantom

log = logging.getLogger("vae3d.bench_latents")

DIRECTIONS = ("encode", "decode")
CPU = torch.device("cpu")
GIB = 2**30
MIB = 2**20
SHARE = 0.9
"""Of the free memory, what a measurement may take."""
PART = 32
"""Voxels of the first and the last axis that warm up, the second as it is: that is split."""

Way = Callable[[Tensor], Tensor]
Result = dict[str, float]
Voxels = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Contender:
    """`make` builds a network and gives its encoding (B, C, *spatial), its decoding and itself.

    The first of each `family` that fits is what the others are compared with.
    """

    name: str
    family: str
    make: Callable[[], tuple[Way, Way, nn.Module]]


def main() -> int:
    """Prints the tables, or measures one contender for them."""
    show_messages()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="small")
    parser.add_argument("--shape", type=int, nargs=3, default=[256, 512, 512])
    parser.add_argument("--memory", type=float, nargs="+", default=[1.0, 0.5], help="GiB")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--overlap", type=float, nargs="+", default=[0.25, 0.5, 0.4])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--splits", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--channels", type=int, nargs=3, default=list(MONAI_CHANNELS))
    parser.add_argument("--blocks", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, help="GiB that a measurement may take")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    factor = settings(arguments.model).model.factor
    sizes = (arguments.shape, [arguments.size] * 3)
    if any(n % f for size in sizes for n, f in zip(size, factor, strict=True)):
        parser.error(f"--shape and --size must be multiples of {factor}: windows are not padded")
    for count in arguments.splits:
        if not splits_fit(count, arguments.shape[1]):
            parser.error(
                f"--splits {count} needs a second axis that is a multiple of {4 * count} and at "
                f"least {12 * count}"
            )
    found = {contender.name: contender for contender in contenders(arguments)}
    if arguments.measure:
        name, direction, folder = arguments.measure
        result = measure(found[name], direction, Path(folder), arguments.limit)
        sys.stdout.write(json.dumps(result))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        save_image(arguments.shape, Path(folder) / "image.npy")
        results = in_turns(list(found.values()), arguments.rounds, folder)
    report(list(found.values()), results, arguments)
    return 0


def encode(model: CustomVAE, image: Tensor, memory: float | None) -> Tensor:
    """The latent of an image, at once or in so many GiB."""
    return model.encode(image, memory).mean


def decode(model: CustomVAE, latent: Tensor, memory: float | None) -> Tensor:
    """The image of a latent, at once or in so many GiB."""
    return model.decode(latent, memory=memory)


def contenders(arguments: argparse.Namespace) -> list[Contender]:
    """The rows of both tables."""
    rows = [Contender("vae3d, at once", "vae3d", partial(ours, arguments, None))]
    for memory in arguments.memory:
        name = f"vae3d, {memory:g} GiB"
        rows.append(Contender(name, "vae3d", partial(ours, arguments, memory)))
    factor = settings(arguments.model).model.factor
    for overlap in arguments.overlap:
        # MONAI's own rounding of the distance between two windows.
        step = int(arguments.size * (1 - overlap))
        beside = ", off the grid" if any(step % f for f in factor) else ""
        name = f"MONAI SlidingWindowInferer, overlap {overlap:g}{beside}"
        rows.append(Contender(name, "vae3d", partial(windows, arguments, overlap)))
    for count in arguments.splits:
        name = f"MONAI AutoencoderKlMaisi, num_splits={count}"
        rows.append(Contender(name, "maisi", partial(maisi, arguments, count)))
    return rows


def ours(arguments: argparse.Namespace, memory: float | None) -> tuple[Way, Way, nn.Module]:
    """vae3d's own ways."""
    model = network(arguments.model)
    return (
        lambda image: encode(model, image, memory),
        lambda latent: decode(model, latent, memory),
        model,
    )


def windows(arguments: argparse.Namespace, overlap: float) -> tuple[Way, Way, nn.Module]:
    """MONAI's inferer around vae3d's network; a window is no larger than the volume."""
    from monai.inferers import SlidingWindowInferer

    model = network(arguments.model)
    image_roi = tuple(min(arguments.size, n) for n in arguments.shape)
    latent_roi = model.latent_size(image_roi)

    def inferred(roi: tuple[int, ...], function: Way) -> Way:
        inferer = SlidingWindowInferer(
            roi_size=roi,
            sw_batch_size=arguments.batch,
            overlap=overlap,
            mode="gaussian",
            progress=False,
        )
        return lambda x: inferer(x, function)

    return (
        inferred(image_roi, lambda image: model.encode(image).mean),
        inferred(latent_roi, model.decode),
        model,
    )


def maisi(arguments: argparse.Namespace, splits: int) -> tuple[Way, Way, nn.Module]:
    """MAISI's autoencoder, its convolutions in so many parts."""
    from monai.apps.generation.maisi.networks.autoencoderkl_maisi import AutoencoderKlMaisi

    torch.manual_seed(0)
    model: Any = AutoencoderKlMaisi(
        spatial_dims=3,
        in_channels=1,
        out_channels=1,
        latent_channels=4,
        num_channels=arguments.channels,
        num_res_blocks=(arguments.blocks,) * 3,
        attention_levels=(False,) * 3,
        # 32 groups of 64 channels, as there.
        norm_num_groups=arguments.channels[0] // 2,
        num_splits=splits,
        dim_split=1,
    )
    randomise(model)
    return lambda image: model.encode(image)[0], model.decode, model.eval()


def splits_fit(count: int, length: int) -> bool:
    """Whether MAISI can split an axis: without a rest, and no part below its margin of 3.

    Its narrowest tensors are 4 times smaller than the image. A rest would be lost.
    """
    return count == 1 or (length % (4 * count) == 0 and length >= 12 * count)


def network(name: str) -> CustomVAE:
    """A preset with random weights, where it is fastest."""
    torch.manual_seed(0)
    model = CustomVAE(settings(name).model)
    randomise(model)
    return model.to_device(CPU).eval()


def settings(name: str) -> TrainConfig:
    """What `vae3d train model=NAME` would have."""
    config: TrainConfig = composed("train", f"model={name}")
    return config


@torch.no_grad()
def randomise(model: nn.Module) -> None:
    """Gives values to what begins as zeros, without which much of the network would be silent."""
    for parameter in model.parameters():
        if not parameter.any():
            inputs = parameter[0].numel() if parameter.dim() > 1 else 100
            parameter.normal_(0, 1 / math.sqrt(inputs))


def save_image(shape: list[int], path: Path) -> None:
    """A phantom between -1000 and 1000 HU as (1, 1, D, H, W) in [-1, 1]."""
    voxels = phantom(tuple(shape), 0, 0)
    np.save(path, np.clip(voxels / 1000, -1, 1, dtype=np.float32)[None, None])


def in_turns(
    rows: list[Contender], rounds: int, folder: str
) -> dict[tuple[str, str], list[Result]]:
    """The results of every row and direction; none where it does not fit."""
    results: dict[tuple[str, str], list[Result]] = {}
    for number in range(rounds):
        for direction in DIRECTIONS:
            for row in rows:
                taken = results.setdefault((row.name, direction), [])
                if len(taken) < number:
                    continue
                command = [sys.executable, __file__, *sys.argv[1:], "--measure"]
                command += [row.name, direction, folder]
                made = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
                result: Result | None = json.loads(made.stdout.splitlines()[-1])
                if result is None:
                    log.info(f"{row.name}, {direction}: does not fit")
                    continue
                taken.append(result)
                log.info(
                    f"{number + 1}/{rounds} {row.name}, {direction}: {result['seconds']:.2f} s"
                )
    return results


@torch.inference_mode()
def measure(row: Contender, direction: str, folder: Path, limit: float | None) -> Result | None:
    """One call in this process, or None where it does not fit."""
    given = folder / ("image.npy" if direction == "encode" else f"{row.family}-encode.npy")
    if not given.exists():
        return None
    x = torch.from_numpy(np.load(given, allow_pickle=False))
    encoding, decoding, model = row.make()
    call, part = (encoding, PART) if direction == "encode" else (decoding, PART // 4)
    call(x[:, :, :part, :, :part].contiguous())
    made: list[Tensor] = []
    confine(limit)
    start = time.perf_counter()
    try:
        memory = peak_memory(lambda: made.append(call(x)), CPU)
    except (RuntimeError, MemoryError) as error:
        if not is_exhaustion(error):
            raise
        return None
    seconds = time.perf_counter() - start
    lift()
    found = made[0].numpy()
    reference = folder / f"{row.family}-{direction}.npy"
    if not reference.exists():
        np.save(reference, found)
    largest, typical = differences(found, np.load(reference, mmap_mode="r", allow_pickle=False))
    return {
        "seconds": seconds,
        "bytes": memory or 0,
        "largest": largest,
        "typical": typical,
        "deviation": float(made[0].std()),
        "size": made[0].nbytes,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def confine(limit: float | None) -> None:
    """Refuses this process more than so many GiB, or than is free, so that nothing is killed."""
    allowed = SHARE * free_memory(CPU) if limit is None else limit * GIB
    held = re.search(r"VmData:\s+(\d+)", Path("/proc/self/status").read_text())
    assert held is not None
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (int(held[1]) * 1024 + int(allowed), hard))


def lift() -> None:
    """Takes `confine` back."""
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def is_exhaustion(error: Exception) -> bool:
    """Whether memory is what was missing, in the words of torch, C++ or oneDNN."""
    words = ("can't allocate memory", "bad_alloc", "could not create", "could not execute")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


def differences(found: Voxels, reference: Voxels) -> tuple[float, float]:
    """The largest absolute one and the root of the mean square, plane by plane."""
    assert found.shape == reference.shape, f"{found.shape} is not {reference.shape}"
    largest = squares = 0.0
    for n in range(found.shape[2]):
        apart = np.abs(found[:, :, n] - reference[:, :, n])
        largest = max(largest, float(apart.max()))
        squares += float(np.square(apart, dtype=np.float64).sum())
    return largest, math.sqrt(squares / found.size)


def report(
    rows: list[Contender],
    results: dict[tuple[str, str], list[Result]],
    arguments: argparse.Namespace,
) -> None:
    """Both tables."""
    sys.stdout.write(
        f"{'x'.join(map(str, arguments.shape))}, model={arguments.model}, windows of "
        f"{arguments.size}, batch {arguments.batch}, MAISI's channels "
        f"{'-'.join(map(str, arguments.channels))}, {arguments.blocks} blocks a level, fp32, "
        f"{torch.get_num_threads()} threads, {arguments.rounds} rounds\n"
    )
    for family in dict.fromkeys(row.family for row in rows):
        table([row.name for row in rows if row.family == family], results)


def table(names: list[str], results: dict[tuple[str, str], list[Result]]) -> None:
    """The rows of a family; the first that fits is the measure of both directions' others."""
    first = {d: next((results[n, d] for n in names if results[n, d]), []) for d in DIRECTIONS}
    notes = [
        f"{d}d: {taken[0]['size'] / MIB:.1f} MiB, standard deviation {taken[0]['deviation']:.3g}"
        for d, taken in first.items()
        if taken
    ]
    counts = {taken[0]["parameters"] for taken in first.values() if taken}
    notes = [*(f"{count / 1e6:.2f} M parameters" for count in counts), *notes]
    sys.stdout.write(f"\n{'; '.join(notes)}\n")
    heads = " | ".join(f"{d}: seconds | times | MiB | difference" for d in DIRECTIONS)
    sys.stdout.write(f"| | {heads} |\n|{'---|' * 9}\n")
    for name in names:
        cells = [cell for d in DIRECTIONS for cell in cells_of(results[name, d], first[d])]
        sys.stdout.write(f"| {name} | {' | '.join(cells)} |\n")


def cells_of(taken: list[Result], first: list[Result]) -> list[str]:
    """Seconds, times the first, MiB and difference."""
    if not taken:
        return ["does not fit", "", "", ""]
    seconds = statistics.median(result["seconds"] for result in taken)
    pairs = zip(taken, first, strict=True)
    ratio = statistics.median(a["seconds"] / b["seconds"] for a, b in pairs)
    memory = statistics.median(result["bytes"] for result in taken) / MIB
    apart = [max(result[kind] for result in taken) for kind in ("largest", "typical")]
    shown = " / ".join(f"{value:.1e}" if value else "0" for value in apart)
    return [f"{seconds:.2f}", f"{ratio:.2f}", f"{memory:.0f}", shown]


if __name__ == "__main__":
    raise SystemExit(main())
