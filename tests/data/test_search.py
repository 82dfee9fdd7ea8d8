"""Laws of the scans of a folder: which are chosen, and which are left out as label maps."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from tests.conftest import tiny_training, vae3d
from vae3d.commands.prepare import PrepareConfig
from vae3d.commands.prepare_run import prepare
from vae3d.commands.train_run import Training
from vae3d.data.build import build_source, open_cases
from vae3d.data.config import CTConfig, Images2DConfig, RunData
from vae3d.data.scan_source import ScanSource
from vae3d.errors import ConfigError, DataError
from vae3d.lists import search as search_module
from vae3d.lists.left_out import listed, summary
from vae3d.lists.search import matches
from vae3d.logger.console import ProgressBar
from vae3d.patching.config import RandomPatchesConfig
from vae3d.run.beginning import Extras
from vae3d.run.saved import load_config
from vae3d.runtime.distributed import start_distributed
from vae3d.scans.labels import label_name, label_values, may_be_labels, may_hold_labels
from vae3d.settings.saved import write_settings
from vae3d.values.voxel_statistics import VoxelStatistics

GRID = np.stack(np.meshgrid(*[np.linspace(-1, 1, 12)] * 3, indexing="ij"))
BALL = np.sqrt((GRID**2).sum(0)) < 0.7
SILENT = ProgressBar("prepare", False)
NOISE = np.random.default_rng(0)


def scan(path: Path, seed: int = 0) -> Path:
    """A ball in air, in HU."""
    noise = np.random.default_rng(seed).normal(0, 15, BALL.shape)
    return save(path, (np.where(BALL, 40, -1000) + noise).astype(np.int16))


def mask(path: Path, dtype: Any = np.uint8) -> Path:
    return save(path, BALL.astype(dtype))


def save(path: Path, voxels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".png", ".tif"):
        Image.fromarray(voxels).save(path)
    else:
        nibabel.Nifti1Image(voxels, np.eye(4), dtype=voxels.dtype).to_filename(path)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Scans with segmentations in folders below them."""
    for number in range(4):
        scan(tmp_path / f"data/s{number}/ct.nii.gz", number)
        mask(tmp_path / f"data/s{number}/segmentations/liver.nii.gz")
    return tmp_path / "data"


def ids(**settings: Any) -> list[str]:
    return ScanSource(CTConfig(**settings)).case_ids


@pytest.mark.parametrize(
    "name",
    [
        "segmentations/liver", "s1/segmentations/liver", "labelsTr/c0", "labels/a", "label/a",
        "masks/a", "Mask/a", "derivatives/sub-01/a", "a_seg", "a-seg", "a_label", "a_labels",
        "sub-01_dseg", "a.seg", "mask_a", "a_mask2", "seg_a", "Segmentation_a", "liverSeg", "gt/a",
        "ground_truth/a", "a_labelmap", "annotations/a", "p1_lesion", "wmh", "aROI/roi_3",
        "BraTS_001_seg",
    ],
)  # fmt: skip
def test_names_of_label_maps(name: str) -> None:
    assert label_name(f"{name}.nii.gz")


@pytest.mark.parametrize(
    "name", ["a", "s1/ct", "imagesTr/c0_0000", "sub-01/anat/sub-01_T1w", "images/passage", "pet"]
)
def test_names_of_scans(name: str) -> None:
    assert label_name(f"{name}.nii.gz") is None


def test_values_of_label_maps() -> None:
    atlas = (np.digitize(GRID[0], np.linspace(-1, 1, 9)) * 9).astype(np.int16) + 1
    atlas = np.where(BALL, atlas + np.digitize(GRID[1], np.linspace(-1, 1, 9)), 0)
    assert len(np.unique(atlas)) > 32
    for labels in (
        BALL,
        BALL * 255,
        BALL.astype(np.float32),
        atlas,
        BALL - 1,
        np.zeros((3, 4, 5)),
    ):
        assert label_values(np.asarray(labels, np.float32)), labels
    hu = np.where(BALL, 40, -1000)
    smooth = (GRID[0] * 100 + 100).astype(np.int16)
    gray = NOISE.integers(0, 200, BALL.shape)
    for scan_ in (hu, BALL * 0.5, np.where(BALL, np.nan, 0), gray, gray + smooth, BALL * 1e-3):
        assert label_values(np.asarray(scan_)) is None, scan_


