"""Folders, lists and splits."""

import hashlib
import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from vae3d.data.config import CTConfig, Images2DConfig, MRIConfig
from vae3d.data.scan_source import ScanSource
from vae3d.errors import ConfigError, DataError, VolumeError
from vae3d.lists.search import search
from vae3d.scans.formats import case_name
from vae3d.values.intensity import IntensityRange
from vae3d.values.splits import SplitRule, Splits, case_rank, join_copies


def write_scan(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.eye(4)), path)


def test_a_folder_is_searched_once_through_links(tmp_path: Path) -> None:
    for name in ("b.nii.gz", "sub/a.nii", ".hidden.nii.gz", "._b.nii.gz"):
        write_scan(tmp_path / name)
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    assert sorted(ScanSource(CTConfig(root=str(tmp_path))).case_ids) == ["b", "sub/a"]


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_lists_name_paths_splits_and_cases(tmp_path: Path, suffix: str) -> None:
    rows = [{"path": "x/one.nii.gz", "split": "train"}, {"path": "x/two.nii.gz", "split": "test"}]
    for row in rows:
        write_scan(tmp_path / row["path"])
    text = "path,split\n" + "".join(f"{r['path']},{r['split']}\n" for r in rows)
    file = tmp_path / f"cases.{suffix}"
    file.write_text(json.dumps(rows) if suffix == "json" else text)
    source = ScanSource(CTConfig(list=str(file)))
    assert source.case_ids == ["x/one", "x/two"]
    assert source.splits == ["train", "test"]
    assert source.read(0).shape == (5, 4, 3)


def test_splits_do_not_depend_on_the_order() -> None:
    names = [f"case{i}" for i in range(40)]
    forward = SplitRule(0.1, 0.2, "count").draw(map(case_rank, names))
    backward = SplitRule(0.1, 0.2, "count").draw(map(case_rank, names[::-1]))
    for split, count in (("train", 28), ("val", 4), ("test", 8)):
        assert {names[i] for i in forward[split]} == {names[::-1][i] for i in backward[split]}
        assert len(forward[split]) == count
    alone = SplitRule(0.1, 0.1, "count").draw([case_rank("a")])
    assert {name: members.tolist() for name, members in alone.items()} == {
        "train": [0],
        "val": [],
        "test": [],
    }


def as_lists(splits: Splits) -> dict[str, list[int]]:
    return {name: members.tolist() for name, members in splits.items()}


def test_a_case_keeps_its_split_when_others_come_and_go() -> None:
    names = [f"case{i}" for i in range(400)]
    rule = SplitRule(0.1, 0.2)
    every = rule.draw(map(case_rank, names))
    some = rule.draw(map(case_rank, names[::7]))
    for split in ("train", "val", "test"):
        kept = {name for name in names[::7] if name in {names[i] for i in every[split]}}
        assert {names[::7][i] for i in some[split]} == kept
    assert [len(every[name]) for name in ("train", "val", "test")] == [
        pytest.approx(share * 400, abs=40) for share in (0.7, 0.1, 0.2)
    ]
    assert as_lists(rule.draw(iter(()))) == {"train": [], "val": [], "test": []}


def test_the_thresholds_of_the_hash_are_pinned() -> None:
    ranks = [0, int(0.2 * 2**63) - 2**20, int(0.2 * 2**63) + 2**20, int(0.31 * 2**63), 2**63 - 1]
    drawn = as_lists(SplitRule(0.1, 0.2).draw(ranks))
    assert drawn == {"train": [3, 4], "val": [2], "test": [0, 1]}


@pytest.mark.parametrize("kind", ["hash", "count"])
def test_each_case_is_the_test_case_of_one_fold(kind: str) -> None:
    ranks = [case_rank(f"case{i // 2}") for i in range(22)]
    tests: list[int] = []
    for fold in range(4):
        splits = as_lists(SplitRule(0.1, 0.9, kind, (fold, 4)).draw(ranks))
        assert sorted(i for members in splits.values() for i in members) == [*range(22)]
        for members in splits.values():
            assert members, "a fold is never empty"
            assert {i ^ 1 for i in members} == {*members}, "cases of equal rank stay together"
        tests += splits["test"]
    assert sorted(tests) == [*range(22)]


