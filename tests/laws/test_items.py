"""Law 3: item = f(seed, epoch, index): the same for any number of workers and ranks."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vae3d.data.config import SyntheticConfig
from vae3d.data.loaded import LoadedCases
from vae3d.data.phantoms import PhantomSource
from vae3d.loading.loader import PatchLoader, StepPlan
from vae3d.loading.patches import PADDING, Batch, Draw, PatchDataset
from vae3d.patching.samplers import (
    GridPatches,
    PatchSampler,
    RandomPatches,
    WholeVolume,
    build_sampler,
)
from vae3d.runtime.distributed import Distributed
from vae3d.runtime.seeding import derive_seed
from vae3d.runtime.shuffle import Shuffle

SAMPLERS = [
    WholeVolume(),
    GridPatches(size=(8,), overlap=0.25),
    GridPatches(size=(16, 8, 8)),
    RandomPatches(size=(8,), per_volume=3),
]


def make_dataset(sampler: PatchSampler) -> PatchDataset:
    config = SyntheticConfig(shape=(12, 17, 16), count=5, val_fraction=0, test_fraction=0)
    cases = LoadedCases(PhantomSource(config), config)
    indices = cases.survey("train")
    return PatchDataset(cases, indices, build_sampler(sampler, 3), seed=3)


def all_batches(dataset: PatchDataset, rank: int, world: int, workers: int) -> list[Batch]:
    loader = PatchLoader(dataset, 2, 1, Distributed(rank, world), workers)
    steps = loader.plan.steps_per_epoch
    return [b for step in loader.steps(0, 2 * steps) for micro in step for b in micro]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_workers_change_nothing(sampler: PatchSampler) -> None:
    dataset = make_dataset(sampler)
    alone, helped = all_batches(dataset, 0, 1, 0), all_batches(dataset, 0, 1, 2)
    assert len(alone) == len(helped)
    for first, second in zip(alone, helped, strict=True):
        assert torch.equal(first.images, second.images)
        assert first.noise_seeds == second.noise_seeds


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_ranks_share_the_same_patches(sampler: PatchSampler) -> None:
    dataset = make_dataset(sampler)
    alone = Counter(seed for batch in all_batches(dataset, 0, 1, 0) for seed in batch.noise_seeds)
    shared: Counter[int] = Counter()
    for rank in range(2):
        for batch in all_batches(dataset, rank, 2, 0):
            pairs = zip(batch.noise_seeds, batch.weights.tolist(), strict=True)
            shared.update(seed for seed, weight in pairs if weight > 0)
    assert shared == alone


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_random_patches_are_fresh_each_epoch_and_repeatable(sampler: PatchSampler) -> None:
    dataset = make_dataset(sampler)
    same = all(
        torch.equal(dataset[Draw(0, i, 1.0)].image, dataset[Draw(1, i, 1.0)].image)
        for i in range(len(dataset))
    )
    assert same == (not isinstance(sampler, RandomPatches))
    again = make_dataset(sampler)
    assert torch.equal(dataset[Draw(7, 2, 1.0)].image, again[Draw(7, 2, 1.0)].image)


def test_every_epoch_has_its_own_order_and_its_own_noise() -> None:
    plan = StepPlan(30, batch_size=4, accumulation=2, rank=0, world=1, seed=3)
    assert plan.steps_per_epoch == 4
    steps = [[draw for micro in plan.step(step) for draw in micro] for step in range(8)]
    for epoch in (0, 1):
        draws = [draw for step in steps[4 * epoch : 4 * epoch + 4] for draw in step]
        order = Shuffle(30, 3, "order", epoch)(np.arange(30))
        assert [draw.index for draw in draws] == order.tolist()
        assert {draw.epoch for draw in draws} == {epoch}
    assert [draw.index for draw in steps[0]] != [draw.index for draw in steps[4]]
    dataset = make_dataset(WholeVolume())
    places = [(epoch, index) for epoch in range(3) for index in range(len(dataset))]
    seeds = [dataset[Draw(*place, 1.0)].noise_seed for place in places]
    assert len({*seeds}) == len(places)
    assert seeds == [derive_seed(3, "noise", *place) for place in places]


@given(
    patches=st.integers(1, 50),
    batch=st.integers(1, 4),
    accumulation=st.integers(1, 3),
    world=st.integers(1, 4),
)
def test_every_patch_once_per_epoch_and_weights_sum_to_one(
    patches: int, batch: int, accumulation: int, world: int
) -> None:
    plans = [StepPlan(patches, batch, accumulation, rank, world, 0) for rank in range(world)]
    seen: Counter[int] = Counter()
    for step in range(plans[0].steps_per_epoch):
        draws = [[d for micro in plan.step(step) for d in micro] for plan in plans]
        assert all(draws), "every rank takes part in every step"
        weights = [draw.weight for rank in draws for draw in rank]
        assert np.isclose(sum(weights), 1)
        seen.update(d.index for rank in draws for d in rank if d.weight > 0)
    assert seen == Counter(range(patches))


def test_full_covers_every_voxel_and_marks_padding() -> None:
    dataset = make_dataset(GridPatches(size=(16, 8, 8)))
    for index in range(len(dataset)):
        patch = dataset[Draw(0, index, 1.0)]
        assert patch.image.shape == (1, 16, 8, 8)
        assert patch.inside == (12, 8, 8)
        assert (patch.image[:, 12:] == PADDING).all()


def test_foreground_patches_hold_foreground() -> None:
    dataset = make_dataset(RandomPatches(size=(2,), per_volume=40, foreground=1.0, threshold=0.0))
    for index in range(len(dataset)):
        # 0 HU is the middle of the window [-1000, 1000].
        assert (dataset[Draw(0, index, 1.0)].image > 0).any()
