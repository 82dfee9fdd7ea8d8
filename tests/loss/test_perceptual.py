"""The perceptual term: case by case, slice by slice, and refused in one line."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import tiny_model
from vae3d.autoencoder.vae import CustomVAE
from vae3d.errors import ConfigError, UserError
from vae3d.features.distance import feature_distance, of_unit_length
from vae3d.features.opening import open_extractor
from vae3d.features.slices import drawn_slices, plane_size, planes
from vae3d.loss.config import LossConfig, PerceptualSpec
from vae3d.loss.objective import Objective
from vae3d.loss.perceptual import PerceptualLoss, build_perceptual
from vae3d.model.config import LevelSpec
from vae3d.model.gaussian import DiagonalGaussian
from vae3d.model.vae import VAEOutput

SEEDS = [11, 12, 13]


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Folders of random weights in 2D and in 3D."""
    torch.manual_seed(0)
    folder, folders = tmp_path_factory.mktemp("encoders"), {}
    for dims in (2, 3):
        levels = [LevelSpec(4), LevelSpec(6, stride=(2,))]
        CustomVAE(tiny_model(dims, levels=levels, zero_init=False)).save_pretrained(
            folder / f"{dims}d"
        )
        folders[dims] = folder / f"{dims}d"
    return folders


def perceptual(folder: Path, slices: float = 1.0) -> PerceptualLoss:
    return PerceptualLoss(open_extractor(str(folder)), slices)