def test_what_both_name_and_values_call_a_label_map_is_left_out(tree: Path) -> None:
    mask(tree / "a_seg.nii.gz", np.float32)
    scan(tree / "real_seg.nii.gz")
    mask(tree / "plain.nii.gz")
    scan(tree / "derivatives/denoised.nii.gz")
    source = ScanSource(CTConfig(root=str(tree)))
    kept = ["derivatives/denoised", "plain", "real_seg", *(f"s{n}/ct" for n in range(4))]
    assert source.case_ids == kept
    assert [*source.left_out] == ["a_seg", *(f"s{n}/segmentations/liver" for n in range(4))]
    assert source.left_out["a_seg"] == "a label map: name a_seg, 2 whole values from 0 to 1"
    assert "folder segmentations" in source.left_out["s0/segmentations/liver"]


def test_images_and_their_masks(tmp_path: Path) -> None:
    for number in range(3):
        gray = np.random.default_rng(number).integers(0, 255, (20, 20)).astype(np.uint8)
        save(tmp_path / f"images/{number}.png", gray)
        save(tmp_path / f"masks/{number}.png", BALL[0].astype(np.uint8) * 255)
        save(tmp_path / f"mask_rcnn/{number}.png", gray // 2)
    source = ScanSource(Images2DConfig(root=str(tmp_path)))
    assert {name.split("/")[0] for name in source.case_ids} == {"images", "mask_rcnn"}


def test_ways_to_keep_label_maps(tree: Path, tmp_path: Path) -> None:
    everything = sorted(
        [f"s{n}/ct" for n in range(4)] + [f"s{n}/segmentations/liver" for n in range(4)]
    )
    assert ids(root=str(tree), label_maps="keep") == everything
    assert ids(root=str(tree), include=["*"]) == everything
    # The root itself is asked for, whatever its name is.
    assert ids(root=str(tree / "s0/segmentations")) == ["liver"]
    assert ids(root=str(tree / "s0/segmentations/liver.nii.gz")) == ["liver"]
    names = tmp_path / "list.csv"
    names.write_text("path\ndata/s0/segmentations/liver.nii.gz\ndata/s1/ct.nii.gz\n")
    assert ids(list=str(names)) == ["data/s0/segmentations/liver", "data/s1/ct"]


def test_a_folder_of_nothing_but_label_maps_is_refused(tmp_path: Path) -> None:
    for number in range(2):
        mask(tmp_path / f"labelsTr/{number}.nii.gz")
    with pytest.raises(DataError, match=r"all 2 scans.*labelsTr/0.*data\.label_maps=keep"):
        ids(root=str(tmp_path))
    with pytest.raises(DataError, match=r"all 2 scans.*change data\.include and data\.exclude"):
        ids(root=str(tmp_path), include=["*.png"])


@pytest.mark.parametrize("damaged", ["time", "broken"])
def test_a_file_that_cannot_be_read_is_no_label_map(tmp_path: Path, damaged: str) -> None:
    scan(tmp_path / "a.nii.gz")
    if damaged == "time":
        save(tmp_path / "b_seg.nii.gz", np.stack([BALL] * 2, -1).astype(np.uint8))
    else:
        (tmp_path / "b_seg.nii.gz").write_bytes(b"no scan")
    assert ids(root=str(tmp_path)) == ["a", "b_seg"]


def test_of_many_label_maps_some_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "MAX_CHECKED", 3)
    scan(tmp_path / "a.nii.gz")
    for number in range(8):
        mask(tmp_path / f"masks/{number}.nii.gz")
    source = ScanSource(CTConfig(root=str(tmp_path)))
    assert source.case_ids == ["a"]
    assert sum("3 others were read" in reason for reason in source.left_out.values()) == 5
    # One that is none makes all of them be read.
    scan(tmp_path / "masks/0.nii.gz")
    scan(tmp_path / "masks/4.nii.gz")
    source = ScanSource(CTConfig(root=str(tmp_path)))
    assert source.case_ids == ["a", "masks/0", "masks/4"]
    assert not any("were read" in reason for reason in source.left_out.values())
    # Where none of some is one, the others are not read.
    for number in range(8):
        scan(tmp_path / f"masks/{number}.nii.gz", number)
    mask(tmp_path / "masks/1.nii.gz")
    read = []
    known = search_module.read_volume

    def counted(path: Path, **given: Any) -> Any:
        read.append(path)
        return known(path, **given)

    monkeypatch.setattr(search_module, "read_volume", counted)
    assert ids(root=str(tmp_path)) == ["a", *(f"masks/{number}" for number in range(8))]
    assert len(read) == 3


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("ct.nii.gz", True), ("*/ct.nii.gz", True), ("s1/*", True), ("s1", True), ("s1/", True),
        ("**/ct.nii.gz", True), ("a/**/ct.nii.gz", True), ("a/**", True), ("*.nii.gz", True),
        ("./a/s1/ct.nii.gz", True), ("a/s[0-3]/c?.nii.gz", True), ("a/s1/ct.nii.gz", True),
        ("ct", False), ("s2", False), ("s1/ct", False), ("*.nii", False), ("a/ct.nii.gz", False),
        ("S1", False), ("t.nii.gz", False),
    ],
)  # fmt: skip
def test_patterns(pattern: str, fits: bool) -> None:
    assert matches("a/s1/ct.nii.gz", pattern) == fits


