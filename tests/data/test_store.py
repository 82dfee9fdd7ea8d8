"""A store returns the voxels of its sources, whole or as patches."""

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import vae3d
from tests.data.stores import SHAPES, SILENT, both, write_scans
from vae3d.data.build import open_cases
from vae3d.data.cases import Cases
from vae3d.data.config import CTConfig, MRIConfig
from vae3d.data.scan_source import ScanSource
from vae3d.data.stored import StoredCases
from vae3d.loading.patches import Draw, PatchDataset
from vae3d.patching.region import Region
from vae3d.patching.samplers import (
    GridPatches,
    PatchSampler,
    RandomPatches,
    WholeVolume,
    build_sampler,
)
from vae3d.store.arrays import CODECS, array_suffix, open_array, write_array
from vae3d.store.catalog import CaseRecord, Catalog, write_catalog
from vae3d.store.foreground import ForegroundMap
from vae3d.store.settings import CATALOG
from vae3d.values.naming import case_file
from vae3d.values.splits import SplitRule
from vae3d.values.voxel_statistics import percentiles_of


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("config", "dtype"), [(CTConfig, "int16"), (MRIConfig, "float32")])
def test_a_store_is_its_scans(tmp_path: Path, codec: str, config: Any, dtype: str) -> None:
    write_scans(tmp_path / "in", dtype)
    stored, loaded = both(tmp_path, config, codec=codec)
    assert {k: v.tolist() for k, v in stored.splits.items()} == {
        k: v.tolist() for k, v in loaded.splits.items()
    }
    for index in range(len(SHAPES)):
        one, other = stored[index], loaded[index]
        assert torch.equal(one.volume().data, other.volume().data)
        assert one.volume().data.dtype == other.volume().data.dtype
        assert np.array_equal(one.volume().affine, other.volume().affine)
        assert one.geometry is not None
        assert other.geometry is not None
        assert one.geometry.describe() == other.geometry.describe()
        assert (one.case_id, one.shape, one.spacing) == (other.case_id, other.shape, other.spacing)
        assert one.range == other.range
        assert one.statistics == other.statistics
        assert np.array_equal(one.foreground.maxima, other.foreground.maxima)


@pytest.mark.parametrize(
    "sampler",
    [
        WholeVolume(),
        GridPatches(size=(8,), overlap=0.25),
        RandomPatches(size=(16,), per_volume=9, foreground=0.5),
    ],
    ids=repr,
)
def test_patches_are_the_same_from_store_and_scans(tmp_path: Path, sampler: PatchSampler) -> None:
    write_scans(tmp_path / "in")
    datasets = [
        PatchDataset(cases, cases.survey("train"), build_sampler(sampler, 3), seed=5)
        for cases in both(tmp_path, CTConfig)
    ]
    assert len(datasets[0]) == len(datasets[1]) > 0
    for index in range(len(datasets[0])):
        one, other = (dataset[Draw(2, index, 1.0)] for dataset in datasets)
        assert torch.equal(one.image, other.image)
        assert one.inside == other.inside


def test_percentiles_that_are_not_kept_come_from_the_voxels(tmp_path: Path) -> None:
    write_scans(tmp_path / "in", "float32")
    stored, loaded = both(tmp_path, MRIConfig, percentiles=(3.0, 97.0))
    assert stored[1].range == loaded[1].range


def test_spacing_and_channels_reach_the_store(tmp_path: Path) -> None:
    write_scans(tmp_path / "in")
    stored, loaded = both(tmp_path, CTConfig, spacing=(5.0, 1.8, 1.6))
    assert stored[0].shape == loaded[0].shape != SHAPES[0]
    assert stored.spacing == [5.0, 1.8, 1.6]
    assert torch.equal(stored[0].volume().data, loaded[0].volume().data)


def test_the_patches_of_full_are_known_without_a_volume(tmp_path: Path) -> None:
    write_scans(tmp_path / "in")
    stored, loaded = both(tmp_path, CTConfig)
    shutil.rmtree(tmp_path / "s" / "cases")
    sampler = GridPatches(size=(8, 8, 8), overlap=0.5)
    counts = [
        PatchDataset(cases, cases.survey("train"), sampler, 0).starts.tolist()
        for cases in (stored, loaded)
    ]
    assert counts[0] == counts[1]


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_box_equals_that_of_numpy(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 80), min_size=2, max_size=3)))
    codec = data.draw(st.sampled_from([*CODECS]))
    dtype = data.draw(st.sampled_from(["int16", "float32"]))
    image = np.random.default_rng(0).integers(-999, 999, (2, *shape)).astype(dtype)
    path = tmp_path_factory.mktemp("array") / f"a{array_suffix(codec)}"
    write_array(path, image, codec)
    array, maxima = open_array(path)
    assert np.array_equal(maxima, ForegroundMap.of(image[0]).maxima)
    corner = [data.draw(st.integers(0, n - 1)) for n in shape]
    box = (slice(None), *(slice(c, data.draw(st.integers(c + 1, 90))) for c in corner))
    assert np.array_equal(array[box], image[box])


