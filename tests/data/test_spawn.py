"""Loader workers of macOS are new processes: what they get is pickled, patches are the same."""

import multiprocessing
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.data.test_custom import Items
from vae3d.data.build import open_cases
from vae3d.data.cases import Cases
from vae3d.data.config import (
    CaseData,
    CTConfig,
    CustomConfig,
    Images2DConfig,
    MRIConfig,
    StoreConfig,
    SyntheticConfig,
)
from vae3d.data.custom import DatasetSource
from vae3d.data.loaded import LoadedCases
from vae3d.errors import DataError
from vae3d.loading.loader import PatchLoader
from vae3d.loading.patches import Draw, PatchDataset
from vae3d.patching.samplers import RandomPatches
from vae3d.runtime.distributed import Distributed
from vae3d.runtime.progress import Silent

ALL: dict[str, Any] = {"val_fraction": 0.0, "test_fraction": 0.0, "check": "off"}


@pytest.fixture
def spawning() -> Iterator[None]:
    """Processes start as they do on macOS."""
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("spawn", force=True)
    yield
    multiprocessing.set_start_method(before, force=True)


def dataset_of(cases: Cases, axes: int = 3) -> PatchDataset:
    sampler = RandomPatches(size=(4,) * axes, per_volume=2)
    return PatchDataset(cases, cases.survey("train"), sampler, seed=1)


def images(dataset: PatchDataset, workers: int) -> list[torch.Tensor]:
    loader = PatchLoader(dataset, 2, 1, Distributed(), workers, timeout=120)
    steps = loader.steps(0, loader.plan.steps_per_epoch)
    return [batch.images for step in steps for micro in step for batch in micro]


def configs(folder: Path) -> dict[str, CaseData]:
    """Settings of every kind of cases, with three of each."""
    draw = np.random.default_rng(0)
    for name, axes in (("scans", 3), ("images", 2)):
        (folder / name).mkdir()
        for number in range(3):
            voxels = draw.integers(0, 200, (9,) * axes).astype(np.int16)
            np.save(folder / name / f"{number}.npy", voxels)
    scans, images_2d = str(folder / "scans"), str(folder / "images")
    return {
        "ct": CTConfig(root=scans, store=None, **ALL),
        "mri": MRIConfig(root=scans, store=str(folder / "store"), **ALL),
        "images_2d": Images2DConfig(root=images_2d, window=(0, 255), store=None, **ALL),
        "synthetic": SyntheticConfig(shape=(9, 9, 9), count=3, store=None, **ALL),
    }


def test_cases_of_every_kind_survive_the_pickle(tmp_path: Path) -> None:
    opened = {name: open_cases(c, Silent()) for name, c in configs(tmp_path).items()}
    opened["store"] = open_cases(StoreConfig(root=str(tmp_path / "store"), **ALL), Silent())
    items = Items(torch.rand(3, 1, 9, 9, 9).unbind())
    custom = CustomConfig(val_fraction=0.0, test_fraction=0.0)
    opened["custom"] = LoadedCases(DatasetSource(items, (0.0, 1.0)), custom)  # type: ignore[arg-type]
    for name, cases in opened.items():
        dataset = dataset_of(cases, cases.spatial_dims)
        first = [dataset[Draw(0, index, 1.0)].image for index in range(len(dataset))]
        # After patches were drawn too: open arrays and caches must not be in the way.
        again = pickle.loads(pickle.dumps(dataset))
        for index, image in enumerate(first):
            assert torch.equal(again[Draw(0, index, 1.0)].image, image), (name, index)


def test_patches_of_new_processes_are_those_of_this_one(tmp_path: Path, spawning: None) -> None:
    dataset = dataset_of(open_cases(configs(tmp_path)["mri"], Silent()))
    alone, helped = images(dataset, 0), images(dataset, 1)
    assert len(alone) == len(helped) > 0
    assert all(map(torch.equal, alone, helped))


def test_a_dataset_that_cannot_be_pickled_is_one_line(spawning: None) -> None:
    items = Items(torch.rand(3, 1, 9, 9, 9).unbind())
    items.transform = lambda item: item  # type: ignore[attr-defined]
    custom = CustomConfig(val_fraction=0.0, test_fraction=0.0)
    cases = LoadedCases(DatasetSource(items, (0.0, 1.0)), custom)  # type: ignore[arg-type]
    dataset = dataset_of(cases)
    assert images(dataset, 0)
    with pytest.raises(DataError, match=r"cannot be sent to loader workers \(.*data\.workers=0"):
        images(dataset, 1)