def pair(*size: int, count: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(count, 1, *size, generator=generator) * 2 - 1
    noise = 0.2 * torch.randn(image.shape, generator=generator)
    return (image + noise).requires_grad_(), image


def test_slices_belong_to_the_seed_and_the_axis() -> None:
    seen = [drawn_slices(seed, 2, 20, 0.3).tolist() for seed in range(40)]
    assert all(len(s) == 6 and s == sorted({*s}) for s in seen)
    assert {number for numbers in seen for number in numbers} == {*range(20)}
    assert seen[3] == drawn_slices(3, 2, 20, 0.3).tolist()
    assert seen[3] != drawn_slices(3, 3, 20, 0.3).tolist()
    assert drawn_slices(0, 2, 5, 1.0).tolist() == [0, 1, 2, 3, 4]
    # 0.29 * 100 is a little less than 29, and a share of a thin volume is one slice.
    assert len(drawn_slices(0, 2, 100, 0.29)) == 29
    assert len(drawn_slices(0, 2, 3, 0.1)) == 1


@pytest.mark.parametrize("axis", [2, 3, 4])
def test_planes_are_slices(axis: int) -> None:
    volumes = torch.rand(2, 3, 4, 5, 6)
    chosen = [torch.tensor([0, 2]), torch.tensor([1, 3])]
    found = planes(volumes, axis, chosen)
    assert found.shape[2:] == plane_size((4, 5, 6), axis)
    expected = [volumes[0].select(axis - 1, 0), volumes[0].select(axis - 1, 2)]
    expected += [volumes[1].select(axis - 1, 1), volumes[1].select(axis - 1, 3)]
    assert torch.equal(found, torch.stack(expected))


def test_an_encoder_is_compared_level_by_level(encoders: dict[int, Path]) -> None:
    model = CustomVAE.from_pretrained(encoders[3])
    reconstruction, image = pair(8, 9, 7)
    expected = torch.zeros(3)
    found = []
    for volume in (reconstruction, image):
        x = model.encoder.stem(model.folded(volume))
        first = model.encoder.levels[0](x)
        found.append((first, model.encoder.levels[1](first)))
    for one, other in zip(*found, strict=True):
        square = (of_unit_length(one) - of_unit_length(other)).square()
        expected = expected + square.sum(1).mean((1, 2, 3))
    value = perceptual(encoders[3])(reconstruction, image, SEEDS)
    torch.testing.assert_close(value, expected, atol=1e-6, rtol=1e-5)
    assert value.min() > 1e-3


@pytest.mark.parametrize(
    "changes",
    [{}, {"patch": (2,), "folding": "haar"}, {"levels": [LevelSpec(4), LevelSpec(6, 0, (2,))]}],
    ids=["plain", "wavelets", "no blocks"],
)
def test_features_of_an_encoder_are_the_outputs_of_its_levels(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = CustomVAE(tiny_model(zero_init=False, dropout=0.5, **changes)).eval()
    model.save_pretrained(tmp_path / "weights")
    outputs: list[Tensor] = []
    for level in model.encoder.levels:
        level.register_forward_hook(lambda *parts: outputs.append(parts[-1]))
    image = pair(8, 9, 7)[1]
    model.encode(image)
    found = open_extractor(str(tmp_path / "weights"))(image)
    assert len(found) == len(outputs) == len(model.config.levels)
    for one, other in zip(found, outputs, strict=True):
        assert torch.equal(one, other)


def test_a_network_in_2d_sees_the_slices_of_three_planes(encoders: dict[int, Path]) -> None:
    term = perceptual(encoders[2])
    reconstruction, image = pair(5, 6, 7)
    expected = torch.zeros(3)
    for axis in (2, 3, 4):
        slices = zip(reconstruction.unbind(axis), image.unbind(axis), strict=True)
        values = [feature_distance(term.extractor, *both) for both in slices]
        expected = expected + torch.stack(values).mean(0)
    torch.testing.assert_close(term(reconstruction, image, SEEDS), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_each_case_is_on_its_own(dims: int, encoders: dict[int, Path]) -> None:
    term = perceptual(encoders[dims], 0.4)
    reconstruction, image = pair(8, 6, 7)
    together = term(reconstruction, image, SEEDS)
    alone = [
        term(reconstruction[[n]], image[[n]], [seed]) for n, seed in enumerate(SEEDS)
    ]  # fmt: skip
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-6, rtol=1e-5)
    if dims == 2:
        assert not torch.equal(together, term(reconstruction, image, [1, 2, 3]))


@pytest.mark.parametrize("dims", [2, 3])
def test_padding_counts_nowhere(dims: int, encoders: dict[int, Path]) -> None:
    config = LossConfig(
        terms={}, kl_weight=0, perceptual=PerceptualSpec(str(encoders[dims]), 2.0, 0.5)
    )
    objective = Objective(config, (2, 2, 2), build_perceptual(config))
    assert objective.perceptual is not None
    reconstruction, image = pair(8, 8, 8)
    posterior = DiagonalGaussian(torch.zeros(3, 2, 4, 4, 4), torch.zeros(3, 2, 4, 4, 4))
    output = VAEOutput(reconstruction, posterior, posterior.mean)
    inside = [(8, 8, 8), (5, 8, 8), (3, 4, 7)]
    terms = objective(output, image, inside, 0, SEEDS)
    terms.total.sum().backward()
    gradient = reconstruction.grad
    assert gradient is not None
    assert (gradient[1, :, 5:] == 0).all()
    assert (gradient[2, :, :, 4:] == 0).all()
    assert gradient.abs().sum() > 0
    cut = [volume[2:, :, :3, :4, :7] for volume in (reconstruction, image)]
    expected = objective.perceptual(*cut, SEEDS[2:])
    torch.testing.assert_close(terms.by_name["perceptual"][2:], expected)
    torch.testing.assert_close(terms.total, 2 * terms.by_name["perceptual"])
    assert config.columns == ["loss", "perceptual", "kl", "kl_weight"]


def test_the_gradient_is_that_of_differences(encoders: dict[int, Path]) -> None:
    term = perceptual(encoders[3])
    term.extractor.double()
    reconstruction, image = (volume.double().detach() for volume in pair(4, 4, 5, count=1))
    assert torch.autograd.gradcheck(
        lambda x: term(x, image, [0]), reconstruction.requires_grad_(), eps=1e-6, atol=1e-5
    )


def test_what_is_frozen_stays(encoders: dict[int, Path]) -> None:
    term = perceptual(encoders[2])
    before = {name: value.clone() for name, value in term.extractor.state_dict().items()}
    reconstruction, image = pair(6, 6, 6)
    term.extractor.train()
    term(reconstruction, image, SEEDS).sum().backward()
    assert not any(module.training for module in term.extractor.modules())
    assert all(p.grad is None and not p.requires_grad for p in term.extractor.parameters())
    after = term.extractor.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_what_is_too_small_is_left_out(encoders: dict[int, Path]) -> None:
    term = perceptual(encoders[2])
    term.extractor.input = replace(term.extractor.input, least=6)
    reconstruction, image = pair(3, 8, 7)
    # Only the planes of 8 x 7 voxels are large enough.
    slices = zip(reconstruction.unbind(2), image.unbind(2), strict=True)
    values = [feature_distance(term.extractor, *both) for both in slices]
    torch.testing.assert_close(
        term(reconstruction, image, SEEDS), torch.stack(values).mean(0), atol=1e-6, rtol=1e-5
    )
    assert torch.equal(term(*pair(3, 4, 5), SEEDS), torch.zeros(3))
    term.check(3, 1, (3, 8, 7))
    with pytest.raises(ConfigError, match=r"takes images of 6 x 6 voxels or more; patching.size"):
        term.check(3, 1, (5, 5, 9))
    with pytest.raises(ConfigError, match="takes volumes, these data are 2D"):
        perceptual(encoders[3]).check(2, 1, None)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"slices": 0.5}, "loss.perceptual.slices has an effect only with loss.perceptual.features="),
    ({"layers": ["relu1"]}, "loss.perceptual.layers has an effect only with"),
    ({"features": "x", "slices": 0.0}, r"loss.perceptual.slices must be in \(0, 1\]"),
    ({"features": "x", "weight": -1.0}, "loss.perceptual.weight must be at least 0"),
    ({"features": "x", "range": [1, 0]}, "loss.perceptual.range must be .low, high."),
]


@pytest.mark.parametrize(("values", "said"), REFUSED, ids=lambda value: str(value)[:24])
def test_wrong_settings(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        PerceptualSpec(**values).check_given()
    with pytest.raises(ConfigError, match=said):
        build_perceptual(LossConfig(perceptual=PerceptualSpec(**values)))


def test_wrong_features(encoders: dict[int, Path], tmp_path: Path) -> None:
    def built(**values: Any) -> None:
        build_perceptual(LossConfig(perceptual=PerceptualSpec(**values)))

    with pytest.raises(UserError, match=r"loss.perceptual.features=.*no such folder"):
        built(features=str(tmp_path / "none"))
    with pytest.raises(UserError, match="takes images as they are; drop range"):
        built(features=str(encoders[2]), range=[0, 1])
    with pytest.raises(UserError, match="has no layer 'level9'; choose from level1, level2"):
        built(features=str(encoders[2]), layers=["level9"])
    loss = LossConfig()
    assert build_perceptual(loss) is None
    loss.typed = frozenset({"perceptual.weight"})
    with pytest.raises(ConfigError, match="weight has an effect only with"):
        build_perceptual(loss)