@given(data=st.data())
@settings(deadline=None)
def test_a_foreground_voxel_is_one(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 40), min_size=2, max_size=3)))
    seed = data.draw(st.integers(0, 99))
    image = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    threshold = data.draw(st.floats(-3, 5))
    voxel = ForegroundMap.of(image).voxel(
        threshold,
        shape,
        lambda region: image[region.slices],
        np.random.default_rng(seed),
    )
    assert (voxel is not None) == bool((image > threshold).any())
    if voxel is not None:
        assert image[tuple(voxel)] > threshold


@given(
    values=st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=60),
    at=st.lists(st.floats(0, 100), min_size=1, max_size=5),
)
def test_percentiles_from_counts_equal_those_of_numpy(values: list[int], at: list[float]) -> None:
    voxels = np.array(values, np.int16).reshape(1, 1, -1)
    expected = np.percentile(voxels.astype(np.float64), at)
    np.testing.assert_allclose(percentiles_of(voxels, tuple(at)), expected, rtol=1e-9, atol=1e-6)


def test_a_store_opens_without_its_sources(tmp_path: Path) -> None:
    write_scans(tmp_path / "in")
    config = CTConfig(root=str(tmp_path / "in"), store=str(tmp_path / "s"))
    before = open_cases(config, SILENT)[2].volume().data
    shutil.rmtree(tmp_path / "in")
    shutil.move(tmp_path / "s", tmp_path / "elsewhere")
    run = vae3d(
        *("inspect", "data=store", f"data.root={tmp_path / 'elsewhere'}"),
        *("patching=full", "patching.size=[8]", "count=3", "data.window=[-500,500]"),
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr
    summary = json.loads((tmp_path / "inspect" / "summary.json").read_text())
    assert sum(summary["cases"].values()) == len(SHAPES)
    assert (tmp_path / "inspect" / "montage.png").stat().st_size > 1000
    assert len((tmp_path / "inspect" / "cases.csv").read_text().splitlines()) == len(SHAPES) + 1
    cases = StoredCases(tmp_path / "elsewhere", CTConfig())
    assert torch.equal(cases[2].volume().data, before)


def test_a_catalog_of_many_cases_is_not_kept_in_memory(tmp_path: Path) -> None:
    count = 3000
    path = tmp_path / CATALOG
    rows = (
        (
            CaseRecord(f"c{i:05d}", "here", "1", "gone", channels=1, shape=(i + 1, 9, 9)),
            None,
        )
        for i in range(count)
    )
    write_catalog(path, rows)
    catalog = Catalog(path)
    assert len(catalog) == count
    wanted = np.array([0, 7, 2999])
    assert [*catalog.shapes(wanted)] == [(1, 9, 9), (8, 9, 9), (3000, 9, 9)]
    assert catalog.record(2999).case_id == "c02999"
    splits = catalog.split(SplitRule(0.1, 0.2, "count"))
    assert [len(splits[name]) for name in ("train", "val", "test")] == [2100, 300, 600]


def test_names_of_files_are_readable_and_differ() -> None:
    names = ["a/b", "a_b", "..", "x" * 300, "Ä", "A"]
    files = [case_file(name) for name in names]
    assert len(set(files)) == len(names)
    assert all(len(file) < 120 and file.count("/") == 1 for file in files)
    assert not any(part.startswith(".") for file in files for part in file.split("/"))


def test_a_file_and_its_gzipped_twin_are_two_cases(tmp_path: Path) -> None:
    scans = write_scans(tmp_path / "in", count=1)
    nibabel.save(nibabel.load(scans / "case0.nii.gz"), scans / "case0.nii")
    source = ScanSource(CTConfig(root=str(scans)))
    assert sorted(source.case_ids) == ["case0.nii", "case0.nii.gz"]


def test_whole_volumes_are_returned_unchanged(tmp_path: Path) -> None:
    write_scans(tmp_path / "in", count=2)
    cases: Cases = open_cases(
        CTConfig(root=str(tmp_path / "in"), store=str(tmp_path / "s")), SILENT
    )
    piece = cases[0].cut(Region((3, 30, 2), (30, 30, 4)))
    assert torch.equal(piece, cases[0].volume().data[:, 3:33, 30:60, 2:6])
    assert piece.is_contiguous()
