"""The evaluator with a model that changes nothing, and the references of the scores."""

import json
import math
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.conftest import tiny_model
from vae3d.autoencoder.vae import CustomVAE
from vae3d.data.build import open_cases
from vae3d.data.cases import Cases
from vae3d.data.config import CTConfig, MRIConfig, SyntheticConfig
from vae3d.errors import ConfigError
from vae3d.evaluation import gallery
from vae3d.evaluation.config import EvaluationConfig
from vae3d.evaluation.evaluator import Evaluator
from vae3d.inference.config import InferenceConfig
from vae3d.inference.runner import build_runner
from vae3d.layers.folding import pixel_shuffle, pixel_unshuffle
from vae3d.logger.base import Logger
from vae3d.logger.console import ProgressBar
from vae3d.model.config import LevelSpec
from vae3d.model.gaussian import DiagonalGaussian
from vae3d.model.sizes import cropped, pad_to_multiple
from vae3d.report.result import CaseScore, EvaluationResult, interval
from vae3d.runtime.distributed import Distributed
from vae3d.runtime.precision import Precision
from vae3d.scans.files import read_volume
from vae3d.scoring.codecs import downsampled, jpeg
from vae3d.scoring.config import BASELINES
from vae3d.scoring.sharpness import BANDS
from vae3d.values.identity import ScanIdentity

CPU = torch.device("cpu")
FP32 = Precision("fp32", CPU)
SILENT = ProgressBar("prepare", False)
ODD = [(5, 17, 23), (1, 9, 14), (3, 2, 31), (21, 24, 24), (18, 11), (7, 40)]


class Identity(CustomVAE):
    """A VAE whose latent is the image, folded."""

    def __init__(self, dims: int) -> None:
        levels = [LevelSpec(4)]
        super().__init__(tiny_model(dims, levels=levels, patch=(2,), latent_channels=2**dims))

    def encode(self, image: Tensor, memory: float | None = None) -> DiagonalGaussian:
        folded = pixel_unshuffle(pad_to_multiple(image, self.factor), self.config.patches)
        return DiagonalGaussian(folded, torch.full_like(folded, -30.0))

    def decode(
        self,
        latent: Tensor,
        size: tuple[int, ...] | None = None,
        memory: float | None = None,
    ) -> Tensor:
        image = pixel_shuffle(latent, self.config.patches)
        return image if size is None else cropped(image, size)


class Halving(Identity):
    """A VAE that halves every deviation from the middle of the range."""

    def decode(
        self,
        latent: Tensor,
        size: tuple[int, ...] | None = None,
        memory: float | None = None,
    ) -> Tensor:
        return super().decode(latent, size) / 2


def evaluated(
    model: CustomVAE, cases: Cases, folder: Path, mode: str = "full", **changes: object
) -> EvaluationResult:
    settings = {"media": [], "report": False, **changes}
    config = EvaluationConfig(**settings)  # type: ignore[arg-type]
    inference = InferenceConfig(size=(8,), overlap=0.3)
    reconstructor = build_runner(inference, mode, model, CPU, FP32)
    evaluator = Evaluator(reconstructor, cases, config, Distributed(0, 1))
    indices = [i for members in cases.splits.values() for i in members.tolist()]
    return evaluator.evaluate(sorted(indices), folder, Logger())


def write_scans(folder: Path, shape: tuple[int, ...] = (20, 18, 12), count: int = 3) -> Path:
    rng = np.random.default_rng(0)
    for number in range(count):
        voxels = np.cumsum(rng.normal(0, 60, shape), axis=0).clip(-1200, 1400).astype(np.int16)
        affine = np.diag([1.0, 1.0, 2.0, 1.0])
        nibabel.save(nibabel.Nifti1Image(voxels, affine), folder / f"scan{number}.nii")
    return folder


@pytest.mark.parametrize("mode", ["full", "patch"])
@pytest.mark.parametrize("shape", ODD, ids=str)
def test_an_identity_is_perfect(tmp_path: Path, shape: tuple[int, ...], mode: str) -> None:
    cases = open_cases(SyntheticConfig(shape=shape, count=2), SILENT)
    result = evaluated(Identity(len(shape)), cases, tmp_path, mode)
    assert len(result.cases) == 2
    for case in result.cases:
        assert case.scores["psnr"] == math.inf
        assert case.scores["ssim"] == 1
        assert case.scores["ms_ssim"] == pytest.approx(1, abs=1e-9)
        assert case.scores["mae"] == case.scores["nmse"] == case.scores["gradient"] == 0
        assert case.scores.get("seam", 1.0) == 1
        assert case.scores["psnr@scan"] == case.scores["psnr@floor"]
    assert ("seam" in result.names) == (mode == "patch")
    assert result.latents["elements"] > 0


