"""The losses and gradients of both players for a batch, against slow references."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.adversary.test_discriminator import built, images
from vae3d.adversary.config import KINDS, NORMS, AdversarySpec
from vae3d.adversary.discriminator import Discriminator
from vae3d.adversary.losses import LOSSES, feature_distance, gradient_penalty, per_case
from vae3d.adversary.play import Cases, Play, play
from vae3d.runtime.precision import Precision

CPU = torch.device("cpu")


def spec_of(**changes: Any) -> AdversarySpec:
    return AdversarySpec(**{"weight": 1.0, "levels": 1, "channels": 4, **changes})


def cases(count: int = 3, size: tuple[int, ...] = (8, 8, 8), **changes: Any) -> Cases:
    values = {
        "images": images(count, 1, *size),
        "reconstructions": images(count, 1, *size).flip(0).neg().mul(0.7).requires_grad_(),
        "inside": [size] * count,
        "weights": torch.linspace(0.1, 0.4, count),
        **changes,
    }
    return Cases(**values)


def played(network: Discriminator, spec: AdversarySpec, batch: Cases, name: str = "fp32") -> Play:
    return play(network, spec, Precision(name, CPU), batch)


def reference(network: Discriminator, spec: AdversarySpec, batch: Cases) -> dict[str, Any]:
    """One case after the other, with the formulas of the papers, and gradients by `backward`."""
    leaf = batch.reconstructions.detach().clone().requires_grad_()
    term, of_discriminator = torch.zeros(()), torch.zeros(())
    for n, size in enumerate(batch.inside):
        box = (slice(n, n + 1), slice(None), *(slice(0, s) for s in size))
        weight = batch.weights[n]
        real, fake = network(batch.images[box]), network(leaf[box])
        a, b = real[-1], fake[-1]
        if spec.kind == "hinge":
            d = ((1 - a).clamp(min=0).mean() + (1 + b).clamp(min=0).mean()) / 2
            g = -b.mean()
        else:
            d, g = ((a - 1) ** 2).mean() / 2 + (b**2).mean() / 2, ((b - 1) ** 2).mean()
        distances = [
            (x.detach() - y).abs().mean() for x, y in zip(real[:-1], fake[:-1], strict=True)
        ]
        g = g + spec.feature_matching * sum(distances) / len(distances)
        term, of_discriminator = term + weight * g, of_discriminator + weight * d
    network.zero_grad()
    (at_image,) = torch.autograd.grad(term, leaf, retain_graph=True)
    of_discriminator.backward()  # type: ignore[no-untyped-call]
    return {
        "term": term.detach(),
        "discriminator": of_discriminator.detach(),
        "image_gradient": at_image,
        "gradients": [p.grad for p in network.parameters()],
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("padded", [False, True])
def test_losses_and_gradients_are_those_of_the_formulas(kind: str, padded: bool) -> None:
    spec = spec_of(kind=kind, feature_matching=0.5)
    network = built(kind=kind)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(10)
    inside = [(8, 8, 8), (5, 8, 3), (8, 7, 8)] if padded else [(8, 8, 8)] * 3
    batch = cases(inside=inside)
    found, expected = played(network, spec, batch), reference(network, spec, batch)
    torch.testing.assert_close(found.term, expected["term"])
    torch.testing.assert_close(found.losses["discriminator"], expected["discriminator"])
    torch.testing.assert_close(
        found.image_gradient, expected["image_gradient"], atol=1e-6, rtol=1e-4
    )
    for one, other in zip(found.gradients, expected["gradients"], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    assert found.image_gradient.abs().sum() > 0


def test_padding_counts_nowhere() -> None:
    inside = [(8, 8, 8), (4, 8, 6), (8, 8, 8)]
    spec = spec_of(feature_matching=1.0, r1=1.0)
    network = built()
    first = cases(inside=inside)
    images_, reconstructions = first.images.clone(), first.reconstructions.detach().clone()
    for values in (images_, reconstructions):
        values[1, :, 4:], values[1, :, :, :, 6:] = 9.0, -9.0
    other = cases(images=images_, reconstructions=reconstructions.requires_grad_(), inside=inside)
    one, two = played(network, spec, first), played(network, spec, other)
    assert all(torch.equal(value, two.losses[name]) for name, value in one.losses.items())
    assert all(torch.equal(a, b) for a, b in zip(one.gradients, two.gradients, strict=True))
    assert torch.equal(one.image_gradient, two.image_gradient)
    assert one.image_gradient[1, :, 4:].abs().sum() == 0
    assert one.image_gradient[1, :, :4, :, :6].abs().sum() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_accuracy_is_the_share_of_places(kind: str) -> None:
    """A discriminator that is right about half of the scans, and one that takes all for scans."""
    network, batch = built(norm="none"), cases(count=2, weights=torch.tensor([0.5, 0.5]))
    with torch.no_grad():
        for parameter in network.layers[-1].parameters():
            parameter.zero_()
        last = network.layers[-1][0]  # type: ignore[index]
        last.bias.fill_(5.0)
    found = played(network, spec_of(kind=kind), batch).losses
    assert (found["real_accuracy"], found["fake_accuracy"]) == (1.0, 0.0)
    with torch.no_grad():
        last.bias.fill_(-5.0)
    found = played(network, spec_of(kind=kind), batch).losses
    assert (found["real_accuracy"], found["fake_accuracy"]) == (0.0, 1.0)
    threshold = LOSSES[kind].threshold
    assert (
        LOSSES[kind].real(torch.tensor(threshold)) - LOSSES[kind].fake(torch.tensor(threshold))
    ).abs() < 1e-6


@pytest.mark.parametrize("norm", NORMS)
def test_the_penalty_and_its_gradient_are_those_of_differences(norm: str) -> None:
    """In float64, where small steps of the weights change the penalty."""
    network = built(2, norm=norm, channels=8, spectral_norm=norm == "none").double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(5)
    image = images(2, 1, 6, 6).double().requires_grad_()

    def output() -> Tensor:
        mean: Tensor = network(image)[-1].flatten(1).mean(dim=1)
        return mean

    def slow() -> Tensor:
        (gradient,) = torch.autograd.grad(output().sum(), image)
        return gradient.square().flatten(1).sum(dim=1) / 2

    penalty = gradient_penalty(network(image)[-1].double(), image)
    torch.testing.assert_close(penalty.double(), slow(), atol=1e-6, rtol=1e-5)
    parameters = [*network.parameters()]
    gradients = torch.autograd.grad(penalty.sum(), parameters, allow_unused=True)
    direction = [torch.randn_like(p) for p in parameters]
    expected = sum(
        float((g * d).sum()) for g, d in zip(gradients, direction, strict=True) if g is not None
    )
    values = []
    for step in (1e-5, -2e-5):
        with torch.no_grad():
            for parameter, towards in zip(parameters, direction, strict=True):
                parameter.add_(towards, alpha=step)
        values.append(float(slow().sum()))
    assert (values[0] - values[1]) / 2e-5 == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_r1_is_part_of_what_the_discriminator_minimises_and_of_nothing_else() -> None:
    network, batch = built(), cases()
    plain, penalised = (played(network, spec_of(r1=r1), batch) for r1 in (0.0, 10.0))
    assert torch.equal(plain.image_gradient, penalised.image_gradient)
    assert torch.equal(plain.losses["discriminator"], penalised.losses["discriminator"])
    image = batch.images.clone().requires_grad_()
    total = (gradient_penalty(network(image)[-1], image) * batch.weights).sum() * 10
    more = torch.autograd.grad(total, [*network.parameters()], allow_unused=True)
    for before, after, part in zip(plain.gradients, penalised.gradients, more, strict=True):
        change = torch.zeros_like(before) if part is None else part
        torch.testing.assert_close(after - before, change, atol=1e-5, rtol=1e-3)
    assert not batch.images.requires_grad


def test_features_of_the_scan_are_constants() -> None:
    real, fake = ([torch.rand(2, 3, 4, 4, requires_grad=True)] for _ in range(2))
    distance = feature_distance(real, fake)
    torch.testing.assert_close(distance, (real[0] - fake[0]).abs().mean(dim=(1, 2, 3)))
    distance.sum().backward()  # type: ignore[no-untyped-call]
    assert real[0].grad is None
    assert fake[0].grad is not None


@pytest.mark.parametrize("spec", [{}, {"r1": 1.0, "feature_matching": 1.0}, {"norm": "none"}])
def test_half_precision_is_close(spec: dict[str, Any]) -> None:
    network = built(**spec)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(5)
    one, half = (played(network, spec_of(**spec), cases(), name) for name in ("fp32", "bf16"))
    for name, value in one.losses.items():
        assert float(half.losses[name]) == pytest.approx(float(value), abs=0.05), name
    assert half.image_gradient.dtype == torch.float32
    cosine = torch.nn.functional.cosine_similarity(
        one.image_gradient.flatten(), half.image_gradient.flatten(), dim=0
    )
    assert cosine > 0.98


def test_a_scale_changes_only_the_discriminators_gradients() -> None:
    """As float16 has one; the trainer divides by it before the update."""
    network, batch = built(), cases()
    plain = played(network, spec_of(), batch)
    precision = Precision("fp32", CPU)
    precision.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, enabled=True)
    scaled = play(network, spec_of(), precision, batch)
    assert torch.equal(scaled.image_gradient, plain.image_gradient)
    for one, other in zip(plain.gradients, scaled.gradients, strict=True):
        assert torch.equal(one * 2**10, other)


def test_the_mean_is_taken_of_each_case() -> None:
    assert torch.equal(
        per_case(torch.tensor([[[1.0, 3.0]], [[5.0, 5.0]]])), torch.tensor([2.0, 5.0])
    )


@pytest.mark.extras
def test_losses_are_those_of_monai() -> None:
    losses = pytest.importorskip("monai.losses")
    output = [torch.randn(2, 1, 5, 5, generator=torch.Generator().manual_seed(n)) for n in (0, 1)]
    for kind, criterion, options in (
        ("hinge", "hinge", {}),
        ("least_squares", "least_squares", {"no_activation_leastsq": True}),
    ):
        theirs, own = losses.PatchAdversarialLoss(criterion=criterion, **options), LOSSES[kind]
        real, fake = output
        if kind == "hinge":
            # MONAI puts a tanh before.
            real, fake = real.tanh(), fake.tanh()
        of_real = theirs(output[0], target_is_real=True, for_discriminator=True)
        of_fake = theirs(output[1], target_is_real=False, for_discriminator=True)
        assert float(per_case(own.real(real)).mean()) == pytest.approx(float(of_real), abs=1e-6)
        assert float(per_case(own.fake(fake)).mean()) == pytest.approx(float(of_fake), abs=1e-6)
        of_generator = theirs(output[1], target_is_real=True, for_discriminator=False)
        # Their generator minimises relu(1 - tanh(x)): ours after their tanh, plus a constant.
        found = float(per_case(own.generator(fake)).mean()) + (kind == "hinge")
        assert math.isclose(found, float(of_generator), abs_tol=1e-6)
