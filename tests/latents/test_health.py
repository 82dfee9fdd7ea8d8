"""`LatentHealth` must equal numpy's statistics of all latents, in any order and grouping."""

import json
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from vae3d.latents.codebook import CodebookUsage
from vae3d.latents.health import LatentHealth
from vae3d.model.gaussian import DiagonalGaussian, without_variance
from vae3d.model.quantizer import ScalarQuantizer


def posteriors(count: int, spatial_dims: int = 3, channels: int = 3) -> list[DiagonalGaussian]:
    """Return cases of many sizes, with channels of many scales and offsets."""
    generator = torch.Generator().manual_seed(count)
    scale = torch.tensor([0.05, 1.0, 20.0])[:channels]
    shift = torch.tensor([-7.0, 0.3, 40.0])[:channels]
    cases = []
    for number in range(count):
        size = (
            1 + number % 2,
            channels,
            *[2 + (number + axis) % 4 for axis in range(spatial_dims)],
        )
        wide = (-1, *[1] * spatial_dims)
        mean = torch.randn(size, generator=generator, dtype=torch.float64)
        logvar = torch.randn(size, generator=generator, dtype=torch.float64) - 2
        cases.append(DiagonalGaussian(mean * scale.view(wide) + shift.view(wide), logvar))
    return cases


def health(cases: list[DiagonalGaussian]) -> LatentHealth:
    whole = LatentHealth()
    for case in cases:
        whole.add(case)
    return whole


def flat(cases: list[DiagonalGaussian]) -> tuple[np.ndarray, np.ndarray]:
    """Return means and variances of all latent voxels, (N, C)."""

    def rows(values: torch.Tensor) -> torch.Tensor:
        return values.movedim(1, -1).flatten(0, -2)

    mean = torch.cat([rows(case.mean) for case in cases]).numpy()
    variance = torch.cat([rows(case.logvar.exp()) for case in cases]).numpy()
    return mean, variance


def numbers(summary: dict[str, Any]) -> list[float]:
    """Return all numbers of a summary in one list."""
    channels = [value for channel in summary["channels"] for value in channel.values()]
    rest = [summary[key] for key in ("scaling_factor", "shift_factor", "elements")]
    return [*channels, *rest, *summary["latents_mean"], *summary["latents_std"]]


def constant(mean: float, logvar: float, **options: Any) -> DiagonalGaussian:
    size = (1, 1, 2, 2, 2)
    return DiagonalGaussian(torch.full(size, mean, **options), torch.full(size, logvar, **options))


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_statistics_equal_those_of_all_latents_together(spatial_dims: int) -> None:
    cases = posteriors(9, spatial_dims)
    summary = health(cases).summary()
    mean, variance = flat(cases)
    total = mean.var(axis=0) + variance.mean(axis=0)
    overall = math.sqrt(mean.var() + variance.mean())
    assert summary["elements"] == len(mean)
    for c, channel in enumerate(summary["channels"]):
        assert channel["mean"] == pytest.approx(mean[:, c].mean(), rel=1e-12)
        assert channel["std"] == pytest.approx(math.sqrt(total[c]), rel=1e-12)
        assert channel["noise_share"] == pytest.approx(variance[:, c].mean() / total[c], rel=1e-12)
    assert summary["latents_mean"] == [channel["mean"] for channel in summary["channels"]]
    assert summary["latents_std"] == [channel["std"] for channel in summary["channels"]]
    assert summary["shift_factor"] == pytest.approx(mean.mean(), rel=1e-12)
    assert summary["scaling_factor"] == pytest.approx(1 / overall, rel=1e-12)


def test_the_order_and_the_grouping_of_cases_do_not_matter() -> None:
    cases = posteriors(12)
    expected = numbers(health(cases).summary())
    for ranks in (2, 3, 5, 20):
        parts = [health(cases[rank::ranks]) for rank in range(ranks)]
        sent = [pickle.loads(pickle.dumps(part)) for part in parts]
        for order in (sent, sent[::-1], sent[1:] + sent[:1]):
            merged = numbers(LatentHealth.merged(order).summary())
            np.testing.assert_allclose(merged, expected, rtol=1e-12, atol=0)
    left, right = health(cases[:5]), health(cases[5:])
    left.merge(right)
    np.testing.assert_allclose(numbers(left.summary()), expected, rtol=1e-12, atol=0)