@pytest.mark.parametrize("shape", [(40, 36), (20, 24, 16)], ids=str)
@pytest.mark.parametrize("mode", ["full", "patch"])
def test_half_the_contrast_is_a_quarter_of_the_power(
    tmp_path: Path, shape: tuple[int, ...], mode: str
) -> None:
    """Of the whole volume, whatever is cropped; what is alike at every frequency is no blur."""
    cases = open_cases(SyntheticConfig(shape=shape, count=2), SILENT)
    result = evaluated(Halving(len(shape)), cases, tmp_path, mode, crop=(8,))
    for case in result.cases:
        for band in BANDS:
            assert case.scores[f"power_{band}"] == pytest.approx(0.25, rel=1e-3)
        assert case.scores["fsc"] == pytest.approx(1, abs=1e-4)
        assert case.scores["fsc_05"] == case.scores["fsc_0143"] == 0.5
        assert case.scores["staircase"] == pytest.approx(1, abs=0.02)
        assert case.sharpness is not None
        assert [[*axis] for axis in case.sharpness.steps] == [[2]] * len(shape)
    assert result.sets["swd"]["mean"] > 0.1
    assert {*result.protocol["sharpness"]} == {"power", "fsc", "staircase"}


def test_what_is_not_asked_for_is_not_measured(tmp_path: Path) -> None:
    cases = open_cases(SyntheticConfig(shape=(16, 16), count=1), SILENT)
    plain = evaluated(Halving(2), cases, tmp_path, metrics=["psnr"], sets=[])
    assert plain.cases[0].sharpness is None
    assert plain.sets == {}
    assert "sharpness" not in plain.protocol
    flat = Halving(2)
    flat.config = replace(flat.config, patch=(1,))
    alone = evaluated(flat, cases, tmp_path, metrics=["psnr", "staircase", "fsc"], sets=[])
    assert alone.names[:2] == ["psnr", "fsc"], "no grid is known that may paint blocks"


def test_the_floor_is_what_clipping_and_resampling_cost(tmp_path: Path) -> None:
    write_scans(tmp_path)
    cases = open_cases(CTConfig(root=str(tmp_path), spacing=(3.0, 1.5, 1.5), store=None), SILENT)
    result = evaluated(Identity(3), cases, tmp_path)
    for case in result.cases:
        scan = read_volume(tmp_path / f"{case.case_id}.nii").data.double()
        index = [cases.case_id(i) for i in range(3)].index(case.case_id)
        seen = cases[index].volume().data.double().clamp(-1000, 1000)
        back = torch.nn.functional.interpolate(
            seen[None], size=scan.shape[1:], mode="trilinear", align_corners=False
        )[0]
        expected = (back - scan).square().mean().sqrt().item()
        assert case.scores["rmse@floor"] == pytest.approx(expected, rel=1e-4)
        assert case.scores["rmse@scan"] == pytest.approx(expected, rel=1e-4)
        assert case.scores["psnr"] == math.inf


def test_a_floor_without_the_scan_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scans(tmp_path)
    data = CTConfig(root=str(tmp_path), spacing=(3.0, 1.5, 1.5), store=str(tmp_path / "store"))
    cases = open_cases(data, SILENT)
    for path in tmp_path.glob("*.nii"):
        path.unlink()
    result = evaluated(Identity(3), cases, tmp_path)
    assert all("psnr@floor" not in case.scores for case in result.cases)
    assert capsys.readouterr().err.count("no floor for") == 3


