"""Probes of latents: decodings of the expected latents, for any case, reproducible by seed."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.conftest import rounding, tiny_model
from vae3d.autoencoder.vae import CustomVAE
from vae3d.inference.config import InferenceConfig
from vae3d.inference.runner import ModelRunner, build_runner
from vae3d.latents.health import LatentHealth
from vae3d.pictures.figures import BACKGROUND
from vae3d.pictures.probes import (
    LATENTS,
    SAMPLES,
    SHARES,
    STRENGTHS,
    VOXELS,
    Probe,
    centre,
    decode_probes,
    draw,
    probes,
)
from vae3d.runtime.precision import Precision
from vae3d.values.intensity import IntensityRange

CPU = torch.device("cpu")

RANGE = IntensityRange(-1000.0, 1000.0, "HU")
NAMES = ["noise", "interpolation", "samples", "equivariance"]


def reconstructor(spatial_dims: int, precision: str = "fp32", **changes: Any) -> ModelRunner:
    torch.manual_seed(spatial_dims)
    model = CustomVAE(tiny_model(spatial_dims, **changes)).eval()
    chosen = Precision(precision, torch.device("cpu"))
    return build_runner(InferenceConfig(), "full", model, CPU, chosen)


def case(*size: int) -> Tensor:
    return torch.rand(1, *size, generator=torch.Generator().manual_seed(sum(size))) * 2 - 1


def health(model: CustomVAE, *images: Tensor) -> dict[str, Any]:
    whole = LatentHealth()
    for image in images:
        whole.add(model.encode(image[None]))
    return whole.summary()


def decode_all(
    maker: ModelRunner, first: Tensor, second: Tensor | None = None, seed: int = 0
) -> list[Probe]:
    images = [first] if second is None else [first, second]
    return decode_probes(maker, first, second, health(maker.model, *images), seed)


def latents_of(maker: ModelRunner, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The latents that will be decoded, in their order."""
    decoded: list[Tensor] = []
    decode = maker.model.decode

    def recorded(latent: Tensor, *others: Any) -> Tensor:
        decoded.append(latent.clone())
        return decode(latent, *others)

    monkeypatch.setattr(maker.model, "decode", recorded)
    return decoded


@torch.no_grad()
def mode_decoded(model: CustomVAE, image: Tensor) -> np.ndarray:
    return model.decode(model.encode(image[None]).mode())[0, 0].clamp(-1, 1).numpy()


def assert_same(shown: np.ndarray, expected: np.ndarray, model: CustomVAE) -> None:
    """The runner lays its tensors out for speed, which reorders sums."""
    within = rounding(model)
    np.testing.assert_allclose(shown, expected, rtol=within, atol=within)


