"""The references of a reconstruction, and the crop that is scored."""

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.conftest import tiny_model
from vae3d.autoencoder.vae import CustomVAE
from vae3d.data.loaded import LoadedCase
from vae3d.errors import ConfigError, VolumeError
from vae3d.evaluation.config import EvaluationConfig
from vae3d.inference.config import InferenceConfig
from vae3d.inference.runner import build_runner
from vae3d.runtime.precision import Precision
from vae3d.scans.files import read_volume
from vae3d.scans.resample import resample_to_shape, resample_to_spacing
from vae3d.scans.volume import Volume
from vae3d.scoring.codecs import bits_of_latent, downsampled
from vae3d.scoring.references import on_grid_of, scan_on_disk
from vae3d.scoring.scorer import CaseScorer
from vae3d.values.intensity import IntensityContract

CPU = torch.device("cpu")

WINDOW = IntensityContract("window", -1000.0, 1000.0, "HU")


def scan_of(folder: Path, shape: tuple[int, ...] = (6, 8, 4)) -> Path:
    voxels = np.random.default_rng(0).integers(-1500, 1500, shape).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.0, 1, 2, 1])), folder / "scan.nii")
    return folder / "scan.nii"


def test_the_scan_on_disk_is_that_of_the_file(tmp_path: Path) -> None:
    path = scan_of(tmp_path)
    volume = read_volume(path)
    case = LoadedCase(volume, WINDOW)
    assert scan_on_disk(case, volume.data) is volume.data, "nothing was resampled"
    moved = resample_to_spacing(volume, (1.0, 1.0, 1.0))
    resampled = LoadedCase(moved, WINDOW)
    assert torch.equal(scan_on_disk(resampled, moved.data), volume.data)
    homeless = LoadedCase(replace(moved, source=None), WINDOW)
    assert scan_on_disk(homeless, moved.data) is moved.data
    scan_of(tmp_path, (6, 8, 5))
    with pytest.raises(VolumeError, match="has changed since it was prepared"):
        scan_on_disk(resampled, moved.data)
    with pytest.raises(VolumeError, match="has changed since"):
        scan_on_disk(resampled, moved.data.repeat(2, 1, 1, 1))
    assert on_grid_of(moved.data, moved.data) is moved.data
    on_grid = on_grid_of(moved.data, volume.data)
    assert torch.equal(on_grid, resample_to_shape(moved.data, volume.shape))


def scorer(
    mode: str = "full", contract: IntensityContract = WINDOW, **changes: object
) -> CaseScorer:
    config = EvaluationConfig(media=[], **changes)  # type: ignore[arg-type]
    precision = Precision("fp32", torch.device("cpu"))
    inference = InferenceConfig(size=(4,), overlap=0.0)
    reconstructor = build_runner(inference, mode, CustomVAE(tiny_model()).eval(), CPU, precision)
    return CaseScorer(config, contract, reconstructor)


def test_a_frame_is_the_middle_filled_up_evenly() -> None:
    framed = scorer(crop=(4, 5, 2))._framed
    image = torch.arange(2.0 * 7 * 4).reshape(1, 2, 7, 4)
    expected = F.pad(image[:, :, 1:6, 1:3], (0, 0, 0, 0, 1, 1), value=-1.0)
    assert torch.equal(framed(image, -1), expected)
    odd = framed(image[:, :1, :4], -1)
    assert torch.equal(odd, F.pad(image[:, :1, :4, 1:3], (0, 0, 0, 1, 1, 2), value=-1.0))
    assert scorer()._framed(image, -1) is image


def test_scores_and_units_have_the_documented_names() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(-900, 900, (1, 8, 8, 8), generator=generator, dtype=torch.int16)
    case = LoadedCase(Volume(values, np.eye(4), "case"), WINDOW)
    image = case.range.to_model(values)
    other = (image + 0.1 * torch.randn(image.shape, generator=generator)).clamp(-1, 1)
    case_scorer = scorer(
        "patch", metrics=["mae", "psnr", "nmse"], regions=["foreground"], floor=True,
        baselines=["downsample"],
    )  # fmt: skip
    scores = case_scorer.score(case, values, image, other).scores
    names = {"mae", "psnr", "nmse", "seam", "mae/foreground", "psnr/foreground"}
    names |= {f"{m}@{r}" for m in ("mae", "psnr") for r in ("scan", "floor", "downsample")}
    assert {*scores} == {*case_scorer.units()} == names
    assert case_scorer.units()["mae/foreground"] == case_scorer.units()["mae@scan"] == "HU"
    error = (other - image).abs()
    assert (
        scores["mae"] == scores["mae@scan"] == pytest.approx(1000 * error.mean().item(), rel=1e-5)
    )
    above = values >= -800
    assert scores["mae/foreground"] == pytest.approx(1000 * error[above].mean().item(), rel=1e-5)
    assert scores["mae@floor"] == 0, "nothing was clipped"
    baseline = downsampled(image, bits_of_latent(case_scorer.runner.model, (8, 8, 8))).image
    assert scores["mae@downsample"] == pytest.approx(
        1000 * (baseline - image).abs().mean().item(), rel=1e-5
    )


def test_scores_in_another_window() -> None:
    """Both are clipped to it; values outside of it count for the scan on disk only."""
    values = torch.tensor([-1400.0, -500, 0, 250, 500, 900, 1500, 100]).reshape(1, 2, 2, 2)
    case = LoadedCase(Volume(values, np.eye(4), "case"), WINDOW)
    image = case.range.to_model(values)
    other = image.flip(1)
    case_scorer = scorer(window=(0.0, 500.0), metrics=["mae"], floor=True, regions=[])
    scores = case_scorer.score(case, values, image, other).scores
    scan, back = values.clamp(0, 500), case.range.from_model(other).clamp(0, 500)
    assert scores["mae"] == pytest.approx((scan - back).abs().mean().item(), rel=1e-5)
    assert scores["mae@scan"] == pytest.approx((values - back).abs().mean().item(), rel=1e-5)
    assert scores["mae@floor"] == pytest.approx((values - scan).abs().mean().item(), rel=1e-5)
    percentiles = IntensityContract("percentiles", 0.0, 99.0, "a.u.")
    with pytest.raises(ConfigError, match=r"evaluation\.window=\[0\.0, 500\.0\] needs scans"):
        scorer(contract=percentiles, window=(0.0, 500.0))