def test_copies_follow_the_first() -> None:
    splits = {"train": np.array([0, 3]), "val": np.array([1, 4]), "test": np.array([2])}
    assert as_lists(join_copies(splits, [[1, 3], [2, 4]])) == {
        "train": [0], "val": [1, 3], "test": [2, 4],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("cases", "val", "test", "expected"),
    [
        (10, 0.01, 0.01, (8, 1, 1)),  # small fractions get one case
        (10, 0.0, 0.3, (7, 0, 3)),  # none at all gets none
        (10, 0.26, 0.24, (5, 3, 2)),  # rounded
        (3, 0.9, 0.9, (1, 0, 2)),  # one is left to train on
        (2, 0.1, 0.0, (1, 1, 0)),
        (1, 0.5, 0.5, (1, 0, 0)),
        (0, 0.1, 0.1, (0, 0, 0)),
    ],
)
def test_the_sizes_of_splits(
    cases: int, val: float, test: float, expected: tuple[int, int, int]
) -> None:
    splits = SplitRule(val, test, "count").draw(map(case_rank, map(str, range(cases))))
    assert tuple(len(splits[name]) for name in ("train", "val", "test")) == expected
    members = np.concatenate([splits[name] for name in ("train", "val", "test")])
    assert sorted(members.tolist()) == [*range(cases)]
    assert all((np.diff(split) > 0).all() for split in splits.values())


def test_the_split_of_a_case_is_pinned() -> None:
    """Another hash would move cases from one split of an older run to another."""
    assert case_rank("case0") == int(hashlib.sha256(b"case0").hexdigest()[:16], 16) // 2
    splits = SplitRule(0.25, 0.25, "count").draw([5, 3, 9, 1])
    assert {name: members.tolist() for name, members in splits.items()} == {
        "train": [0, 2],
        "val": [1],
        "test": [3],
    }


def test_intensity_round_trip() -> None:
    window = IntensityRange(-1000, 400, "HU")
    values = torch.linspace(-1000, 400, 1401)
    back = window.from_model(window.to_model(values))
    scaled = window.to_model(values)
    assert window.from_model(scaled, copy=False).data_ptr() == scaled.data_ptr()
    assert torch.equal(scaled, back)
    torch.testing.assert_close(back, values, atol=1e-3, rtol=0)
    assert window.to_model(torch.tensor([-3000, 3000], dtype=torch.int16)).tolist() == [-1, 1]


def test_stores_and_runs_are_not_searched_for_scans(tmp_path: Path) -> None:
    run = ("runs/b", "weights", ["config.yaml", "metrics.csv"])
    for folder, inner, marks in (("stores/a", "cases", ["store.json"]), run):
        (tmp_path / folder / inner).mkdir(parents=True)
        (tmp_path / folder / inner / "x.npy").write_bytes(b"x")
        for mark in marks:
            (tmp_path / folder / mark).write_text("")
    (tmp_path / "mine.npy").write_bytes(b"x")
    assert ScanSource(CTConfig(root=str(tmp_path))).case_ids == ["mine"]


def test_a_name_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"scan\xff.nii")).write_bytes(b"x")
    with pytest.raises(DataError, match=r"is not UTF-8; rename it"):
        search(str(tmp_path), 3)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/b.nii.gz", "a/b"), ("a/b.NII", "a/b"), ("b.c.npy", "b.c"), ("x.tiff", "x"),
        ("x.jpeg", "x"), ("x.txt", "x.txt"), ("b.gz", "b.gz"),
    ],
)  # fmt: skip
def test_names_of_cases(path: str, name: str) -> None:
    assert case_name(Path(path)) == name


