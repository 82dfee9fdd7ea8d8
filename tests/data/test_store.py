"""A store returns the voxels of its sources, whole or as patches, after any interruptions."""

import gzip
import json
import os
import shutil
import signal
import struct
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import blosc2
import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.command_server import COMMANDS, CommandServer
from tests.conftest import ROOT, vae3d
from vae3d.data import stored
from vae3d.data.build import build_source, open_cases
from vae3d.data.cases import Cases
from vae3d.data.config import CTConfig, MRIConfig, ScansConfig, StoreConfig
from vae3d.data.loaded import LoadedCases
from vae3d.data.scan_source import ScanSource
from vae3d.data.stored import StoredCases, resolve_store
from vae3d.errors import DataError, VolumeError
from vae3d.files.atomic import file_digest
from vae3d.loading.patches import Draw, PatchDataset
from vae3d.logger.console import ProgressBar
from vae3d.patching.region import Region
from vae3d.patching.samplers import (
    GridPatches,
    PatchSampler,
    RandomPatches,
    WholeVolume,
    build_sampler,
)
from vae3d.store import prepare
from vae3d.store.arrays import CODECS, array_suffix, open_array, write_array
from vae3d.store.catalog import CaseRecord, Catalog, Journal, write_catalog
from vae3d.store.foreground import ForegroundMap
from vae3d.store.prepare import Preparation, Shard
from vae3d.store.settings import CATALOG
from vae3d.values.naming import case_file
from vae3d.values.splits import SplitRule
from vae3d.values.voxel_statistics import percentiles_of

STORE_OF_FORMAT_1 = ROOT / "tests" / "fixtures" / "v0_1" / "store"
SILENT = ProgressBar("prepare", shown=False)
SHAPES = [(20, 33, 17), (9, 70, 65), (1, 12, 80), (34, 18, 22), (16, 16, 16), (7, 7, 7)]


