"""Finite scalar quantization: the paper's formulas, every level, and the same codes in slabs."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.conftest import tiny_model
from tests.laws.test_streaming import an_image, network
from tests.trainer.test_trainer import build
from vae3d.autoencoder.fingerprints import Fingerprints
from vae3d.autoencoder.vae import CustomVAE
from vae3d.errors import ConfigError
from vae3d.exchange.programs import write_graphs
from vae3d.exchange.to_monai import why_not_monai
from vae3d.loss.config import LossConfig
from vae3d.model.config import VAEConfig
from vae3d.model.quantizer import ScalarQuantizer
from vae3d.streaming.volume import encoded

LEVELS = [(8, 5, 5, 5), (2, 3, 4, 7), (2,), (3, 256)]


def by_the_paper(z: np.ndarray, levels: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Bounded and quantized values (..., d), as appendix A.1 computes them."""
    numbers = np.array(levels)
    half_l = (numbers - 1) * (1 - 1e-3) / 2
    offset = np.where(numbers % 2 == 1, 0.0, 0.5)
    bounded = np.tanh(z + np.tan(offset / half_l)) * half_l - offset
    return bounded, np.round(bounded) / (numbers // 2)


def parameters(levels: tuple[int, ...], spread: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return spread * torch.randn(3, len(levels), 4, 5, 6, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("levels", LEVELS, ids=str)
def test_it_is_that_of_the_paper(levels: tuple[int, ...]) -> None:
    quantizer, z = ScalarQuantizer(levels), parameters(levels)
    bounded, quantized = by_the_paper(z.movedim(1, -1).numpy(), levels)
    ours = quantizer.bounded(z).movedim(1, -1).numpy()
    np.testing.assert_allclose(ours, bounded, atol=1e-12)
    np.testing.assert_array_equal(quantizer.quantized(z).movedim(1, -1).numpy(), quantized)


@pytest.mark.parametrize("levels", range(2, 18))
def test_every_level_is_reached_and_no_other(levels: int) -> None:
    z = torch.linspace(-20, 20, 20001, dtype=torch.float64)[None, None]
    quantizer = ScalarQuantizer((levels,))
    indices = quantizer.indices(quantizer.quantized(z))
    assert indices.unique().tolist() == [*range(levels)]
    assert (indices.diff() >= 0).all()


@pytest.mark.parametrize("levels", LEVELS, ids=str)
def test_indices_are_the_codebook(levels: tuple[int, ...]) -> None:
    quantizer = ScalarQuantizer(levels)
    indices = torch.arange(quantizer.size)[None]
    latents = quantizer.latents(indices)
    assert torch.equal(quantizer.indices(latents), indices)
    quantized = quantizer.quantized(parameters(levels).float())
    assert torch.equal(quantizer.latents(quantizer.indices(quantized)), quantized)
    # The first channel counts fastest, as in the paper's code.
    places = itertools.islice(itertools.product(*(range(n) for n in levels[::-1])), quantizer.size)
    expected = [[(n - m // 2) / (m // 2) for n, m in zip(place[::-1], levels, strict=True)]
                for place in places]  # fmt: skip
    torch.testing.assert_close(latents[0].T, torch.tensor(expected))
    assert quantizer.bits == pytest.approx(float(np.log2(len(expected))))
    for wrong in (-1, quantizer.size):
        with pytest.raises(ValueError, match="indices must be in"):
            quantizer.latents(torch.tensor([[wrong]]))


def test_gradients_pass_the_rounding() -> None:
    quantizer = ScalarQuantizer((8, 5))
    z = parameters((8, 5)).requires_grad_()
    weight = torch.randn_like(z)
    (straight,) = torch.autograd.grad((quantizer.quantized(z) * weight).sum(), z)
    half = torch.tensor([4.0, 2.0]).view(1, 2, 1, 1, 1)
    (expected,) = torch.autograd.grad((quantizer.bounded(z) / half * weight).sum(), z)
    torch.testing.assert_close(straight, expected)
    with torch.no_grad():
        assert torch.equal(quantizer.quantized(z), quantizer.quantized(z.requires_grad_()))


def fsq(**changes: object) -> VAEConfig:
    return tiny_model(variance="fsq", fsq_levels=(8, 5, 5, 5), **changes)


def test_a_posterior_has_no_variance() -> None:
    model = network(fsq())
    image = torch.rand(2, 1, 9, 8, 7) * 2 - 1
    output = model(image, torch.Generator().manual_seed(0))
    assert torch.equal(output.latent, output.posterior.mode())
    assert torch.equal(output.posterior.std, torch.zeros_like(output.latent))
    assert torch.equal(output.posterior.kl(), torch.zeros_like(output.latent))
    assert model.latent_bits((9, 8, 7)) == pytest.approx(np.log2(1000) * 5 * 4 * 4)
    assert model.encoder.head.weight.shape[0] == 4, "one number for each channel"


@pytest.mark.parametrize("planes", [2, 5])
def test_slabs_have_the_same_codes(planes: int) -> None:
    """Before rounding within 1e-5; codes equal but within that of a boundary between levels."""
    model = network(fsq(norm="layer"))
    image, quantizer = an_image(model, (23, 9, 10)), model.quantizer
    assert quantizer is not None
    with torch.no_grad():
        whole = quantizer.bounded(model.encoder(model.folded(image)))
        slabs = torch.cat([*encoded(model, image, planes)], dim=2)
        streamed = quantizer.bounded(slabs)
    torch.testing.assert_close(streamed, whole, atol=1e-5, rtol=0)
    near = (whole - whole.floor() - 0.5).abs() < 1e-5
    assert ((streamed.round() == whole.round()) | near).all()
    assert near.float().mean() < 0.01


def test_weights_come_back_and_decoders_do_not_know_it(tmp_path: Path) -> None:
    model = network(fsq())
    model.save_pretrained(tmp_path / "weights")
    again = CustomVAE.from_pretrained(tmp_path / "weights")
    image = an_image(model, (8, 8, 8))
    assert again.config.codes == (8, 5, 5, 5)
    with torch.no_grad():
        assert torch.equal(again(image).reconstruction, model(image).reconstruction)
    fixed = Fingerprints.of(tiny_model(variance="fixed"), model.state_dict())
    own = Fingerprints.of(model.config, model.state_dict())
    assert own.decoder == fixed.decoder
    assert own.encoder != fixed.encoder


@pytest.mark.extras
@pytest.mark.parametrize("to", ["torch", "onnx"])
def test_its_graphs_agree(to: str, tmp_path: Path) -> None:
    if to == "onnx":
        pytest.importorskip("onnxruntime")
    assert max(write_graphs(network(fsq(patch=(2,))), to, tmp_path).values()) < 1e-4


def test_monai_has_no_such_latent() -> None:
    assert [r for r in why_not_monai(fsq()) if r.startswith("model.variance=fsq: ")]


def test_impossible_codebooks_are_named() -> None:
    for message, changes in (
        ("fsq_levels needs 1 or 4 numbers", {"fsq_levels": (8, 8), "variance": "fsq"}),
        ("fsq_levels must be in .* for each channel", {"fsq_levels": (1,)}),
        (r"a codebook of at most 2\^62 entries", {"variance": "fsq", "latent_channels": 22}),
        (r"a codebook of at most 2\^62 entries", {"variance": "fsq", "latent_channels": 65}),
    ):
        with pytest.raises(ConfigError, match=message):
            VAEConfig(**changes)  # type: ignore[arg-type]
    assert VAEConfig(latent_channels=22).codes == ()


def test_it_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.trainer.test_trainer.tiny_model", fsq)
    trainer = build(tmp_path, steps=40, val_every=None, lr=1e-2, loss=LossConfig())
    trainer.fit()
    values = trainer.logger.column("l1")  # type: ignore[attr-defined]
    assert np.mean(values[-5:]) < 0.7 * np.mean(values[:3])
    assert not any(trainer.logger.column("kl"))  # type: ignore[attr-defined]