def test_include_and_exclude(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert ids(root=str(tree), include=["ct.nii.gz"]) == [f"s{n}/ct" for n in range(4)]
    assert ids(root=str(tree), include=["s0", "s1/ct.nii.gz"], exclude=["seg*"]) == [
        "s0/ct",
        "s1/ct",
    ]
    source = ScanSource(CTConfig(root=str(tree), exclude=["s[1-3]"]))
    assert source.case_ids == ["s0/ct"]
    assert source.left_out["s1/ct"] == "fits data.exclude=s[1-3]"
    assert not caplog.records
    ids(root=str(tree), include=["ct.nii.gz", "s9"])
    assert "data.include=s9: fits none of the 8 scans" in caplog.text
    with pytest.raises(ConfigError, match=r"data\.list names its own"):
        CTConfig(list="a.csv", exclude=["b"])


def test_a_run_on_other_scans_keeps_or_replaces_the_patterns() -> None:
    trained = CTConfig(root="a", include=["ct.nii.gz"], label_maps="keep")
    same = RunData(root="b").for_run(trained, None)
    assert isinstance(same, CTConfig)
    assert (same.include, same.label_maps) == (["ct.nii.gz"], "keep")
    other = RunData(root="b", include=["t1.nii.gz"], label_maps="leave_out").for_run(trained, None)
    assert isinstance(other, CTConfig)
    assert (other.include, other.label_maps) == (["t1.nii.gz"], "leave_out")
    listed = RunData(list="b.csv").for_run(trained, None)
    assert isinstance(listed, CTConfig)
    assert (listed.include, listed.exclude) == ([], [])


def test_patterns_have_a_store_of_their_own_and_old_stores_keep_theirs() -> None:
    plain = CTConfig(root="a").identity()
    assert [*plain] == ["kind", "root", "list", "channel", "spacing", "reader"]
    earlier = CTConfig(root="a", reader=1).identity()
    assert [*earlier] == ["kind", "root", "list", "channel", "spacing"]
    assert CTConfig(root="a", label_maps="keep").identity() == plain
    assert CTConfig(root="a", include=["b"]).identity() != plain


def test_one_line_names_what_is_left_out(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    build_source(CTConfig(root=str(tree)))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    for part in ("left out 4 label maps, such as s0/segmentations/liver", "data.label_maps=keep"):
        assert part in record.getMessage()
    assert summary({"a": "fits data.exclude=a"}).startswith("left out 1 scan, such as a")
    first, rest = listed({"a": "x", "b": "y"}, 1)
    assert first == "left out: a: x"
    assert rest.startswith("1 more scans are left out")


def test_a_run_records_what_becomes_of_label_maps(tree: Path, tmp_path: Path) -> None:
    data = CTConfig(root=str(tree), store=None)
    config = tiny_training(tmp_path, data=data, patching=RandomPatchesConfig(size=(8,)))
    with start_distributed("cpu") as distributed:
        training = Training(config, None, distributed, Extras())
        assert training.config.data.label_maps == "leave_out"  # type: ignore[attr-defined]
        write_settings(training.config, training.folder.config)
        assert len(Training(config, None, distributed, Extras()).cases.split_of()) == 4
        # Runs of earlier versions have no such key: they read what they read.
        text = training.folder.config.read_text()
        training.folder.config.write_text(text.replace("  label_maps: leave_out\n", ""))
        assert load_config(training.folder.config).data.label_maps == "keep"  # type: ignore[attr-defined]
        assert len(Training(config, None, distributed, Extras()).cases.split_of()) == 8


@pytest.mark.parametrize("store", ["null", "auto"])
def test_inspect_lists_what_is_left_out(tree: Path, tmp_path: Path, store: str) -> None:
    mask(tree / "plain.nii.gz")
    result = vae3d(
        "inspect", "data=ct", f"data.root={tree}", f"data.store={store}",
        "data.exclude=s3", "patching.size=8", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "left out: s0/segmentations/liver: a label map: folder segmentations" in result.stderr
    assert "plain: a handful of whole values: is this a label map?" in result.stderr
    (path,) = tmp_path.glob("inspect*/summary.json")
    left_out = json.loads(path.read_text())["left_out"]
    assert left_out["s3/ct"] == "fits data.exclude=s3"
    assert len(left_out) == 5
    assert "s0/segmentations/liver," in (path.parent / "cases.csv").read_text()


@pytest.mark.parametrize("store", [None, "stores"])
@pytest.mark.parametrize("keep", [None, "keep"])
def test_values_alone_are_only_asked_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, store: str | None, keep: str | None
) -> None:
    for number in range(3):
        scan(tmp_path / f"data/{number}.nii.gz", number)
    mask(tmp_path / "data/liver.nii.gz")
    folder = store and str(tmp_path / store)
    data = CTConfig(
        root=str(tmp_path / "data"), store=folder, label_maps=keep, val_fraction=0, test_fraction=0
    )
    assert len(open_cases(data, SILENT).survey("train")) == 4
    asked = [record for record in caplog.records if "1 case has" in record.getMessage()]
    assert len(asked) == (keep is None)
    if keep is None:
        assert "such as liver: a label map? Leave it out with data.exclude" in caplog.text
    if store:
        caplog.clear()
        prepare(PrepareConfig(data=replace(data, check="off")))
        assert ("such as liver" in caplog.text) == (keep is None)


def test_statistics_of_label_maps() -> None:
    def suspect(voxels: np.ndarray) -> bool:
        return may_be_labels(VoxelStatistics.of(voxels[None], 0))

    hu = np.where(BALL, 40, -1000).astype(np.int16)
    # A constant scan is refused as such.
    assert not suspect(np.full(BALL.shape, 25, np.int16))
    assert not may_hold_labels(np.full(BALL.shape, 25, np.int16))
    assert may_hold_labels(BALL.astype(np.int16))
    assert not may_hold_labels(hu)
    assert suspect(BALL.astype(np.int16))
    assert suspect(BALL.astype(np.float32) * 255)
    assert not suspect(hu)
    assert not suspect(NOISE.random(BALL.shape).astype(np.float32))
    assert not suspect(NOISE.integers(0, 200, BALL.shape).astype(np.int16))