@pytest.mark.parametrize("sizes", [[(12, 10, 8), (8, 14, 12)], [(20, 14), (16, 18)]], ids=str)
def test_ends_are_the_decodings_of_the_modes(sizes: list[tuple[int, ...]]) -> None:
    first, second = (case(*size) for size in sizes)
    maker = reconstructor(len(sizes[0]))
    noise, interpolation, _, _ = decode_all(maker, first, second)
    assert_same(noise.steps[0][1], mode_decoded(maker.model, first), maker.model)
    common = [min(a, b) // 2 for a, b in zip(*sizes, strict=True)]
    for image, (_, shown) in zip(
        (first, second), interpolation.steps[:: len(SHARES) - 1], strict=True
    ):
        with torch.no_grad():
            latent = centre(maker.model.encode(image[None]).mode(), common)
            expected = maker.model.decode(latent)[0, 0].clamp(-1, 1)
        assert_same(shown, expected.numpy(), maker.model)


def test_the_middle_of_a_large_case_is_shown() -> None:
    for maker, image in (
        (reconstructor(3), case(9, 57, 60)),
        (reconstructor(2), case(150, 131)),
    ):
        dims = maker.model.spatial_dims
        side = 2 * LATENTS[dims]
        noise, *_ = decode_all(maker, image)
        cut = image
        for axis, length in enumerate(image.shape[1:], start=1):
            kept = min(side, length // 2 * 2)
            cut = cut.narrow(axis, (length - kept) // 2, kept)
        assert_same(noise.steps[0][1], mode_decoded(maker.model, cut), maker.model)
        assert max(noise.steps[0][1].shape) == side


def test_a_coarse_model_decodes_no_more_voxels() -> None:
    maker = reconstructor(2, patch=(16,))
    noise, *_ = decode_all(maker, case(700, 40))
    assert noise.steps[0][1].shape == (VOXELS[2], 32)


def test_every_strength_scales_the_same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    maker, image = reconstructor(3), case(16, 16, 16)
    statistics = health(maker.model, image)
    decoded = latents_of(maker, monkeypatch)
    decode_probes(maker, image, None, statistics, 0)
    start, *noisy = decoded[: len(STRENGTHS)]
    std = torch.tensor(statistics["latents_std"]).view(1, -1, 1, 1, 1)
    draws = [(z - start) / (s * std) for z, s in zip(noisy, STRENGTHS[1:], strict=True)]
    for drawn in draws:
        torch.testing.assert_close(drawn, draws[0], atol=1e-5, rtol=0)
        assert drawn.std().item() == pytest.approx(1, abs=0.05)


def test_samples_are_of_the_fitted_gaussian(monkeypatch: pytest.MonkeyPatch) -> None:
    maker, image = reconstructor(2), case(128, 128)
    channels = maker.model.config.latent_channels
    statistics = health(maker.model, image)
    statistics["latents_mean"] = [3.0 * c for c in range(channels)]
    statistics["latents_std"] = [0.5 + c for c in range(channels)]
    decoded = latents_of(maker, monkeypatch)
    decode_probes(maker, image, None, statistics, 0)
    samples = torch.cat(decoded[len(STRENGTHS) : len(STRENGTHS) + SAMPLES])
    assert len(samples) == SAMPLES
    assert len({sample.sum().item() for sample in samples}) == SAMPLES
    for c in range(channels):
        deviation = statistics["latents_std"][c]
        assert samples[:, c].std().item() == pytest.approx(deviation, rel=0.03)
        error = 5 * deviation / math.sqrt(samples[:, c].numel())
        assert samples[:, c].mean().item() == pytest.approx(
            statistics["latents_mean"][c], abs=error
        )


def test_steps_between_are_blends(monkeypatch: pytest.MonkeyPatch) -> None:
    maker = reconstructor(2)
    decoded = latents_of(maker, monkeypatch)
    decode_all(maker, case(12, 12), case(10, 16))
    blends = decoded[len(STRENGTHS) : len(STRENGTHS) + len(SHARES)]
    for t, blend in zip(SHARES, blends, strict=True):
        torch.testing.assert_close(blend, torch.lerp(blends[0], blends[-1], t))


@pytest.mark.parametrize("size", [(12, 8), (8, 12, 12), (1, 12, 8)], ids=str)
def test_changed_latents_are_compared_with_the_changed_scan(size: tuple[int, ...]) -> None:
    maker, image = reconstructor(len(size)), case(*size)
    *_, probe = decode_all(maker, image)
    assert [label.split(":")[0] for label, _ in probe.steps] == [
        "as it is",
        "half",
        "flipped",
        "turned",
    ]
    model, (same, _, flipped, turned) = maker.model, probe.steps
    expected = mode_decoded(model, image)[tuple(slice(n) for n in size)]
    assert_same(same[1], expected, model)
    error = float(np.square(expected - image[0].numpy()).mean())
    assert float(same[0].split()[-2]) == pytest.approx(10 * math.log10(4 / error), abs=0.1)
    with torch.no_grad():
        latent = model.encode(image[None]).mode()
        for (label, shown), changed, target in (
            (flipped, latent.flip(-1), image.flip(-1)),
            (turned, latent.rot90(1, (-2, -1)), image.rot90(1, (-2, -1))),
        ):
            decoded = model.decode(changed, tuple(target.shape[1:]))[0].clamp(-1, 1)
            assert_same(shown, decoded[0].numpy(), model)
            error = float((decoded - target).square().mean())
            assert float(label.split()[-2]) == pytest.approx(10 * math.log10(4 / error), abs=0.1)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_pictures_depend_on_the_seed_only(spatial_dims: int) -> None:
    maker = reconstructor(spatial_dims)
    size = (9, 13, 11)[-spatial_dims:]
    first, second = case(*size), case(*size[::-1])
    statistics, spacing = health(maker.model, first, second), (3.0, 1.0, 1.0)[-spatial_dims:]

    def pictures(seed: int) -> dict[str, np.ndarray]:
        torch.manual_seed(seed + 17)
        return dict(probes(maker, first, second, statistics, RANGE, spacing, seed))

    once, again, other = pictures(0), pictures(0), pictures(1)
    assert [*once] == NAMES
    for name, picture in once.items():
        assert picture.dtype == np.uint8
        assert picture.shape[2:] == (3,)
        np.testing.assert_array_equal(picture, again[name])
        same = np.array_equal(picture, other[name])
        assert same == (name in ("interpolation", "equivariance"))


@pytest.mark.parametrize(
    "size", [(1, 1, 1), (1, 33, 7), (5, 3, 1), (1, 1), (1, 19), (31, 5)], ids=str
)
def test_odd_and_thin_cases_have_pictures(size: tuple[int, ...]) -> None:
    maker = reconstructor(len(size))
    second = case(*[n + 3 for n in size])
    statistics = health(maker.model, case(*size), second)
    spacing = (4.0, 0.7, 0.7)[-len(size) :]
    assert len(probes(maker, case(*size), second, statistics, RANGE, spacing, 0)) == len(NAMES)


def test_one_case_has_no_interpolation() -> None:
    assert [probe.name for probe in decode_all(reconstructor(2), case(8, 8))] == [
        "noise",
        "samples",
        "equivariance",
    ]


def test_changes_that_no_image_has_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for networks of video, whose first voxel along the time is a single frame."""

    def of_video(size: Sequence[int]) -> tuple[int, ...]:
        return (*(-(-n // 4) for n in size[:-1]), (size[-1] - 2) // 4 + 2)

    maker = reconstructor(2)
    assert [name for name, _ in decode_all(maker, case(16, 16))[-1].steps]
    monkeypatch.setattr(maker.model, "latent_size", of_video)
    assert [probe.name for probe in decode_all(maker, case(16, 16))] == ["noise", "samples"]


def test_without_statistics_there_are_no_probes() -> None:
    maker, image = reconstructor(2), case(8, 8)
    assert decode_probes(maker, image, None, LatentHealth().summary(), 0) == []
    broken = health(maker.model, image * math.nan)
    assert decode_probes(maker, image, None, broken, 0) == []


@pytest.mark.parametrize("training", [True, False])
def test_the_model_and_the_global_generator_stay_as_they_were(training: bool) -> None:
    maker, image = reconstructor(2, dropout=0.5), case(8, 8)
    statistics = health(maker.model, image)
    maker.model.train(training)
    state = torch.get_rng_state()
    first, second = (decode_probes(maker, image, None, statistics, 0) for _ in range(2))
    assert maker.model.training is training
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(first[0].steps[0][1], second[0].steps[0][1])


def test_bfloat16_shows_much_the_same() -> None:
    exact, half = (decode_all(reconstructor(2, name), case(16, 16)) for name in ("fp32", "bf16"))
    for a, b in zip(exact, half, strict=True):
        for (_, x), (_, y) in zip(a.steps, b.steps, strict=True):
            assert y.dtype == np.float32
            assert 0 < np.abs(x - y).mean() < 0.05


def test_no_caption_is_cut_or_runs_over_the_page() -> None:
    maker = reconstructor(3)
    for probe in decode_all(maker, case(8, 8, 8), case(8, 8, 8)):
        page = draw(probe, RANGE, (1, 1, 1))
        assert (page[:, -8:] == BACKGROUND).all()
        assert (page[:8] == BACKGROUND).all()
        longer = Probe(probe.name, probe.title + "!", probe.advice + "!", probe.steps)
        changed = (draw(longer, RANGE, (1, 1, 1)) != page).any(axis=(1, 2))
        assert changed[:30].any(), "the title's end is drawn"
        assert changed[30:60].any(), "and the advice's"
