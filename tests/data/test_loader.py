"""The loader goes on from anywhere, and says what its workers died of."""

import os
import signal
import time
from collections.abc import Callable

import pytest
import torch
from torch.utils.data import get_worker_info

from vae3d.data.cases import LoadedCase, LoadedCases
from vae3d.data.config import SyntheticConfig
from vae3d.data.loader import PatchLoader
from vae3d.data.patches import PatchDataset
from vae3d.data.phantoms import PhantomSource
from vae3d.errors import DataError, VolumeError
from vae3d.patching.samplers import RandomPatches
from vae3d.runtime.distributed import Distributed

Fate = Callable[[], None]


class TroubledCases(LoadedCases):
    """Phantoms of which number 3 does something to a worker that asks for it."""

    def __init__(self, fate: Fate | None = None) -> None:
        config = SyntheticConfig(shape=(12, 12, 12), count=5, val_fraction=0, test_fraction=0)
        super().__init__(PhantomSource(config), config)
        self.fate = fate

    def __getitem__(self, index: int) -> LoadedCase:
        if index == 3 and self.fate and get_worker_info():
            self.fate()
        return super().__getitem__(index)


def loader_of(fate: Fate | None, workers: int, timeout: float = 60) -> PatchLoader:
    cases = TroubledCases(fate)
    sampler = RandomPatches(size=(8, 8, 8), per_volume=2)
    dataset = PatchDataset(cases, cases.survey("train", print), sampler, seed=1)
    return PatchLoader(dataset, 2, 2, Distributed(), workers, timeout)


def images(loader: PatchLoader, first: int, last: int) -> list[torch.Tensor]:
    steps = loader.steps(first, last)
    return [batch.images for step in steps for micro in step for batch in micro]


@pytest.mark.parametrize("workers", [0, 2])
def test_any_step_can_be_the_first(workers: int) -> None:
    whole = images(loader_of(None, 0), 0, 9)
    for first in (1, 2, 5):
        skipped = len(images(loader_of(None, 0), 0, first))
        tail = images(loader_of(None, workers), first, 9)
        assert len(tail) == len(whole) - skipped
        assert all(torch.equal(a, b) for a, b in zip(tail, whole[skipped:], strict=True))


def raise_error() -> None:
    raise VolumeError("scan.nii.gz", "is truncated")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave() -> None:
    os._exit(1)


def sleep() -> None:
    time.sleep(60)


def test_an_error_in_a_worker_is_the_same_error() -> None:
    with pytest.raises(VolumeError, match=r"^scan\.nii\.gz: is truncated$"):
        images(loader_of(raise_error, 2), 0, 3)


@pytest.mark.parametrize("fate", [die, leave])
def test_a_dead_worker_is_named_with_its_case(fate: Fate) -> None:
    with pytest.raises(DataError, match=r"worker failed at case .*phantom_0003"):
        images(loader_of(fate, 1), 0, 3)


def test_a_worker_that_hangs_ends_the_wait() -> None:
    with pytest.raises(DataError, match=r"phantom_0003.*timed out after 2 seconds"):
        images(loader_of(sleep, 1, timeout=2), 0, 3)
