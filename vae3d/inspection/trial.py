"""A look at the patches of a training before it begins: how many, which, and how fast."""

import time

from vae3d.data.cases import Cases
from vae3d.data.stored import StoredCases
from vae3d.loading.patches import Draw, PatchDataset
from vae3d.patching.samplers import PatchSampler
from vae3d.runtime.choices import SPLITS
from vae3d.runtime.memory import GIB
from vae3d.runtime.seeding import numpy_generator

READING_SECONDS = 0.5
"""Time for which patches are read to measure the speed."""


def patch_totals(cases: Cases, patching: PatchSampler, seed: int) -> dict[str, int]:
    """Return the number of patches of an epoch for each split."""
    usable = {split: cases.usable(split)[0] for split in SPLITS}
    return {
        split: len(PatchDataset(cases, indices, patching, seed))
        for split, indices in usable.items()
    }


def reading(dataset: PatchDataset, cases: Cases) -> dict[str, float]:
    """Return the measured patches per second of this process, and the store's size in GiB."""
    start, count = time.perf_counter(), 0
    for draw in draws(dataset, 2**30, seed=1):
        dataset[draw]
        count += 1
        if time.perf_counter() - start > READING_SECONDS:
            break
    result = {"patches_per_second": count / (time.perf_counter() - start)}
    if isinstance(cases, StoredCases):
        result["store_gib"] = cases.num_bytes() / GIB
    return result


def draws(dataset: PatchDataset, count: int, seed: int) -> list[Draw]:
    """Return up to `count` random patches of the first epoch, without repetition."""
    numbers = numpy_generator(seed, "inspect").permutation(len(dataset))[:count]
    return [Draw(0, int(number), 0.0) for number in numbers]