def write_scans(folder: Path, dtype: str = "int16", count: int = 6) -> Path:
    """Write scans of different shapes, each with a bright box in the middle."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, shape in enumerate(SHAPES[:count]):
        rng = np.random.default_rng(number)
        voxels = rng.normal(-900, 60, shape[::-1])
        voxels[tuple(slice(n // 3, n // 3 + 4) for n in voxels.shape)] += 1500
        affine = np.diag([-0.8, 0.9, 2.5, 1]) @ np.eye(4)
        image = nibabel.Nifti1Image(voxels.astype(dtype), affine)
        nibabel.save(image, folder / f"case{number}.nii.gz")
    return folder


def preparation(config: ScansConfig, **options: Any) -> Preparation:
    source = build_source(config)
    folder, store_settings = resolve_store(config, source)
    return Preparation(source, store_settings, folder, progress=SILENT, **options)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the content of every file of a store, without the locks."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def both(tmp_path: Path, config: Any, **options: Any) -> tuple[StoredCases, LoadedCases]:
    """Return the same data from a store and from their files."""
    stored = open_cases(
        config(root=str(tmp_path / "in"), store=str(tmp_path / "s"), **options), SILENT
    )
    loaded = open_cases(config(root=str(tmp_path / "in"), store=None, **options), SILENT)
    assert isinstance(stored, StoredCases)
    assert isinstance(loaded, LoadedCases)
    return stored, loaded


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


def test_kill_9_in_the_middle_leaves_no_trace(tmp_path: Path) -> None:
    scans = write_scans(tmp_path / "in")
    for number in range(40):
        shutil.copy2(scans / f"case{number % 6}.nii.gz", scans / f"copy{number:02d}.nii.gz")
    arguments = ["prepare", "data=ct", f"data.root={scans}"]
    arguments += [f"data.store={tmp_path / 'killed'}", "workers=2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    kills = 0
    for wanted in (3, 11, 25):
        command = COMMANDS.start(arguments, tmp_path, environment)
        while command.runs():
            if len([*(tmp_path / "killed").glob("cases/??/*.b2nd")]) >= wanted:
                os.kill(command.pid, signal.SIGKILL)  # its workers must notice
                break
            time.sleep(0.001)
        kills += command.completed(300).returncode == -signal.SIGKILL
    assert kills >= 2, "the preparation was too fast to be killed"
    assert vae3d(*arguments, cwd=tmp_path).returncode == 0
    whole = CTConfig(root=str(scans), store=str(tmp_path / "whole"))
    preparation(whole).run()
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_parts_make_the_same_store(tmp_path: Path) -> None:
    scans = write_scans(tmp_path / "in")
    config = CTConfig(root=str(scans), store=str(tmp_path / "parts"))
    for index in range(3):
        preparation(config, shard=Shard(index, 3)).run()
        assert not (tmp_path / "parts" / CATALOG).exists()
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").glob("cases/??/*")}
    assert len(written) == len(SHAPES)
    preparation(config).run()
    assert written == {path: path.stat().st_mtime_ns for path in written}, (
        "no case is prepared twice"
    )
    preparation(CTConfig(root=str(scans), store=str(tmp_path / "whole"))).run()
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_only_a_changed_source_is_prepared_again(tmp_path: Path) -> None:
    scans = write_scans(tmp_path / "in")
    config = CTConfig(root=str(scans), store=str(tmp_path / "s"))
    preparation(config).run()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").glob("cases/??/*")}
    fingerprint = Catalog(tmp_path / "s" / CATALOG).fingerprint
    assert preparation(config).is_fresh()
    shutil.copy(scans / "case4.nii.gz", scans / "case0.nii.gz")
    (scans / "case3.nii.gz").unlink()
    assert not preparation(config).is_fresh()
    cases = open_cases(config, SILENT)
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").glob("cases/??/*")}
    assert len(after) == len(before) - 1
    assert sum(before[path] != stamp for path, stamp in after.items()) == 1
    assert cases[0].shape == SHAPES[4]
    assert Catalog(tmp_path / "s" / CATALOG).fingerprint != fingerprint


def test_a_list_may_move_a_case_to_another_split(tmp_path: Path) -> None:
    write_scans(tmp_path / "in", count=3)
    table = tmp_path / "cases.csv"
    config = CTConfig(root=str(tmp_path / "in"), list=str(table), store=str(tmp_path / "s"))
    for splits in (("train", "val", "test"), ("test", "train", "train")):
        rows = [f"case{number}.nii.gz,{split}" for number, split in enumerate(splits)]
        table.write_text("\n".join(["path,split", *rows]))
        splits_now = open_cases(config, SILENT).splits
        assert {name: members.tolist() for name, members in splits_now.items()} == {
            name: [i for i, split in enumerate(splits) if split == name] for name in splits_now
        }


def test_a_case_that_cannot_be_read_is_logged_and_tried_again(tmp_path: Path) -> None:
    scans = write_scans(tmp_path / "in")
    whole = (scans / "case1.nii.gz").read_bytes()
    (scans / "case1.nii.gz").write_bytes(whole[:-40])
    arguments = ["prepare", "data=ct", f"data.root={scans}", f"data.store={tmp_path / 's'}"]
    strict = vae3d(*arguments, cwd=tmp_path)
    assert strict.returncode == 2
    assert "1 of 6 cases cannot be used" in strict.stderr.splitlines()[-1]
    assert "case1.nii.gz" in strict.stdout
    tolerant = vae3d(*arguments, "data.on_error=skip", cwd=tmp_path)
    assert tolerant.returncode == 0
    config = CTConfig(root=str(scans), store=str(tmp_path / "s"))
    cases = open_cases(config, SILENT)
    split = next(name for name, members in cases.splits.items() if 1 in members)
    with pytest.raises(VolumeError, match=r"case1\.nii\.gz.*truncated"):
        cases.survey(split)
    (scans / "case1.nii.gz").write_bytes(whole)
    assert 1 in open_cases(config, SILENT).survey(split)


def test_other_settings_and_other_folders_are_refused(tmp_path: Path) -> None:
    scans = write_scans(tmp_path / "in", count=2)
    folder = str(tmp_path / "s")
    preparation(CTConfig(root=str(scans), store=folder)).run()
    with pytest.raises(DataError, match=r"other settings.*spacing"):
        preparation(CTConfig(root=str(scans), store=folder, spacing=(3.0, 3.0, 3.0))).run()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(DataError, match="holds files that are no store"):
        preparation(CTConfig(root=str(scans), store=str(tmp_path / "mine"))).run()
    assert [path.name for path in (tmp_path / "mine").iterdir() if path.is_file()] == [
        "thesis.txt"
    ]


@pytest.mark.parametrize("free", [prepare.RESERVE + 100_000, 10], ids=["estimated", "full"])
def test_a_disk_too_small_stops_it_cleanly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    scans = write_scans(tmp_path / "in")
    for number in range(30):
        shutil.copy2(scans / "case0.nii.gz", scans / f"copy{number:02d}.nii.gz")
    config = CTConfig(root=str(scans), store=str(tmp_path / "s"))
    with monkeypatch.context() as patched:
        patched.setattr(prepare, "free_bytes", lambda folder: free)
        with pytest.raises(DataError, match="make room"):
            preparation(config).run()
    assert not (tmp_path / "s" / CATALOG).exists()
    preparation(config).run()
    assert preparation(config).is_fresh()


def test_other_settings_are_refused_key_by_key(tmp_path: Path) -> None:
    scans = write_scans(tmp_path / "in")
    config = CTConfig(root=str(scans), store=str(tmp_path / "s"), reader=1)
    preparation(config).run()
    message = (
        r"with other settings \(nonfinite: fail -> fill; data\.reader: 1 -> 2; "
        r"data\.channel: null -> 0\); type"
    )
    with pytest.raises(DataError, match=message):
        preparation(replace(config, reader=None, channel=0, nonfinite="fill")).run()


def test_damage_to_a_store_is_named_and_repaired(tmp_path: Path) -> None:
    scans = write_scans(tmp_path / "in")
    config = CTConfig(root=str(scans), store=str(tmp_path / "s"))
    preparation(config).run()
    sound = contents(tmp_path / "s")
    path = next((tmp_path / "s").glob("cases/*/case2*"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(VolumeError, match=r"case2.*is damaged.*verify=true mends the store"):
        open_cases(config, SILENT)[2]
    other = next((tmp_path / "s").glob("cases/*/case3*"))
    flipped = bytearray(other.read_bytes())
    flipped[len(flipped) // 2] ^= 4
    other.write_bytes(flipped)
    assert preparation(config).verify() == ["case2", "case3"]
    preparation(config).run()
    assert contents(tmp_path / "s") == sound


def test_an_array_of_another_scan_is_refused_in_its_place(tmp_path: Path) -> None:
    config = CTConfig(root=str(write_scans(tmp_path / "in")), store=str(tmp_path / "s"))
    cases = open_cases(config, SILENT)
    one, other = (cases.described(index).path for index in (1, 2))
    one.write_bytes(other.read_bytes())
    with pytest.raises(VolumeError, match=r"case1.*array of another scan"):
        open_cases(config, SILENT)[1]


def test_arrays_without_checksums_are_verified_whole_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(STORE_OF_FORMAT_1, tmp_path / "s")
    config = StoreConfig(root=str(tmp_path / "s"))
    digested: list[Path] = []
    monkeypatch.setattr(
        stored, "file_digest", lambda path: digested.append(path) or file_digest(path)
    )
    monkeypatch.setattr(stored, "MAX_OPEN", 1)
    cases = open_cases(config, SILENT)
    for index in (0, 1, 0, 1):
        cases[index].volume()
    assert digested == [cases.described(index).path for index in (0, 1)]
    path = cases.described(2).path
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(VolumeError, match=r"SHA-256 is not that of the catalog"):
        cases[2].volume()


@pytest.mark.parametrize("codec", [*CODECS])
def test_no_flipped_bit_gives_other_voxels(tmp_path: Path, codec: str) -> None:
    # Smooth, so that it compresses, and of several chunks.
    ramp = np.add.outer(np.arange(70), np.arange(66)).astype(np.int16)
    image = np.stack([ramp, ramp[::-1] // 3])[None]
    path = tmp_path / f"a{array_suffix(codec)}"
    write_array(path, image, codec)
    sound, maxima = path.read_bytes(), ForegroundMap.of(image[0]).maxima
    rng, noticed = np.random.default_rng(0), 0
    for _ in range(150):
        damaged = bytearray(sound)
        damaged[rng.integers(len(sound))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            array, found = open_array(path)
            voxels = array[:, :, :, :]
        except (VolumeError, ValueError, RuntimeError):
            noticed += 1
        else:
            # Some bytes of the container have no meaning.
            assert np.array_equal(voxels, image)
            assert np.array_equal(found, maxima)
    assert noticed > 100


@pytest.mark.parametrize("codec", [*CODECS])
def test_chunks_are_verified_once_and_arrays_of_earlier_versions_are_not(
    tmp_path: Path, codec: str
) -> None:
    image = np.random.default_rng(0).integers(0, 99, (1, 70, 70)).astype(np.int16)
    path = tmp_path / f"a{array_suffix(codec)}"
    write_array(path, image, codec)
    array, _ = open_array(path)
    assert np.array_equal(array[:, 64:70, :10], image[:, 64:70, :10])
    assert array.verified.tolist() == [[[False, False], [True, False]]]
    again, _ = open_array(path, array.verified)
    assert np.array_equal(again[:, :10, :10], image[:, :10, :10])
    assert array.verified.tolist() == [[[True, False], [True, False]]]

    if codec == "none":
        with path.open("wb") as file:
            np.save(file, image)
            np.save(file, ForegroundMap.of(image[0]).maxima)
    else:
        earlier = blosc2.open(str(path), mode="a")
        del earlier.schunk.vlmeta["checksums"]
        del earlier
    array, _ = open_array(path)
    assert array.verified.all()
    assert np.array_equal(array[:, :, :], image)


@pytest.mark.parametrize("name", [".tmp-1-0a-store.json", ".tmp-77-ab12cd34-catalog.sqlite"])
@pytest.mark.parametrize("kept", [[], ["store.json"]])
def test_what_a_kill_left_is_swept(tmp_path: Path, name: str, kept: list[str]) -> None:
    config = CTConfig(root=str(write_scans(tmp_path / "in")), store=str(tmp_path / "s"))
    preparation(config).run()
    sound = contents(tmp_path / "s")
    for path in (tmp_path / "s").iterdir():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (tmp_path / "s/parts").mkdir()
    (tmp_path / "s/parts/00000-of-00001.lock").touch()
    (tmp_path / "s" / name).write_text("{")
    preparation(config).run()
    assert contents(tmp_path / "s") == sound
    assert not [*(tmp_path / "s").glob(".tmp-*")]


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


def test_a_journal_forgives_a_line_that_was_cut_off(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "part.jsonl")
    records = [CaseRecord(f"c{i}", "here", "1:2", error="none") for i in range(3)]
    journal.append(records[0])
    journal.append(records[1])
    text = journal.path.read_bytes()
    journal.path.write_bytes(text[:-20])
    journal.append(records[2])
    assert [record.case_id for record in journal.records()] == ["c0", "c2"]


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


def test_a_damaged_catalog_is_named_and_written_again(tmp_path: Path) -> None:
    write_scans(tmp_path / "in", count=2)
    config = CTConfig(root=str(tmp_path / "in"), store=str(tmp_path / "s"))
    preparation(config).run()
    catalog = tmp_path / "s" / CATALOG
    catalog.write_bytes(b"not a table" * 1000)
    with pytest.raises(DataError, match="damaged"):
        Catalog(catalog)
    preparation(config).run()
    assert len(Catalog(catalog)) == 2


def test_names_of_files_are_readable_and_differ() -> None:
    names = ["a/b", "a_b", "..", "x" * 300, "Ä", "A"]
    files = [case_file(name) for name in names]
    assert len(set(files)) == len(names)
    assert all(len(file) < 120 and file.count("/") == 1 for file in files)
    assert not any(part.startswith(".") for file in files for part in file.split("/"))


def test_damaged_scans_never_reach_a_store_with_other_voxels(tmp_path: Path) -> None:
    scans = write_scans(tmp_path / "in", count=1)
    whole = (scans / "case0.nii.gz").read_bytes()
    voxels = nibabel.load(scans / "case0.nii.gz").get_fdata()
    rng = np.random.default_rng(0)
    for number in range(60):
        raw = bytearray(whole)
        if number % 3 == 0:
            raw[int(rng.integers(10, len(raw)))] ^= 1 << int(rng.integers(8))
        elif number % 3 == 1:
            raw = raw[: int(rng.integers(len(raw)))]
        else:
            header = bytearray(gzip.decompress(whole))
            struct.pack_into("<3h", header, 42, *(int(n) for n in rng.integers(40, 2000, 3)))
            raw = bytearray(gzip.compress(bytes(header)))
        (scans / f"damaged{number:02d}.nii.gz").write_bytes(raw)
    config = CTConfig(root=str(scans), store=str(tmp_path / "s"), on_error="skip")
    cases = open_cases(config, SILENT)
    assert isinstance(cases, StoredCases)
    assert len(cases.failures) >= 58
    for index in set(range(61)) - set(cases.failures):
        # A flip in the name that gzip keeps changes nothing.
        assert cases[index].shape == voxels.shape[::-1]
        assert cases[index].statistics.digest == cases[0].statistics.digest


def test_two_concurrent_preparations_do_the_work_once(tmp_path: Path) -> None:
    scans = write_scans(tmp_path / "in")
    arguments = ["prepare", "data=ct", f"data.root={scans}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    second = CommandServer()
    both = [server.start(arguments, tmp_path, environment) for server in (COMMANDS, second)]
    done = [command.completed(300) for command in both]
    second.close()
    assert [(bool(d.stderr), d.returncode) for d in done] == [(True, 0)] * 2
    (store,) = (tmp_path / "stores").iterdir()
    preparation(CTConfig(root=str(scans), store=str(tmp_path / "whole"))).run()
    assert contents(tmp_path / "whole") == contents(store)


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
