"""A whole volume to its latent and back: seconds, memory and differences, against MONAI.

* vae3d's network in one pass, slab by slab in `memory` GiB, and by MONAI's SlidingWindowInferer
  around the same encoder and decoder: cubes of `size` voxels, weighted by a Gaussian. Windows of
  the encoder that do not start on the latent grid are marked; those of the decoder always do.
* MONAI's AutoencoderKlMaisi, whose convolutions are computed in `splits` parts: MAISI's
  architecture with `channels` and `blocks` (64, 128, 256 and 2 in full).

CPU, float32, a phantom with a scanner's noise, random weights, also where they begin as zeros.
torch computes single images of few channels slowly (vae3d/layers/convolution.py). vae3d's network
avoids that, in MONAI's windows too; AutoencoderKlMaisi does not, but meets it only where an image
has 20480 numbers a column (channels x depth x height) or less: a whole CT has more.
"""

import json
import logging
import statistics
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.latent_calls import Outcome, call, save_image
from benchmarks.latents import DIRECTIONS, Contender, Sizes, contenders
from benchmarks.processes import fresh
from benchmarks.result import Block
from benchmarks.timing import Spread

TITLE = "Latents of whole volumes"
PEERS = ("monai",)
SIZES = {
    "full": Sizes(),
    "quick": Sizes(
        shape=(64, 96, 96), memory=(0.05,), size=32, overlap=(0.25,), rounds=2, own_process=False
    ),
    "miniature": Sizes(
        "tiny", (16, 16, 16), (0.04,), 16, (0.25,), splits=(1,), rounds=1, own_process=False
    ),
}

log = logging.getLogger("vae3d.bench")
Outcomes = dict[tuple[str, str], list[Outcome]]


def measure(sizes: Sizes) -> list[Block]:
    """Return a block for vae3d's network and one for MAISI's."""
    sizes.check()
    rows = contenders(sizes)
    with tempfile.TemporaryDirectory() as folder:
        save_image(sizes.shape, Path(folder))
        outcomes = alternated(rows, sizes, folder)
    families = dict.fromkeys(row.family for row in rows)
    names = [[row.name for row in rows if row.family == family] for family in families]
    return [block(some, outcomes, sizes) for some in names]


def alternated(rows: list[Contender], sizes: Sizes, folder: str) -> Outcomes:
    """Return the outcomes of every row and direction; none where it does not fit."""
    outcomes: Outcomes = {}
    for number in range(sizes.rounds):
        for direction in DIRECTIONS:
            for row in rows:
                taken = outcomes.setdefault((row.name, direction), [])
                if len(taken) < number:
                    continue
                outcome = once(row, direction, sizes, folder)
                if outcome is None:
                    log.info(f"{row.name}, {direction}: does not fit")
                else:
                    taken.append(outcome)
    return outcomes


def once(row: Contender, direction: str, sizes: Sizes, folder: str) -> Outcome | None:
    """Return the outcome of one call, in a process of its own if the sizes ask for it."""
    if not sizes.own_process:
        return call(row.name, direction, Path(folder), sizes)
    given = json.dumps(asdict(sizes))
    outcome: Outcome | None = fresh("benchmarks.latent_calls", row.name, direction, folder, given)
    return outcome


def block(names: list[str], outcomes: Outcomes, sizes: Sizes) -> Block:
    """Return the rows of a family; the first that fits is the reference of each direction."""
    first = {
        direction: next((outcomes[n, direction] for n in names if outcomes[n, direction]), [])
        for direction in DIRECTIONS
    }
    notes = [
        f"{direction}d: {taken[0]['size'] / 2**20:.1f} MiB, standard deviation "
        f"{taken[0]['deviation']:.3g}"
        for direction, taken in first.items()
        if taken
    ]
    counts = {taken[0]["parameters"] for taken in first.values() if taken}
    notes = [*(f"{count / 1e6:.2f} M parameters" for count in counts), *notes]
    caption = (
        f"{'x'.join(map(str, sizes.shape))}, `model={sizes.model}`, batch {sizes.batch}, MAISI's "
        f"channels {'-'.join(map(str, sizes.channels))} and {sizes.blocks} blocks a level, fp32, "
        f"{torch.get_num_threads()} threads, {sizes.rounds} rounds. {'; '.join(notes)}. "
        "Differences: the largest / the root of the mean square."
    )
    heads = [""]
    for direction in DIRECTIONS:
        heads += [f"{direction} s", "times", "MiB", "difference"]
    rows = []
    for name in names:
        row = [cells(outcomes[name, direction], first[direction]) for direction in DIRECTIONS]
        rows.append([name, *row[0], *row[1]])
    samples = {
        f"{direction}, {name}": [outcome["seconds"] for outcome in outcomes[name, direction]]
        for name in names
        for direction in DIRECTIONS
    }
    return Block(caption, heads, rows, samples)


def cells(taken: list[Outcome], first: list[Outcome]) -> list[str]:
    """Return seconds, times the first, MiB and difference."""
    if not taken:
        return ["does not fit", "", "", ""]
    seconds = statistics.median(outcome["seconds"] for outcome in taken)
    pairs = zip(taken, first, strict=True)
    ratio = Spread.of([a["seconds"] / b["seconds"] for a, b in pairs])
    memory = statistics.median(outcome["bytes"] for outcome in taken) / 2**20
    apart = [max(outcome[kind] for outcome in taken) for kind in ("largest", "typical")]
    shown = " / ".join(f"{value:.1e}" if value else "0" for value in apart)
    return [f"{seconds:.2f}", ratio.shown(), f"{memory:.0f}", shown]
