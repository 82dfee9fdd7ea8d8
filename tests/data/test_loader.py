"""The loader starts at any step and reports the case at which a worker died."""

import os
import signal
import time
from collections.abc import Callable

import pytest
import torch
from torch.utils.data import get_worker_info

from vae3d.data.config import SyntheticConfig
from vae3d.data.loaded import LoadedCase, LoadedCases
from vae3d.data.phantoms import PhantomSource
from vae3d.errors import DataError, VolumeError
from vae3d.loading.loader import PatchLoader
from vae3d.loading.patches import PatchDataset
from vae3d.patching.samplers import RandomPatches
from vae3d.runtime.distributed import Distributed

Fate = Callable[[], None]


class TroubledCases(LoadedCases):
    """Phantoms of which number 3 calls `fate` in the worker that reads it."""

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
    dataset = PatchDataset(cases, cases.survey("train"), sampler, seed=1)
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


class UnreadCases(LoadedCases):
    """Phantoms of which some can no longer be read after the survey."""

    lost: frozenset[int] = frozenset()

    def __getitem__(self, index: int) -> LoadedCase:
        if index in self.lost:
            raise VolumeError(f"scan{index}.nii.gz", "is gone")
        return super().__getitem__(index)


def loader_without(lost: set[int], max_skipped: float = 0.5) -> PatchLoader:
    config = SyntheticConfig(
        shape=(8, 8, 8), count=8, val_fraction=0, test_fraction=0,
        on_error="skip", max_skipped=max_skipped,
    )  # fmt: skip
    cases = UnreadCases(PhantomSource(config), config)
    sampler = RandomPatches(size=(4, 4, 4), per_volume=4)
    dataset = PatchDataset(cases, cases.survey("train"), sampler, seed=1)
    cases.lost = frozenset(lost)
    return PatchLoader(dataset, 2, 2, Distributed(), workers=0)


def test_an_unreadable_case_is_reported_once() -> None:
    loader = loader_without({2, 5})
    reported: list[tuple[str, str]] = []
    loader.on_unreadable = lambda case_id, reason: reported.append((case_id, reason))
    batches = [batch for step in loader.steps(0, 24) for micro in step for batch in micro]
    assert sum(len(batch.unread) for batch in batches) > 10
    assert sorted(reported) == [("phantom_0002", "is gone"), ("phantom_0005", "is gone")]
    assert loader.unread == dict(reported)


@pytest.mark.parametrize(
    ("lost", "max_skipped", "ends"),
    [({1, 2}, 0.25, False), ({1, 2, 3}, 0.25, True), ({1}, 0.0, False), ({1, 2}, 0.0, True)],
)
def test_too_many_unread_cases_end_the_training(
    lost: set[int], max_skipped: float, ends: bool
) -> None:
    """One case may always be unreadable; more only up to the share of all cases."""
    loader = loader_without(lost, max_skipped)
    if not ends:
        assert images(loader, 0, 16)
        return
    with pytest.raises(DataError, match=rf"{len(lost)} of 8 cases cannot be read any more"):
        images(loader, 0, 16)


def test_the_patches_of_a_step_can_be_read_again() -> None:
    loader = loader_of(None, 0)
    for step in (0, 1):
        images_of_step = torch.cat(images(loader, step, step + 1))
        again = loader.patches(step)
        assert torch.equal(torch.stack([patch.image for _, patch in again]), images_of_step)
        draws = [draw for micro in loader.plan.step(step) for draw in micro]
        expected = [f"phantom_{draw.index // 2:04d}" for draw in draws]
        assert [case_id for case_id, _ in again] == expected


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
