"""What commands say about doubtful geometry, and how runs keep the rules of their training."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
import yaml

from tests.data.test_geometry import MIRRORED, a_file
from vae3d.commands.eval import EvalConfig
from vae3d.commands.eval_run import evaluate
from vae3d.commands.inspect import InspectConfig
from vae3d.commands.inspect_run import inspect
from vae3d.commands.prepare import PrepareConfig
from vae3d.commands.prepare_run import prepare
from vae3d.commands.reconstruct import ReconstructConfig
from vae3d.commands.reconstruct_run import reconstruct
from vae3d.commands.train_run import train
from vae3d.comparison.comparison import compare_reports
from vae3d.comparison.reader import read_report
from vae3d.data.config import CTConfig, Images2DConfig, RunData
from vae3d.data.scan_source import ScanSource
from vae3d.errors import ConfigError, RunError
from vae3d.evaluation.config import EvaluationConfig
from vae3d.model.config import LevelSpec, VAEConfig
from vae3d.patching.config import WholeVolumeConfig
from vae3d.run.config import TrainConfig
from vae3d.run.saved import load_config
from vae3d.run.trained import TrainedRun
from vae3d.scans.files import read_volume
from vae3d.scans.resample import resample_to_spacing
from vae3d.scans.volume import Volume
from vae3d.trainer.config import TrainerConfig

FORMS = "1 of 4 scans: sform and qform disagree by up to 20 mm; the sform is used (first: b)"
GUESS = "2 of 4 scans: no sform and no qform; left and right are a guess (first: c)"
MICRON = "1 of 4 scans: the unit is micrometres; voxels are up to 0.002 mm wide (first: d)"


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Four scans, of which three have doubtful headers."""
    folder = tmp_path / "scans"
    folder.mkdir()
    a_file(folder / "a.nii.gz")
    a_file(folder / "b.nii.gz", MIRRORED, seed=1)
    a_file(folder / "c.nii.gz", codes=(0, 0), seed=2)
    a_file(folder / "d.nii.gz", codes=(0, 0), seed=3, xyzt_units=3)
    rows = "".join(f"{name}.nii.gz,{split}\n" for name, split in zip("abcd", SPLITS, strict=True))
    (folder / "list.csv").write_text("path,split\n" + rows)
    return folder


SPLITS = ("train", "train", "val", "train")


def training(scans: Path, name: str = "run", **data: object) -> TrainConfig:
    return TrainConfig(
        name=name,
        runs_dir=str(scans.parent),
        data=CTConfig(root=str(scans), list=str(scans / "list.csv"), **data),  # type: ignore[arg-type]
        model=VAEConfig(in_channels=1, latent_channels=2, levels=[LevelSpec(channels=4)]),
        patching=WholeVolumeConfig(),
        evaluation=EvaluationConfig(metrics=["psnr"]),
        trainer=TrainerConfig(steps=1, batch_size=1, device="cpu"),
    )


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    caplog.clear()
    return [line for line in lines if " of 4 scans: " in line]


@pytest.mark.parametrize("store", ["auto", None])
def test_a_training_reports_doubtful_geometry_once(
    scans: Path, caplog: pytest.LogCaptureFixture, store: str | None
) -> None:
    for name in ("first", "second"):
        train(training(scans, name, store=store))
        # The second one finds a finished store.
        assert warnings(caplog) == [FORMS, GUESS, MICRON]