def test_window_and_crop(tmp_path: Path) -> None:
    write_scans(tmp_path)
    cases = open_cases(CTConfig(root=str(tmp_path), store=None), SILENT)
    crop, window = (8, 30, 6), (-500.0, 300.0)
    result = evaluated(Halving(3), cases, tmp_path, window=window, crop=crop, model_range=(0, 1))
    for case in result.cases:
        index = [cases.case_id(i) for i in range(3)].index(case.case_id)
        raw = cases[index].volume().data[0].double().numpy()
        pair = [x.clip(*window) for x in (raw, raw.clip(-1000, 1000) / 2)]
        d, h, w = ((n - min(n, c)) // 2 for n, c in zip(raw.shape, crop, strict=True))
        missing = 30 - raw.shape[1]
        cut = [x[d : d + 8, h:, w : w + 6] for x in pair]
        sides = ((0, 0), (missing // 2, missing - missing // 2), (0, 0))
        image, other = (np.pad(x, sides, constant_values=window[0]) for x in cut)
        assert image.shape == crop
        error = np.square(image - other).mean()
        assert case.scores["psnr"] == pytest.approx(10 * math.log10(800**2 / error), abs=1e-4)
        assert case.scores["mse"] == pytest.approx(error, rel=1e-4)
        assert case.scores["mse_model"] == pytest.approx(error / 800**2, rel=1e-4)
    assert result.protocol["data_range"] == "[-500.0, 300.0] HU"


def test_a_window_needs_a_unit(tmp_path: Path) -> None:
    write_scans(tmp_path)
    cases = open_cases(MRIConfig(root=str(tmp_path), store=None), SILENT)
    with pytest.raises(ConfigError, match=r"evaluation\.window"):
        evaluated(Identity(3), cases, tmp_path, window=(-1000.0, 1000.0))


def test_baselines_keep_no_more_than_the_latent(tmp_path: Path) -> None:
    cases = open_cases(SyntheticConfig(shape=(16, 24, 24), count=2), SILENT)
    model = CustomVAE(tiny_model(latent_channels=1))
    result = evaluated(model, cases, tmp_path, baselines=[*BASELINES])
    for case in result.cases:
        for name in BASELINES:
            assert case.scores[f"psnr@{name}"] > 10
    image = cases[0].range.to_model(cases[0].volume().data)
    assert torch.equal(downsampled(image, 16 * image.numel()).image, image)
    halved = torch.nn.functional.avg_pool3d(image[None], 2)
    up = torch.nn.functional.interpolate(halved, scale_factor=2, mode="trilinear")[0]
    torch.testing.assert_close(downsampled(image, 2 * image.numel()).image, up)
    errors = [(jpeg(image, 16 * n).image - image).square().mean() for n in (200, 4000, 10**6)]
    assert errors[0] > errors[1] > errors[2]
    assert 10 * math.log10(4 / errors[2]) > 40, "the best quality"


@pytest.mark.parametrize("room", [0, 60_000, 2**28])
def test_best_median_and_worst_are_shown_kept_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    monkeypatch.setattr(gallery, "MAX_BYTES", room)
    write_scans(tmp_path, count=5)
    cases = open_cases(CTConfig(root=str(tmp_path), store=None), SILENT)
    reconstructor = build_runner(InferenceConfig(), "full", Halving(3), CPU, FP32)
    evaluator = Evaluator(reconstructor, cases, EvaluationConfig(media=[]), Distributed(0, 1))
    result = evaluator.evaluate([0, 1, 2, 3, 4], tmp_path, Logger())
    held = [place for place in range(5) if evaluator.gallery.get(place)]
    by_score = sorted(range(5), key=lambda place: result.cases[place].scores["psnr"])
    assert {by_score[0], by_score[-1]} <= {*held}
    assert len(held) == {0: 2, 60_000: 2, 2**28: 5}[room]
    views = dict(evaluator.views(result, [0, 1, 2, 3, 4]))
    assert [*views] == ["best", "median", "worst"]
    order = sorted(result.cases, key=lambda case: -case.scores["psnr"])
    assert [view.title for view in views.values()] == [order[n].case_id for n in (0, 2, 4)]
    for view in views.values():
        np.testing.assert_allclose(view.reconstruction, view.original / 2, atol=1e-3)


def test_intervals_are_students() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    values = [20.1, 22.4, 21.7, 25.0, 19.3, 22.2]
    expected = scipy_stats.t.interval(0.95, 5, loc=np.mean(values), scale=scipy_stats.sem(values))
    assert interval(values) == pytest.approx(expected)
    assert all(map(math.isnan, interval(values[:5]))), "fewer than six cases have no interval"
    assert all(map(math.isnan, interval([*values, math.inf])))


def test_intervals_end_where_values_end() -> None:
    values = {"ssim": [0.999, 0.3, 0.999, 0.999, 0.999, 0.999], "mae": [0.0, 0, 0, 0, 0, 9]}
    cases = [
        CaseScore(str(n), 0, 1, {name: of[n] for name, of in values.items()}) for n in range(6)
    ]
    result = EvaluationResult(cases, {"scores": {"ssim": "", "mae": "HU"}})
    assert interval(values["ssim"])[1] > 1, "not cut off"
    assert result.interval("ssim")[1] == 1
    assert result.interval("mae")[0] == 0
    assert result.summary()["scores"]["mae"]["ci95"][0] == 0


def test_scores_open_as_a_plain_table(tmp_path: Path) -> None:
    protocol = {"scores": {"psnr": "dB"}, "crop": "none"}
    cases = [
        CaseScore("a", 0, 1, {"psnr": 30.0}, ScanIdentity("1f", "2e")),
        CaseScore("b", 0, 1, {"psnr": 31.0}),
    ]
    EvaluationResult(cases, protocol).write(tmp_path)
    assert (tmp_path / "scores.csv").read_text() == (
        "case_id,low,high,voxels,geometry,psnr\na,0,1,1f,2e,30.0\nb,0,1,,,31.0\n"
    )
    assert json.loads((tmp_path / "summary.json").read_text())["protocol"] == protocol
