"""Parts of a preparation: boxes, shards, and the estimate of disk space."""

from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch

from vae3d.data.build import build_source, open_cases
from vae3d.data.config import RunData, StoreConfig, SyntheticConfig
from vae3d.data.loaded import LoadedCases
from vae3d.data.stored import resolve_store
from vae3d.errors import ConfigError, DataError
from vae3d.logger.console import ProgressBar
from vae3d.store import prepare
from vae3d.store.case_writer import foreground_box
from vae3d.store.prepare import Preparation
from vae3d.store.shard import Shard
from vae3d.values.naming import case_file

GIB = 2**30


def test_a_box_holds_all_voxels_above_a_threshold() -> None:
    image = np.zeros((7, 8, 9))
    image[2, 3, 4] = image[5, 3, 8] = 2
    image[0, 0, 0] = 1
    assert foreground_box(image, 1) == ((2, 3, 4), (4, 1, 5))
    assert foreground_box(image, 0) == ((0, 0, 0), (6, 4, 9))
    assert foreground_box(image, 2) is None


def test_each_case_is_in_one_shard() -> None:
    names = [f"case{number}" for number in range(60)]
    parts = [[name for name in names if name in Shard(index, 3)] for index in range(3)]
    assert sorted(name for part in parts for name in part) == sorted(names)
    assert min(map(len, parts)) > 8
    assert Shard.parse("3/8") == Shard(3, 8)
    assert str(Shard(3, 8)) == "00003-of-00008"
    assert (Shard().is_whole, Shard(0, 2).is_whole) == (True, False)
    for wrong in ("8/8", "3", "/8", "3/", "-1/8", "a/8", "1/0"):
        with pytest.raises(ConfigError, match="shard must be K/N with 0 <= K < N"):
            Shard.parse(wrong)


def test_files_have_readable_names_of_their_own() -> None:
    name = case_file("site 1/patient.ä")
    folder, _, rest = name.partition("/")
    assert len(folder) == 2
    assert rest.startswith("site_1_patient._-")
    assert len(rest) == len("site_1_patient._-") + 8
    assert len(case_file("x" * 300)) == 3 + 80 + 9


SILENT = ProgressBar("prepare", shown=False)


@pytest.mark.parametrize(
    ("scale", "num_messages", "refused"), [(1, 0, False), (400, 1, False), (2000, 0, True)]
)
def test_the_size_is_estimated_from_the_first_cases(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    scale: int,
    num_messages: int,
    refused: bool,
) -> None:
    """Each of 6 cases comes from a MiB and takes `scale` of half a MiB; 1 GiB is free."""
    config = SyntheticConfig(shape=(8, 8, 8), count=6, store=str(tmp_path / "s"))
    source = build_source(config)
    folder, settings = resolve_store(config, source)
    folder.mkdir(parents=True)
    preparation = Preparation(source, settings, folder, progress=SILENT, workers=1)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(2 * GIB, 0, GIB))
    stamps = [prepare.Stamp("x", 2**20)] * 6
    monkeypatch.setitem(vars(preparation), "stamps", stamps)
    done = [
        prepare.CaseRecord("phantom_0000", "", "", num_bytes=scale * 2**19),
        prepare.CaseRecord("phantom_0001", "", "", error="is gone", num_bytes=GIB),
    ]
    if refused:
        with pytest.raises(DataError, match=r"2 more cases take about 1\.95 GiB, 1\.00 GiB are"):
            preparation._check_room(done, [2, 3])
        return
    preparation._check_room(done, [2, 3])
    assert len(caplog.messages) == num_messages


def test_a_store_is_opened_by_its_name(tmp_path: Path) -> None:
    config = SyntheticConfig(shape=(8, 8, 8), count=3, store=str(tmp_path / "s"))
    prepared = open_cases(config, SILENT)
    stored = open_cases(StoreConfig(root=str(tmp_path / "s")), SILENT)
    assert [stored.case_id(index) for index in range(3)] == [prepared.case_id(i) for i in range(3)]
    assert torch.equal(stored[1].volume().data, prepared[1].volume().data)
    assert stored[1].range == prepared[1].range
    loaded = open_cases(SyntheticConfig(shape=(8, 8, 8), count=3), SILENT)
    assert isinstance(loaded, LoadedCases)
    assert torch.equal(loaded[1].volume().data, prepared[1].volume().data)
    with pytest.raises(ConfigError, match=r"data\.root must name a store"):
        open_cases(StoreConfig(), SILENT)
    with pytest.raises(ConfigError, match="data must be one of synthetic, ct, mri"):
        build_source(RunData())


@pytest.mark.parametrize(("free", "refused"), [(GIB // 4 + 2048, False), (GIB // 4 + 2047, True)])
def test_a_quarter_of_a_gib_is_left_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, refused: bool
) -> None:
    """A phantom of 8^3 takes 2048 bytes in memory."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(2 * GIB, 0, free))
    config = SyntheticConfig(shape=(8, 8, 8), count=1, store=str(tmp_path / "s"))
    if refused:
        with pytest.raises(DataError, match="the disk is full"):
            open_cases(config, SILENT)
    else:
        open_cases(config, SILENT)


def test_the_files_of_others_stay_in_a_store(tmp_path: Path) -> None:
    config = SyntheticConfig(shape=(8, 8, 8), count=3, store=str(tmp_path / "s"))
    open_cases(config, SILENT)
    place = next((tmp_path / "s/cases").iterdir())
    theirs = [place / "notes.txt", place / "a.npy", tmp_path / "s/parts/.keep", place / ".tmp-x"]
    theirs.append(tmp_path / "s/parts/notes.jsonl")
    ours = [
        place / "gone-0123abcd.b2nd",
        place / ".tmp-1-0123abcd-x",
        tmp_path / "s/.tmp-1-0a-store.json",
    ]
    for count in (3, 4):  # nothing new to prepare, and one case more
        for path in (*theirs, *ours):
            path.write_text("")
        config.count = count
        open_cases(config, SILENT)
        assert all(path.exists() for path in theirs)
        assert not any(path.exists() for path in ours)


def test_a_part_for_a_catalog_to_come_stays(tmp_path: Path) -> None:
    """Another process trains on the old catalog while parts of a larger one are prepared."""
    old = SyntheticConfig(shape=(8, 8, 8), count=3, store=str(tmp_path / "s"))
    open_cases(old, SILENT)
    catalog = (tmp_path / "s/catalog.sqlite").read_bytes()
    new = SyntheticConfig(shape=(8, 8, 8), count=9, store=str(tmp_path / "s"))
    source = build_source(new)
    folder, settings = resolve_store(new, source)
    Preparation(source, settings, folder, progress=SILENT, shard=Shard(0, 2)).run()
    part = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert folder / "parts/00000-of-00002.jsonl" in part
    open_cases(old, SILENT)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == part
    assert (folder / "catalog.sqlite").read_bytes() == catalog
    assert len(open_cases(new, SILENT).split_of()) == 9
    assert {path.suffix for path in (folder / "parts").iterdir()} == {".lock"}