def test_a_batch_is_its_cases_and_a_case_is_its_pieces() -> None:
    (case,) = posteriors(1)
    tiled = DiagonalGaussian(case.mean.repeat(4, 1, 1, 1, 1), case.logvar.repeat(4, 1, 1, 1, 1))
    voxels = [
        DiagonalGaussian(case.mean[:, :, [d]], case.logvar[:, :, [d]])
        for d in range(case.mean.shape[2])
    ]
    expected = numbers(health([case] * 4).summary())
    np.testing.assert_allclose(numbers(health([tiled]).summary()), expected, rtol=1e-12)
    np.testing.assert_allclose(numbers(health(voxels * 4).summary()), expected, rtol=1e-12)


def test_merging_leaves_the_parts_as_they_were() -> None:
    parts = [health(posteriors(2)), health(posteriors(3))]
    before = [part.summary() for part in parts]
    once = LatentHealth.merged(parts).summary()
    assert LatentHealth.merged(parts).summary() == once
    assert [part.summary() for part in parts] == before


def test_mean_and_std_are_those_of_samples() -> None:
    """Against drawn samples, which check the law of total variance."""
    generator = torch.Generator().manual_seed(3)
    case = DiagonalGaussian(torch.randn(1, 2, 300, 300, generator=generator) * 0.7 + 2,
                            torch.full((1, 2, 300, 300), math.log(0.5)))  # fmt: skip
    samples = case.sample(generator)
    channel = health([case]).summary()["channels"][1]
    assert channel["mean"] == pytest.approx(samples[:, 1].mean().item(), abs=0.01)
    assert channel["std"] == pytest.approx(samples[:, 1].std().item(), rel=0.01)
    assert channel["std"] > 1.3 * case.mean[:, 1].std().item()


