"""What commands say about doubtful geometry, and how runs keep the rules of their training."""

import csv
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.data.test_geometry import MIRRORED, a_file
from vae3d.commands.inspect import InspectConfig
from vae3d.commands.inspect_run import inspect
from vae3d.commands.prepare import PrepareConfig
from vae3d.commands.prepare_run import prepare
from vae3d.commands.reconstruct import ReconstructConfig
from vae3d.commands.reconstruct_run import reconstruct
from vae3d.commands.train import TrainConfig
from vae3d.commands.train_run import train
from vae3d.data.config import CTConfig
from vae3d.evaluation.config import EvaluationConfig
from vae3d.model.config import LevelSpec, VAEConfig
from vae3d.patching.config import WholeVolumeConfig
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
