"""Norms against their formulas, and dropout by its seeds."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vae3d.layers.norms import SampleDropout
from vae3d.model.config import NORMS

GROUPS = 3


def randomised(norm: nn.Module) -> nn.Module:
    """Return the norm with random weights, which differ from its initial ones."""
    torch.manual_seed(1)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    return norm.double()


def by_formula(name: str, x: Tensor, norm: nn.Module) -> Tensor:
    """Return the output of a norm from its formula."""
    shape = (-1, *(1,) * (x.dim() - 2))
    weight, bias = (getattr(norm, n, torch.zeros(())) for n in ("weight", "bias"))
    space = tuple(range(2, x.dim()))
    if name == "none":
        return x
    if name == "rms":
        return x / (x.square().mean(1, keepdim=True) + 1e-5).sqrt() * weight.reshape(shape)
    if name == "layer":
        mean, variance = x.mean(1, keepdim=True), x.var(1, keepdim=True, correction=0)
        eps = 1e-5
    elif name == "batch":
        axes = (0, *space)
        mean, variance = x.mean(axes, keepdim=True), x.var(axes, keepdim=True, correction=0)
        eps = 1e-5
    else:
        groups = GROUPS if name == "group" else x.shape[1]
        grouped = x.unflatten(1, (groups, -1)).flatten(2)
        repeat = x.shape[1] // groups
        mean = grouped.mean(2).repeat_interleave(repeat, 1).reshape(*x.shape[:2], *shape[1:])
        variance = grouped.var(2, correction=0).repeat_interleave(repeat, 1).reshape_as(mean)
        eps = 1e-6 if name == "group" else 1e-5
    result: Tensor = (x - mean) / (variance + eps).sqrt() * weight.reshape(shape)
    return result + bias.reshape(shape)


@pytest.mark.parametrize("size", [(4, 5), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("name", NORMS)
def test_norms_are_their_formulas(name: str, size: tuple[int, ...]) -> None:
    norm = randomised(NORMS[name](len(size), 6, GROUPS))
    x = torch.randn(2, 6, *size, dtype=torch.float64) * 3 + 1
    torch.testing.assert_close(norm(x), by_formula(name, x, norm))


@pytest.mark.parametrize("name", NORMS)
def test_norms_have_the_gradients_of_what_they_compute(name: str) -> None:
    norm = randomised(NORMS[name](2, 6, GROUPS))
    x = torch.randn(2, 6, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm, x)


@pytest.mark.parametrize("name", NORMS)
def test_the_order_of_memory_does_not_matter(name: str) -> None:
    norm = randomised(NORMS[name](3, 6, GROUPS)).float()
    x = torch.randn(2, 6, 3, 4, 5)
    last = x.to(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(norm(last), norm(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NORMS)
def test_half_precision_stays_near(name: str) -> None:
    norm = NORMS[name](3, 6, GROUPS)
    x = torch.randn(2, 6, 3, 4, 5)
    with torch.autocast("cpu", torch.bfloat16):
        output = norm(x.bfloat16())
    assert F.mse_loss(output.float(), norm(x)) < 1e-4


def test_dropout_keeps_the_mean_and_belongs_to_its_seed() -> None:
    layer, x = SampleDropout(0.25, number=3), torch.full((3, 2, 40, 50), 6.0)
    output = layer(x, [7, 8, 7])
    assert output.unique().tolist() == [0.0, 8.0], "the other values are scaled"
    assert 0.23 < (output == 0).float().mean().item() < 0.27
    assert torch.equal(output[0], output[2])
    assert not torch.equal(output[0], output[1])
    assert torch.equal(layer(x[1:2], [8]), output[1:2]), "in any batch"
    assert not torch.equal(SampleDropout(0.25, number=4)(x, [7, 8, 7]), output)
    torch.manual_seed(0)
    assert layer(x, None).unique().tolist() == [0.0, 8.0]
    assert SampleDropout(0.0)(x, [7, 8, 7]) is x
    assert layer.eval()(x, [7, 8, 7]) is x