def test_normalised_latents_have_mean_0_and_std_1() -> None:
    """diffusers: (z - shift_factor) * scaling_factor, or (z - latents_mean) / latents_std."""
    cases = posteriors(7)
    summary = health(cases).summary()
    mean, variance = flat(cases)
    scale, shift = summary["scaling_factor"], summary["shift_factor"]
    assert ((mean - shift) * scale).mean() == pytest.approx(0, abs=1e-12)
    assert ((mean - shift) * scale).var() + (variance * scale**2).mean() == pytest.approx(1)
    centre, std = np.array(summary["latents_mean"]), np.array(summary["latents_std"])
    normal, noise = (mean - centre) / std, variance / std**2
    np.testing.assert_allclose(normal.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(normal.var(axis=0) + noise.mean(axis=0), 1, rtol=1e-12)


def test_kl_is_that_of_torch_distributions() -> None:
    cases = posteriors(5)
    mean, variance = (torch.from_numpy(values) for values in flat(cases))
    expected = kl_divergence(Normal(mean, variance.sqrt()), Normal(0.0, 1.0)).mean(dim=0)
    kls = [channel["kl"] for channel in health(cases).summary()["channels"]]
    np.testing.assert_allclose(kls, expected.numpy(), rtol=1e-12)


@pytest.mark.parametrize(("deviation", "active"), [(1.01, True), (0.99, False)])
def test_a_channel_is_active_above_the_variance_of_its_means(
    deviation: float, active: bool
) -> None:
    """Above 0.01. An offset or noise does not make a channel active: its means must vary."""
    half = deviation * 0.1
    summary = health([constant(9 + half, 2.0), constant(9 - half, 2.0)]).summary()
    assert summary["channels"][0]["active"] is active
    assert summary["active_channels"] == int(active)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("logvar", [-30.0, 0.0, 20.0])
def test_a_collapsed_channel_has_finite_statistics(dtype: torch.dtype, logvar: float) -> None:
    summary = health([constant(0.0, logvar, dtype=dtype)] * 3).summary()
    json.dumps(summary, allow_nan=False)
    assert None not in numbers(summary)
    assert summary["channels"][0]["noise_share"] == 1
    assert summary["channels"][0]["std"] == pytest.approx(math.exp(logvar / 2), rel=1e-9)
    assert summary["active_channels"] == 0


@pytest.mark.parametrize("size", [(1, 2, 1, 1), (1, 2, 1, 1, 1)])
def test_without_any_variance_nothing_is_divided_by_it(size: tuple[int, ...]) -> None:
    """A single element whose variance exp(logvar) underflows to 0."""
    single = DiagonalGaussian(torch.full(size, 3.0), torch.full(size, -1e4))
    summary = health([single]).summary()
    json.dumps(summary, allow_nan=False)
    assert [channel["noise_share"] for channel in summary["channels"]] == [0, 0]
    assert summary["latents_std"] == [0, 0]
    assert (summary["shift_factor"], summary["scaling_factor"]) == (3, 1)
    assert summary["elements"] == 1


def test_no_cases_and_values_that_are_not_finite_are_json_too() -> None:
    nothing = LatentHealth.merged([LatentHealth(), LatentHealth()]).summary()
    assert nothing == {
        "channels": [], "active_channels": 0, "elements": 0, "scaling_factor": 1.0,
        "shift_factor": 0.0, "latents_mean": [], "latents_std": [],
    }  # fmt: skip
    for broken in (constant(math.nan, 0.0), constant(math.inf, 0.0), constant(0.0, 1e4)):
        summary = health([constant(0.0, 0.0), broken, broken]).summary()
        json.dumps(summary, allow_nan=False)
        assert summary["latents_std"] == [None]
        assert summary["scaling_factor"] is None
        assert summary["channels"][0]["active"] in (True, False)


def test_what_was_added_in_inference_mode_can_be_merged_outside() -> None:
    with torch.inference_mode():
        first = health(posteriors(3))
    first.merge(health(posteriors(2)))
    assert first.elements == health(posteriors(3)).elements + health(posteriors(2)).elements


def quantized(count: int, levels: tuple[int, ...]) -> list[DiagonalGaussian]:
    generator = torch.Generator().manual_seed(count)
    spread = torch.randn(count, len(levels), 3, 4, 5, generator=generator)
    return [without_variance(z[None]) for z in ScalarQuantizer(levels).quantized(spread)]


def test_the_use_of_a_codebook_is_counted() -> None:
    levels, cases = (8, 5, 3), quantized(9, (8, 5, 3))
    parts = []
    for number in range(0, 9, 2):
        part = LatentHealth.of_levels(levels)
        for posterior in cases[number : number + 2]:
            part.add(posterior)
        parts.append(part)
    summary = LatentHealth.merged(parts).summary()
    found = summary["codebook"]
    # Entry by entry, as tuples of the values of the channels.
    rows = torch.cat([p.mean.movedim(1, -1).flatten(0, -2) for p in cases]).tolist()
    counts = np.unique(np.array(rows), axis=0, return_counts=True)[1]
    shares = counts / counts.sum()
    assert found["size"] == 120
    assert found["used"] == len(counts)
    assert found["bits"] == pytest.approx(-(shares * np.log2(shares)).sum())
    assert found["perplexity"] == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    columns = zip(*rows, strict=True)
    assert found["levels_used"] == [len({*column}) for column in columns]
    assert [channel["kl"] for channel in summary["channels"]] == [None] * 3
    assert [channel["noise_share"] for channel in summary["channels"]] == [0.0] * 3
    assert json.loads(json.dumps(summary)) == summary
    assert LatentHealth.merged(pickle.loads(pickle.dumps(parts))).summary() == summary
    assert "codebook" not in health(posteriors(3)).summary()


def test_one_entry_takes_no_bits() -> None:
    usage = CodebookUsage((3, 3))
    usage.add(torch.zeros(2, 2, 4))
    assert usage.summary() == {
        "size": 9, "used": 1, "perplexity": 1.0, "bits": 0.0, "levels": [3, 3],
        "levels_used": [1, 1],
    }  # fmt: skip