def test_prepare_and_inspect_report_doubtful_geometry(
    scans: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = CTConfig(root=str(scans))
    for _ in range(2):
        prepare(PrepareConfig(data=data))
        assert warnings(caplog) == [FORMS, GUESS, MICRON]
    for store in ("auto", None):
        data = CTConfig(root=str(scans), store=store)
        output = scans.parent / f"inspected_{store}"
        inspect(InspectConfig(data=data, output=str(output), patching=WholeVolumeConfig()))
        with (output / "cases.csv").open(newline="") as file:
            rows = {row["case"]: row for row in csv.DictReader(file)}
        assert "form" not in rows["a"]["odd"]
        assert "sform and qform disagree by up to 20 mm" in rows["b"]["odd"]
        assert "left and right are a guess" in rows["c"]["odd"]
        assert "the unit is micrometres" in rows["d"]["odd"]
        assert rows["d"]["mm"] == "0.002x0.001x0.001"


def test_a_reconstruction_has_the_header_of_its_scan(scans: Path) -> None:
    run = train(training(scans, store=None))
    back = reconstruct(ReconstructConfig(run=str(run), input=str(scans), output="back"))
    for name in "abcd":
        first, second = (
            nibabel.load(scans / f"{name}.nii.gz"),
            nibabel.load(back / f"{name}.nii.gz"),
        )
        for field in ("sform_code", "qform_code", "xyzt_units", "srow_x", "qoffset_x", "pixdim"):
            assert np.array_equal(first.header[field], second.header[field]), (name, field)
        assert np.array_equal(first.affine, second.affine)


def as_earlier_version(run: Path) -> None:
    """Remove from a run what earlier versions did not record of reading and resampling."""
    settings = yaml.safe_load((run / "config.yaml").read_text())
    for key in ("resampling", "reader", "voxel"):
        del settings["data"][key]
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    for path in run.glob("weights/*/config.json"):
        description = json.loads(path.read_text())
        for key in ("resampling", "reader"):
            del description["contracts"][0][key]
        path.write_text(json.dumps(description))


@pytest.fixture
def earlier(scans: Path) -> Path:
    """A run of an earlier version on voxels that became coarser."""
    config = training(scans, "earlier", spacing=(6, 3, 3), resampling="linear", reader=1)
    run = train(config)
    as_earlier_version(run)
    return run


def read_by(run: Path, scan: Path) -> tuple[Volume, tuple[float, ...]]:
    """A scan as reconstruct reads it for a run."""
    config = ReconstructConfig(run=str(run))
    with TrainedRun.opened(config) as trained:
        data = trained.scans(str(scan))
        return ScanSource(data).read(0), tuple(ScanSource(data).config.spacing)


def test_a_run_of_an_earlier_version_keeps_its_rules(scans: Path, earlier: Path) -> None:
    assert load_config(earlier / "config.yaml").data.reader == 1  # type: ignore[attr-defined]
    old, _ = read_by(earlier, scans / "a.nii.gz")
    plain = resample_to_spacing(read_volume(scans / "a.nii.gz"), (6, 3, 3), "linear")
    assert torch.equal(old.data, plain.data)
    # Micrometres counted as millimetres.
    micron, _ = read_by(earlier, scans / "d.nii.gz")
    assert micron.shape == plain.shape
    # It resumes in its own store, and stays what it is.
    config = training(scans, "earlier", spacing=(6, 3, 3))
    stores = {path.name for path in Path("stores").iterdir()}
    train(replace(config, trainer=replace(config.trainer, steps=2)))
    assert {path.name for path in Path("stores").iterdir()} == stores
    contract = json.loads((earlier / "weights/latest/config.json").read_text())["contracts"][0]
    assert (contract["resampling"], contract["reader"]) == ("linear", 1)
    with pytest.raises(RunError, match=r"data\.resampling: linear -> filtered"):
        train(training(scans, "earlier", spacing=(6, 3, 3), resampling="filtered"))


def test_a_new_run_records_its_rules_and_has_a_store_of_its_own(
    scans: Path, earlier: Path
) -> None:
    (scans / "d.nii.gz").unlink()
    (scans / "list.csv").write_text("path,split\na.nii.gz,train\nb.nii.gz,train\nc.nii.gz,val\n")
    run = train(training(scans, "new", spacing=(6, 3, 3)))
    assert len(list(Path("stores").iterdir())) == 2
    data = load_config(run / "config.yaml").data
    assert (data.resampling, data.reader) == ("filtered", 2)  # type: ignore[attr-defined]
    contract = json.loads((run / "weights/latest/config.json").read_text())["contracts"][0]
    assert (contract["resampling"], contract["reader"]) == ("filtered", 2)
    new, _ = read_by(run, scans / "a.nii.gz")
    old, _ = read_by(earlier, scans / "a.nii.gz")
    assert not torch.equal(new.data, old.data)
    for name in (run, earlier):
        given = RunData(root=str(scans), store=None)
        result = evaluate(EvalConfig(run=str(name), data=given, split="all", output=f"{name}_out"))
        expected = ("filtered", 2) if name == run else ("linear", 1)
        assert (result.protocol["resampling"], result.protocol["reader"]) == expected
    reports = [read_report(f"{name}_out", "full", name.name) for name in (earlier, run)]
    notes = compare_reports(reports).notes
    assert any("resampling: linear in" in note and "filtered in" in note for note in notes)
    assert any("reader: 1 in" in note and "2 in" in note for note in notes)


def test_the_old_rule_has_the_identity_of_stores_of_earlier_versions() -> None:
    keys = ["kind", "root", "list", "channel", "spacing"]
    old = CTConfig(root="/scans", spacing=(3, 1, 1), resampling="linear", reader=1).identity()
    assert [*old] == keys
    new = CTConfig(root="/scans", spacing=(3, 1, 1)).identity()
    assert new == {**old, "resampling": "filtered", "reader": 2}
    assert CTConfig(root="/scans").identity() == {**old, "spacing": None, "reader": 2}
    recorded = CTConfig(root="/scans", resampling="filtered", reader=2)
    assert recorded.identity() == CTConfig(root="/scans").identity()


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """A folder of .npy files, which state no voxel size."""
    folder = tmp_path / "arrays"
    folder.mkdir()
    for number, split in enumerate(SPLITS):
        values = np.random.default_rng(number).integers(-900, 900, (12, 20, 20)).astype(np.int16)
        np.save(folder / f"{number}.npy", values)
        with (folder / "list.csv").open("a") as file:
            file.write(f"{'' if number else 'path,split' + chr(10)}{number}.npy,{split}\n")
    return folder


def test_files_without_a_voxel_size_are_not_resampled(
    arrays: Path, caplog: pytest.LogCaptureFixture
) -> None:
    message = r"4 of 4 scans state no voxel size.*0\.npy.*set data\.voxel=\[D,H,W\]"
    with pytest.raises(ConfigError, match=message):
        train(training(arrays, spacing=(3, 1, 1)))
    # Nothing depends on it where nothing is resampled, and earlier versions counted 1 mm.
    assert ScanSource(CTConfig(root=str(arrays))).read(0).shape == (12, 20, 20)
    old = CTConfig(root=str(arrays), spacing=(3, 1, 1), reader=1)
    assert ScanSource(old).read(0).shape == (4, 20, 20)
    run = train(training(arrays, spacing=(3, 1, 1), voxel=(1.5, 1, 1)))
    volume = ScanSource(load_config(run / "config.yaml").data).read(0)  # type: ignore[arg-type]
    assert volume.shape == (6, 20, 20)
    assert volume.spacing == (3, 1, 1)
    # Other scans of the same kind: for reconstruct the size is needed too.
    config = ReconstructConfig(run=str(run), input=str(arrays), output="back")
    with pytest.raises(ConfigError, match="state no voxel size"):
        reconstruct(config)
    back = reconstruct(replace(config, voxel=(1.5, 1, 1)))
    image = nibabel.load(back / "0.nii.gz")
    assert image.shape == (12, 20, 20)
    assert image.header.get_zooms() == (1.5, 1, 1)
    with pytest.raises(ConfigError, match="images_2d"):
        Images2DConfig(root=str(arrays), voxel=(1, 1, 1))


def test_a_voxel_size_that_is_not_used_is_reported(
    scans: Path, arrays: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ScanSource(CTConfig(root=str(arrays), voxel=(2, 1, 1)))
    assert "not used" not in caplog.text
    source = ScanSource(CTConfig(root=str(scans), voxel=(2, 3, 3)))
    assert "data.voxel is not used" in caplog.text
    assert source.read(0).spacing == (2, 1, 1)
    geometry = {ScanSource(CTConfig(root=str(arrays), voxel=v)).read(0).identity for v in VOXELS}
    assert len(geometry) == 2


VOXELS = (None, (2, 1, 1), (1, 1, 1))
