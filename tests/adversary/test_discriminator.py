"""The discriminator: what it sees, which sizes it takes, and its spectral norm."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import rounding
from vae3d.adversary.config import NORMS, AdversarySpec
from vae3d.adversary.discriminator import Discriminator, SpectralNorm, build_discriminator
from vae3d.model.config import NORMS as ALL_NORMS


def built(spatial_dims: int = 3, in_channels: int = 1, **changes: object) -> Discriminator:
    """A small discriminator of one level."""
    values = {"levels": 1, "channels": 4, **changes}
    return build_discriminator(AdversarySpec(**values), spatial_dims, in_channels, seed=0)  # type: ignore[arg-type]


def images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize(("levels", "sees"), [(1, 16), (2, 34), (3, 70)])
def test_the_receptive_field_is_that_of_its_kernels(levels: int, sees: int) -> None:
    network = built(2, levels=levels, channels=2, norm="none")
    side = sees + 2 * 2 ** (levels + 1)
    image = images(1, 1, side, side).requires_grad_()
    output = network(image)[-1]
    output[0, 0, output.shape[2] // 2, output.shape[3] // 2].backward()  # type: ignore[no-untyped-call]
    assert image.grad is not None
    for axis in (0, 1):
        touched = image.grad[0, 0].abs().amax(dim=axis).nonzero()
        assert touched.max() - touched.min() + 1 == sees


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("norm", NORMS)
def test_a_case_is_judged_alone(spatial_dims: int, norm: str) -> None:
    network = built(spatial_dims, in_channels=2, norm=norm)
    batch = images(3, 2, *(9, 12, 7)[:spatial_dims])
    together = network(batch)
    for number in range(3):
        alone = network(batch[number : number + 1])
        for one, other in zip(alone, together, strict=True):
            scale = max(1.0, float(other.detach().abs().max()))
            atol = rounding(network) * scale
            torch.testing.assert_close(one[0], other[number], atol=atol, rtol=0)


def test_no_norm_takes_statistics_over_a_batch() -> None:
    assert {*NORMS} == {*ALL_NORMS} - {"batch"}
    for norm in NORMS:
        state = built(norm=norm, spectral_norm=True).state_dict()
        assert not any("running" in name for name in state)


@pytest.mark.parametrize("levels", [1, 3])
def test_every_size_is_judged(levels: int) -> None:
    network = built(2, levels=levels)
    assert network.least_side == {1: 6, 3: 24}[levels]
    for size in ((1, 1), (1, 40), (5, 6), (network.least_side,) * 2, (31, 24)):
        image = images(1, 1, *size).requires_grad_()
        output = network(image)[-1]
        assert output.numel() > 0
        output.sum().backward()
        assert image.grad is not None
        assert image.grad.abs().sum() > 0
    least = images(1, 1, network.least_side, network.least_side)
    assert network(least)[-1].shape == (1, 1, 1, 1)


def test_small_images_are_padded_as_convolutions_pad() -> None:
    """With zeros behind their end."""
    network = built(3, levels=1)
    small = images(2, 1, 3, 4, 8)
    padded = torch.zeros(2, 1, 6, 6, 8)
    padded[:, :, :3, :4] = small
    assert torch.equal(network(small)[-1], network(padded)[-1])


def test_weights_follow_from_the_seed_and_draw_nothing_from_the_global_generator() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, second = built(spectral_norm=True), built(spectral_norm=True)
    assert torch.equal(torch.get_rng_state(), before)
    other = build_discriminator(AdversarySpec(levels=1, channels=4), 3, 1, seed=1)
    state = second.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in first.state_dict().items())
    plain = built().state_dict()
    assert any(not torch.equal(v, plain[name]) for name, v in other.state_dict().items())


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_the_spectral_norm_is_the_largest_singular_value(spatial_dims: int) -> None:
    network = built(spatial_dims, norm="none", spectral_norm=True)
    for _ in range(100):
        network.iterate()
    norms = [m for m in network.modules() if isinstance(m, SpectralNorm)]
    assert len(norms) == len(network.layers) == 3
    x = images(2, 1, *(8,) * spatial_dims)
    for layer, norm in zip(network.layers, norms, strict=True):
        plain = copy.deepcopy(norm.convolution)
        with torch.no_grad():
            plain.weight /= torch.linalg.matrix_norm(plain.weight.flatten(1), 2)
        expected = plain(x)
        if norm.bias is not None:
            expected = expected + norm.bias.reshape(-1, *(1,) * spatial_dims)
        torch.testing.assert_close(norm(x), expected, atol=1e-5, rtol=1e-3)
        assert isinstance(layer, nn.Sequential)
        x = layer(x).detach()


def test_only_an_iteration_changes_the_spectral_norm() -> None:
    network = built(norm="none", spectral_norm=True)
    before = copy.deepcopy(network.state_dict())
    network.train()(images(2, 1, 8, 8, 8))[-1].sum().backward()
    assert all(torch.equal(v, before[name]) for name, v in network.state_dict().items())
    network.iterate()
    after = network.state_dict()
    moved = {name for name, v in after.items() if not torch.equal(v, before[name])}
    # A single output, that of the last layer, has its norm from the beginning.
    assert moved == {n for n in after if n.endswith(("left", "right")) and "layers.2" not in n}


def test_a_convolution_before_a_norm_with_a_shift_has_no_bias() -> None:
    for norm in NORMS:
        first, middle, last = (layer[0].bias for layer in built(norm=norm).layers)  # type: ignore[index]
        assert first is not None
        assert last is not None
        assert (middle is None) == (norm in ("group", "instance", "layer"))
    widths = [p.shape[0] for p in built(levels=3).parameters() if p.dim() == 5]
    assert widths == [4, 8, 16, 32, 1]
    assert math.isclose(
        float(next(built(channels=64).parameters()).detach().std()), 0.02, rel_tol=0.05
    )


def test_planes_are_judged_slice_by_slice() -> None:
    """As the 2D discriminator of the same seed judges each slice alone."""
    planes, planar = built(3, 2, planes=True, norm="none"), built(2, 2, norm="none")
    assert all(torch.equal(v, planar.state_dict()[n]) for n, v in planes.state_dict().items())
    volume = images(2, 2, 7, 9, 8)
    *features, output = planes(volume)
    assert len(features) == 3 * 2
    for case in range(2):
        expected = []
        for axis in (1, 2, 3):
            for slice_ in volume[case].unbind(axis):
                expected.append(planar(slice_[None])[-1].flatten())
        torch.testing.assert_close(output[case], torch.cat(expected), atol=1e-5, rtol=1e-4)
    of_last_axis = torch.stack([planar(x)[0] for x in volume.unbind(4)], dim=2)
    torch.testing.assert_close(features[4], of_last_axis, atol=1e-5, rtol=1e-4)


@pytest.mark.extras
@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("norm", ["none", "instance"])
def test_it_computes_what_that_of_monai_does(spatial_dims: int, norm: str) -> None:
    nets = pytest.importorskip("monai.networks.nets")
    plain = norm == "none"
    reference = nets.PatchDiscriminator(
        spatial_dims=spatial_dims, channels=4, in_channels=2, num_layers_d=3, bias=plain,
        norm=None if plain else ("INSTANCE", {"affine": True}),
    )  # fmt: skip
    network = built(spatial_dims, 2, levels=3, norm=norm)
    values = [*reference.parameters()]
    own = [*network.parameters()]
    assert [p.shape for p in own] == [p.shape for p in values]
    with torch.no_grad():
        for parameter, value in zip(own, values, strict=True):
            # Larger than the initial ones, so that every layer matters.
            parameter.copy_(value.normal_(0, 0.3) if value.dim() > 1 else value.uniform_(0.5, 1))
    image = images(2, 2, *(40, 37, 34)[:spatial_dims])
    with torch.no_grad():
        found, expected = network(image), reference(image)
    assert len(found) == len(expected) == 5
    for one, other in zip(found, expected, strict=True):
        scale = float(other.abs().max())
        torch.testing.assert_close(one / scale, other / scale, atol=1e-5, rtol=0)
