"""One call of a contender: its seconds, its memory and its result against a reference.

    python -m benchmarks.latent_calls NAME DIRECTION FOLDER SIZES

prints them as JSON: `null` where the memory does not suffice.
"""

import contextlib
import json
import math
import re
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.latents import CPU, Contender, Sizes, contenders
from vae3d.phantoms.chest import phantom
from vae3d.runtime.memory import free_memory, peak_memory

SHARE = 0.9
"""Share of the free memory that a measurement may take."""
PART = 32
"""Voxels of the first and the last axis that warm up; the second is whole, as MAISI splits it."""

Outcome = dict[str, float]
Voxels = np.ndarray[Any, Any]


def main(name: str, direction: str, folder: str, sizes: str) -> None:
    """Measure one call in this process and print the outcome."""
    given: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(sizes).items()}
    outcome = call(name, direction, Path(folder), Sizes(**given))
    sys.stdout.write(json.dumps(outcome) + "\n")


def call(name: str, direction: str, folder: Path, sizes: Sizes) -> Outcome | None:
    """Measure one call of a contender by its name."""
    by_name = {contender.name: contender for contender in contenders(sizes)}
    return measured(by_name[name], direction, folder, sizes.limit)


def save_image(shape: tuple[int, ...], folder: Path) -> None:
    """Write a phantom between -1000 and 1000 HU as (1, 1, D, H, W) in [-1, 1]."""
    voxels = np.clip(phantom(shape, 0, 0) / 1000, -1, 1, dtype=np.float32)
    np.save(folder / "image.npy", voxels[None, None])


@torch.inference_mode()
def measured(row: Contender, direction: str, folder: Path, limit: float) -> Outcome | None:
    """Return the outcome of one call, or None if it does not fit into the memory."""
    given = folder / ("image.npy" if direction == "encode" else f"{row.family}-encode.npy")
    if not given.exists():
        return None
    x = torch.from_numpy(np.load(given, allow_pickle=False))
    encoding, decoding, model = row.make()
    way, part = (encoding, PART) if direction == "encode" else (decoding, PART // 4)
    way(x[:, :, :part, :, :part].contiguous())
    made: list[Tensor] = []
    start = time.perf_counter()
    try:
        with confined(limit):
            memory = peak_memory(lambda: made.append(way(x)), CPU)
    except (RuntimeError, MemoryError) as error:
        if not is_exhaustion(error):
            raise
        return None
    seconds = time.perf_counter() - start
    result = made[0].numpy()
    reference = folder / f"{row.family}-{direction}.npy"
    if not reference.exists():
        np.save(reference, result)
    largest, typical = differences(result, np.load(reference, mmap_mode="r", allow_pickle=False))
    return {
        "seconds": seconds,
        "bytes": memory or 0,
        "largest": largest,
        "typical": typical,
        "deviation": float(made[0].std()),
        "size": made[0].nbytes,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


@contextlib.contextmanager
def confined(limit: float) -> Iterator[None]:
    """Refuse this process more than `limit` GiB, or than is free, so that nothing is killed."""
    allowed = limit * 2**30 if limit else SHARE * free_memory(CPU)
    held = re.search(r"VmData:\s+(\d+)", Path("/proc/self/status").read_text())
    assert held is not None
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (int(held[1]) * 1024 + int(allowed), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def is_exhaustion(error: Exception) -> bool:
    """Return whether memory is what was missing, in the words of torch, C++ or oneDNN."""
    words = ("can't allocate memory", "bad_alloc", "could not create", "could not execute")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


def differences(result: Voxels, reference: Voxels) -> tuple[float, float]:
    """Return the largest absolute one and the root of the mean square, plane by plane."""
    assert result.shape == reference.shape, f"{result.shape} is not {reference.shape}"
    largest = squares = 0.0
    for n in range(result.shape[2]):
        apart = np.abs(result[:, :, n] - reference[:, :, n])
        largest = max(largest, float(apart.max()))
        squares += float(np.square(apart, dtype=np.float64).sum())
    return largest, math.sqrt(squares / result.size)


if __name__ == "__main__":
    main(*sys.argv[1:])
