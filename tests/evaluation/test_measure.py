"""Metrics against scikit-image, MONAI or numpy; regions against masks; tiles against none."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import normalized_root_mse, structural_similarity
from torch import Tensor

from vae3d.loss.structural import SCALE_WEIGHTS, ms_ssim, ssim
from vae3d.scoring import measure as measuring
from vae3d.scoring.config import METRICS
from vae3d.scoring.measure import measure
from vae3d.scoring.metrics import Scale
from vae3d.scoring.regions import TISSUES, WHOLE, Buckets, value_regions
from vae3d.scoring.scores import better_of, scored, seam_score, unit_of, worth
from vae3d.scoring.sharpness import BANDS
from vae3d.values.intensity import IntensityRange

SHAPES = [(40, 33), (16, 20, 18), (13, 40, 27), (11, 12, 13), (5, 24, 24), (1, 24, 24), (3, 1, 2)]
SCALE = Scale(span=2000.0)


def pair(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(*shape, generator=generator) * 2 - 1
    other = image + 0.3 * torch.randn(*shape, generator=generator)
    return image, other.clamp(-1, 1)


def whole(image: Tensor, other: Tensor) -> dict[str, float]:
    errors = measure([image, other], [(0, 1)], image, Buckets([]))[0][WHOLE]
    return scored([*METRICS], errors, SCALE)


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "TILE", (3, 5, 4))
    monkeypatch.setattr(measuring, "VOXELS_PER_CHUNK", 100)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.usefixtures("small_tiles")
def test_tiles_change_nothing(shape: tuple[int, ...]) -> None:
    image, other = pair(1, *shape)
    result = whole(image, other)
    first, second = (x[None].double() + 1 for x in (image, other))
    assert result["ssim"] == pytest.approx(ssim(first, second, 2.0).item(), abs=1e-5)
    assert result["ms_ssim"] == pytest.approx(ms_ssim(first, second, 2.0).item(), abs=1e-5)
    error = (other - image).double().numpy()
    steps = [np.abs(np.diff(error, axis=axis)).ravel() for axis in range(1, error.ndim)]
    assert result["gradient"] == pytest.approx(1000 * np.concatenate(steps).mean(), rel=1e-6)
    assert result["mae"] == pytest.approx(1000 * np.abs(error).mean(), rel=1e-9)
    assert result["rmse"] == pytest.approx(1000 * np.sqrt((error**2).mean()), rel=1e-9)


@pytest.mark.extras
@pytest.mark.parametrize("shape", [(64, 70), (40, 33, 36)], ids=str)
def test_scores_are_monais(shape: tuple[int, ...]) -> None:
    from monai.metrics import PSNRMetric, SSIMMetric
    from monai.metrics.regression import KernelType

    image, other = pair(1, *shape)
    result = whole(image, other)
    first, second = ((x[None] + 1) / 2 for x in (image, other))
    dims = len(shape)
    like = SSIMMetric(dims, data_range=1.0, kernel_type=KernelType.GAUSSIAN, win_size=11)
    assert result["ssim"] == pytest.approx(like(first, second).item(), abs=1e-5)
    assert result["psnr"] == pytest.approx(PSNRMetric(1.0)(first, second).item(), abs=1e-5)
    errors = (first - second).double()
    assert result["mse_model"] / 4 == pytest.approx(errors.square().mean().item(), rel=1e-6)
    root = normalized_root_mse(first.double().numpy(), second.double().numpy())
    assert result["nmse"] == pytest.approx(root**2, rel=1e-5)


@pytest.mark.extras
def test_multiscale_similarity_is_monais() -> None:
    from monai.metrics import MultiScaleSSIMMetric

    image, other = pair(1, 176, 180)
    first, second = ((x[None] + 1) / 2 for x in (image, other))
    metric = MultiScaleSSIMMetric(2, data_range=1.0, kernel_size=11)
    assert whole(image, other)["ms_ssim"] == pytest.approx(metric(first, second).item(), abs=1e-5)


@pytest.mark.extras
def test_multiscale_similarity_in_3d_is_exacter_than_monais() -> None:
    """In float32, windows of 1331 voxels around values far from zero lose some 3e-5."""
    from monai.metrics import MultiScaleSSIMMetric

    image, other = pair(1, 48, 50, 47)
    first, second = ((x[None].double() + 1) / 2 for x in (image, other))
    exact = ms_ssim(first, second, 1.0).item()
    weights = np.array(SCALE_WEIGHTS[:3])
    metric = MultiScaleSSIMMetric(
        3, data_range=1.0, kernel_size=11, weights=tuple(weights / weights.sum())
    )
    theirs = metric(first, second).item()
    result = whole(image, other)["ms_ssim"]
    assert result == pytest.approx(exact, abs=2e-6)
    assert abs(result - exact) < abs(theirs - exact) < 1e-4


@pytest.mark.usefixtures("small_tiles")
def test_regions_are_masks() -> None:
    image, other = pair(1, 16, 20, 18)
    hu = image * 1000
    regions = value_regions(["foreground", "tissues"], IntensityRange(-1000, 1000, "HU"))
    (result,) = measure([image, other], [(0, 1)], hu, Buckets(regions))
    assert [*result] == [WHOLE, "foreground", *(tissue.name for tissue in TISSUES)]
    _, map_ = structural_similarity(
        *(x[0].double().numpy() + 1 for x in (image, other)),
        data_range=2.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True,
    )  # fmt: skip
    inner = (slice(5, -5),) * 3
    for region in regions:
        mask = ((hu >= region.low) & (hu < region.high))[0].numpy()
        error = (other - image)[0].double().numpy()[mask]
        errors = result[region.name]
        assert errors.voxels == mask.sum()
        assert errors.absolute == pytest.approx(np.abs(error).mean(), rel=1e-9)
        assert errors.squared == pytest.approx((error**2).mean(), rel=1e-9)
        assert errors.ssim == pytest.approx(map_[inner][mask[inner]].mean(), abs=1e-5)
    assert {r.name for r in value_regions(["tissues"], IntensityRange(0, 1, ""))} == set()


@pytest.mark.usefixtures("small_tiles")
def test_pairs_together_are_pairs_apart() -> None:
    images = [*pair(1, 16, 20, 18), pair(1, 16, 20, 18)[0].roll(1)]
    pairs = [(0, 1), (2, 1), (2, 0)]
    together = measure(images, pairs, images[0], Buckets([]))
    for result, (first, second) in zip(together, pairs, strict=True):
        chosen = [images[first], images[second]]
        (alone,) = measure(chosen, [(0, 1)], images[0], Buckets([]))
        for name in ("voxels", "absolute", "squared", "ssim"):
            assert getattr(result[WHOLE], name) == getattr(alone[WHOLE], name)


def test_one_voxel_has_no_gradient() -> None:
    assert whole(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1))["gradient"] == 0


def test_a_region_without_voxels_has_no_score() -> None:
    image, other = pair(1, 12, 12)
    bone = [tissue for tissue in TISSUES if tissue.name == "bone"]
    errors = measure([image, other], [(0, 1)], image, Buckets(bone))[0]["bone"]
    assert errors.voxels == 0
    assert scored([*METRICS], errors, SCALE) == {}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_perfect_copy(shape: tuple[int, ...]) -> None:
    image, _ = pair(2, *shape)
    result = whole(image, image.clone())
    assert result["psnr"] == math.inf
    assert result["ssim"] == 1
    assert result["ms_ssim"] == pytest.approx(1, abs=1e-12)
    assert all(result[name] == 0 for name in result if better_of(name) < 0)


def test_similarities_below_zero_count_as_none() -> None:
    image, _ = pair(1, 24, 26)
    result = whole(image, -image)
    assert result["ssim"] < 0
    assert result["ms_ssim"] == 0


@pytest.mark.parametrize(("level", "expected"), [(-1.0, math.inf), (1.0, 0.25), (0.0, 1.0)])
def test_nmse_of_even_images(level: float, expected: float) -> None:
    """Of an error of a half on [0, 1]; over an image of zeros it is infinite, not nothing."""
    image = torch.full((1, 12, 12), level)
    assert whole(image, image + 1.0)["nmse"] == expected
    assert whole(image, image)["nmse"] == 0


def test_what_is_better_is_pinned() -> None:
    better = {"psnr": 1, "ssim": 1, "ms_ssim": 1, "seam": 0, "staircase": 0}
    better |= {"fsc": 1, "fsc_05": 1, "fsc_0143": 1} | {f"power_{band}": 0 for band in BANDS}
    names = [*METRICS, "seam", "whatever"]
    for name in names:
        assert better_of(name) == better.get(name, -1)
        assert better_of(f"{name}/bone") == better_of(f"{name}@floor") == better_of(name)
    regional = {"mse", "mae", "rmse", "psnr", "ssim"}
    assert {name for name, metric in METRICS.items() if metric.regional} == regional
    sharp = {name for name, metric in METRICS.items() if metric.sharp}
    assert sharp == {n for n in better if n.startswith(("power", "fsc", "stair"))}
    structural = {"ssim", "ms_ssim"}
    assert {name for name, metric in METRICS.items() if metric.structural} == structural


def test_scores_are_in_the_units_of_the_scan_and_of_the_model() -> None:
    """An error of 0.5 on [-1, 1]: 500 of 2000 HU, a quarter on [0, 1]."""
    image = torch.zeros(1, 12, 12)
    errors = measure([image, image + 0.5], [(0, 1)], image, Buckets([]))[0][WHOLE]
    result = scored([*METRICS], errors, Scale(2000.0, 1.0))
    expected = {"mse": 250000.0, "mae": 500.0, "rmse": 500.0, "gradient": 0.0,
                "mse_model": 0.0625, "mae_model": 0.25, "rmse_model": 0.25}  # fmt: skip
    assert {name: result[name] for name in expected} == pytest.approx(expected)
    assert result["psnr"] == pytest.approx(10 * math.log10(4 / 0.25))
    units = {
        "fsc_05": "cycles/voxel",
        "fsc_0143": "cycles/voxel",
        "mse": "HU^2",
        "mae": "HU",
        "rmse": "HU",
        "psnr": "dB",
        "gradient": "HU/voxel",
    }
    assert {name: unit_of(name, "HU") for name in METRICS} == {
        name: units.get(name, "") for name in METRICS
    }


def test_units() -> None:
    assert unit_of("mae/bone", "HU") == "HU"
    assert unit_of("mse@floor", "HU") == "HU^2"
    assert unit_of("psnr", "") == "dB"
    assert unit_of("seam", "HU") == ""


@pytest.mark.parametrize(
    ("name", "worst_first"),
    [
        ("psnr/bone", [20.0, 30.0, math.inf]),
        ("mae@floor", [math.inf, 3.0, 0.0]),
        ("seam", [3.0, 0.5, 1.25, 0.875, 1.0]),
        ("seam", [0.0, 1.5, 1.0]),
    ],
)
def test_scores_are_worth_more_the_better_they_are(name: str, worst_first: list[float]) -> None:
    assert sorted(worst_first, key=lambda value: worth(name, value)) == worst_first


def test_the_seam_score_counts_jumps_at_borders_alone() -> None:
    image = torch.zeros(1, 40, 24)
    noise = torch.randn(1, 40, 24, generator=torch.Generator().manual_seed(0))
    borders = [[10, 20, 30], [12]]
    assert seam_score(image, image, borders) == 1
    assert seam_score(image, noise, borders) == pytest.approx(1, abs=0.1)
    assert seam_score(image, noise, [[], []]) == 1
    stepped = 0.01 * noise
    stepped[:, 10:20] += 0.5
    stepped[:, 30:] += 0.5
    assert seam_score(image, stepped, borders) > 5
    elsewhere = 0.01 * noise
    elsewhere[:, 14:] += 0.5
    assert seam_score(image, elsewhere, borders) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("shape", [(40, 33), (23, 20, 18), (5, 24, 24)], ids=str)
@pytest.mark.parametrize("clipped", [0, 3, 4000])
@pytest.mark.usefixtures("small_tiles")
def test_a_scan_is_compared_as_if_nothing_were_shared(
    shape: tuple[int, ...], clipped: int
) -> None:
    """Where few or no voxels were clipped, tiles of the scan are those of the image."""
    image, other = pair(1, *shape)
    scan = image.clone()
    scan.view(-1)[torch.randperm(scan.numel())[:clipped]] -= 0.5
    regions = value_regions(["foreground", "tissues"], IntensityRange(-1000, 1000, "HU"))
    pairs = [(0, 1), (2, 1), (2, 0)]
    result = measure([image, other, scan], pairs, scan * 1000, Buckets(regions))
    for errors, numbers in zip(result, pairs, strict=True):
        first, second = ([image, other, scan][n][None].double() + 1 for n in numbers)
        assert errors[WHOLE].ssim == pytest.approx(ssim(first, second, 2.0).item(), abs=1e-5)
        error = (first - second).abs()
        assert errors[WHOLE].absolute == pytest.approx(error.mean().item(), rel=1e-6, abs=1e-12)
    if not clipped:
        assert result[1][WHOLE].ssim == result[0][WHOLE].ssim
        assert result[2][WHOLE].ssim == 1


@pytest.mark.parametrize("width", [1, 7, 8, 300])
@pytest.mark.parametrize("dtype", [torch.int16, torch.float32])
def test_buckets_sum_every_piece(
    width: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vae3d.scoring.regions.VOXELS_PER_CHUNK", 700)
    generator = torch.Generator().manual_seed(2)
    values = (torch.randn(1, 5, 9, width, generator=generator) * 800).to(dtype)
    # On an edge a voxel belongs to what begins there.
    values[0, 0, 0, 0] = -900
    weights = torch.rand(values.shape, generator=generator)
    regions = value_regions(["foreground", "tissues"], IntensityRange(-1000, 1000, "HU"))
    buckets = Buckets(regions)
    places = buckets.of(values)
    counts, sums = buckets.counts(places), buckets.sums(places, weights)
    assert counts.dtype == sums.dtype == torch.float64
    for region in regions:
        mask = (values >= region.low) & (values < region.high)
        members = torch.tensor(buckets.members[region.name])
        assert counts[members].sum() == mask.sum()
        assert float(sums[members].sum()) == pytest.approx(
            float(weights[mask].double().sum()), rel=1e-12
        )


def test_neighbouring_borders_are_not_compared_with_each_other() -> None:
    image, other = pair(1, 19, 24, 17)
    error = (other - image).double()
    borders = [[1, 9, 12], [23], []]
    across = nearby = 0.0
    for axis, planes in enumerate(borders, start=1):
        jumps = [0.0, *error.diff(dim=axis).abs().transpose(0, axis).flatten(1).mean(1).tolist()]
        for plane in planes:
            near = [i for i in range(plane - 3, plane + 4) if 0 < i < len(jumps)]
            near = [i for i in near if i not in planes]
            across += jumps[plane]
            nearby += sum(jumps[i] for i in near) / len(near)
    assert seam_score(image, other, borders) == pytest.approx(across / nearby, rel=1e-5)


def test_the_memory_format_of_a_reconstruction_changes_nothing() -> None:
    """In float64, as on a GPU, windows are summed as shifted views, which keep the strides."""
    image, other = (one.double() for one in pair(2, 12, 13, 14))
    last = other[None].contiguous(memory_format=torch.channels_last_3d)[0]
    assert not last.is_contiguous()
    assert whole(image, last) == whole(image, other)