def test_scans_of_one_name_keep_their_suffixes(tmp_path: Path) -> None:
    for name in ("a.nii", "a.nii.gz", "b.nii"):
        write_scan(tmp_path / name)
    (tmp_path / "c.nii").symlink_to(tmp_path / "b.nii")
    assert ScanSource(CTConfig(root=str(tmp_path))).case_ids == ["a.nii", "a.nii.gz", "b"]
    (one,) = search(str(tmp_path / "b.nii"), 3)
    assert (one.path, one.case_id, one.split) == (tmp_path / "b.nii", "b", None)
    with pytest.raises(ConfigError, match="must name a folder"):
        ScanSource(CTConfig())
    with pytest.raises(DataError, match="no such folder or scan"):
        search("no/such", 3)
    with pytest.raises(DataError, match=r"no scans \(\.png, .*, \.npy\) found in"):
        search(str(tmp_path), 2)


def test_a_scan_that_changed_has_another_stamp(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    write_scan(path)
    source = ScanSource(CTConfig(root=str(tmp_path)))
    before = source.stamp(0)
    assert source.stamp(0) == before
    assert before.num_bytes == path.stat().st_size
    content = path.read_bytes()
    os.utime(path, ns=(1, 1))
    changed = source.stamp(0)
    assert changed.mark != before.mark
    # Size and time of modification may be those of another file.
    path.write_bytes(content[::-1])
    os.utime(path, ns=(1, 1))
    assert source.stamp(0).mark != changed.mark
    assert str(tmp_path) not in source.stamp(0).mark
    path.unlink()
    with pytest.raises(VolumeError, match=r"a\.nii: cannot be opened"):
        source.stamp(0)


def test_spacing_and_axes_are_checked(tmp_path: Path) -> None:
    for spacing in ((0.0001, 1.0, 100.0), None):
        CTConfig(spacing=spacing)
    for wrong in ((1.0, 1.0), (0.00009, 1.0, 1.0), (1.0, 1.0, 101.0)):
        with pytest.raises(ConfigError, match=r"^data\.spacing (needs 3 numbers|must be in)"):
            CTConfig(spacing=wrong)
    with pytest.raises(ConfigError, match="images_2d have no spacing"):
        Images2DConfig(spacing=(1.0, 1.0, 1.0))
    np.save(tmp_path / "a.npy", np.arange(12.0).reshape(3, 4))
    with pytest.raises(VolumeError, match="has 2 axes where 3 are needed"):
        ScanSource(CTConfig(root=str(tmp_path))).read(0)
    write_scan(tmp_path / "b" / "b.nii")
    moved = ScanSource(CTConfig(root=str(tmp_path / "b"), spacing=(0.5, 1.0, 1.0)))
    assert moved.read(0).shape == (10, 4, 3)
    assert moved.spacing == [0.5, 1.0, 1.0]
    for window in ((0.0,), (0.0, 1.0, 2.0)):
        with pytest.raises(ConfigError, match=r"data\.window"):
            CTConfig(window=window)


def test_identity_and_label_of_scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert CTConfig(root="some/scans.v1").label == "scans"
    assert CTConfig(root="some/scans", list="cases.csv").label == "cases"
    identity = MRIConfig(root="scans", channel=1, spacing=(1, 1, 2)).identity()
    assert identity == {
        "kind": "MRI", "root": str(tmp_path / "scans"), "list": None, "channel": 1,
        "spacing": [1.0, 1.0, 2.0], "resampling": "filtered", "reader": 2,
    }  # fmt: skip
    assert MRIConfig().identity()["spacing"] is None
    for config, described in (
        (MRIConfig(percentiles=(1, 99)), ("percentiles", 1.0, 99.0, "a.u.")),
        (CTConfig(), ("window", -1000.0, 1000.0, "HU")),
        (Images2DConfig(window=(0, 9)), ("window", 0.0, 9.0, "a.u.")),
    ):
        assert config.range is not None
        assert (config.range_kind, *config.range, config.values_unit) == described
    assert Images2DConfig().range is None
