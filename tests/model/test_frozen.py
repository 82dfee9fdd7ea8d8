"""What is trained of a network, and that nothing is kept or computed for the rest."""

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from tests.conftest import tiny_model
from vae3d.autoencoder.vae import CustomVAE
from vae3d.errors import ConfigError
from vae3d.model.frozen import check_start, freeze, frozen_names


def network(train: str | list[str], **changes: object) -> CustomVAE:
    torch.manual_seed(0)
    model = CustomVAE(tiny_model(zero_init=False, **changes))
    freeze(model, train)
    return model.train()


def step(model: CustomVAE) -> tuple[Tensor, dict[str, Tensor]]:
    """The reconstruction, and the gradient of each trained parameter by name."""
    images = torch.rand(2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    output = model(images, [torch.Generator().manual_seed(n) for n in range(2)])
    loss = (output.reconstruction - images).abs().mean() + 0.1 * output.posterior.kl().mean()
    torch.autograd.backward(loss)
    found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return output.reconstruction.detach(), found


@pytest.mark.parametrize("norm", ["layer", "group"])
@pytest.mark.parametrize(
    "train", ["all", "decoder", "encoder", ["*.norm1.*", "decoder.head.*"], ["decoder.head.bias"]]
)
def test_gradients_of_what_is_trained_are_bit_identical(norm: str, train: str | list[str]) -> None:
    whole, expected = step(network("all", norm=norm, norm_groups=4))
    model = network(train, norm=norm, norm_groups=4)
    part, found = step(model)
    assert torch.equal(part, whole)
    assert found.keys() == {n for n, p in model.named_parameters() if p.requires_grad}
    assert found.keys().isdisjoint(frozen_names(model))
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_a_frozen_encoder_keeps_nothing_for_the_backward_pass() -> None:
    kept: list[Tensor] = []
    model = network("decoder", dropout=0.1)
    with saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        posterior = model.encode(torch.rand(2, 1, 8, 8, 8))
    assert not kept
    assert not posterior.mean.requires_grad


@pytest.mark.parametrize("what", ["norms", "block", "all"])
def test_a_frozen_decoder_recomputes_as_any_other(what: str) -> None:
    """Gradients pass through it, so that its activations take memory."""
    sizes = {}
    for recomputed in ("nothing", what):
        model = network("encoder")
        model.recompute(dict.fromkeys(model.blocks(), recomputed))
        kept: dict[int, int] = {}

        def note(tensor: Tensor, kept: dict[int, int] = kept) -> Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.nbytes
            return tensor

        latent = torch.rand(1, 4, 8, 8, 8, requires_grad=True)
        with saved_tensors_hooks(note, lambda tensor: tensor):
            # Named, since what a result that is freed has saved is freed with it.
            image = model.decode(latent)
        del image
        sizes[recomputed] = sum(kept.values())
    assert sizes[what] < 0.8 * sizes["nothing"]


def test_norms_and_dropout_of_frozen_parts_are_those_of_inference() -> None:
    """A part of which something is trained is in training mode; so it stays in a copy."""
    model = network(["encoder.levels.1.blocks.0.norm1.*"], norm="batch", dropout=0.5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    step(model)
    moved = {n for n, value in model.state_dict().items() if not torch.equal(value, before[n])}
    assert moved == {
        f"encoder.levels.1.blocks.0.norm1.{name}"
        for name in ("running_mean", "running_var", "num_batches_tracked")
    }
    assert frozen_names(model).isdisjoint(moved)
    modes = {name: module.training for name, module in model.named_modules()}
    assert modes["encoder.levels.1.blocks.0.dropout"]
    assert not modes["decoder.levels.0.blocks.0.dropout"]
    model.eval().train()
    assert {name: module.training for name, module in model.named_modules()} == modes


def test_all_trains_all() -> None:
    model = network("all")
    assert not frozen_names(model)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize(
    ("patterns", "nearest"),
    [
        (["decodr.*"], r"decoder\.\*"),
        (["decoder"], r"decoder\.\*"),
        (["decoder.*", "encoder.haed.weight"], r"encoder\.head\.weight"),
        (["nothing like this"], r"encoder\.stem\.weight"),
    ],
)
def test_a_pattern_that_matches_nothing_is_refused(patterns: list[str], nearest: str) -> None:
    message = rf"trainer\.train: '{patterns[-1]}' matches no parameter .*{nearest}"
    with pytest.raises(ConfigError, match=message.replace("*'", r"\*'")):
        freeze(CustomVAE(tiny_model()), patterns)


def test_one_side_of_random_weights_is_kept_only_by_name() -> None:
    with pytest.raises(ConfigError, match=r"keeps the encoder .*init_from=.*\[decoder\.\*\]"):
        check_start("decoder", None)
    with pytest.raises(ConfigError, match="keeps the decoder"):
        check_start("encoder", None)
    check_start("decoder", "runs/x")
    check_start("all", None)
    check_start(["decoder.*"], None)


def test_a_frozen_convolution_has_no_gradient_of_its_weight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from vae3d.layers import convolution

    def refuse(*_: object) -> None:
        raise AssertionError("computed for a frozen weight")

    monkeypatch.setattr(convolution, "_weight_gradient", refuse)
    conv = convolution.convolution(3, 4, 4)
    assert isinstance(conv, nn.Conv3d)
    conv.requires_grad_(False)
    image = torch.rand(1, 4, 8, 8, 8, requires_grad=True)
    kept: list[Tensor] = []
    with saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        output = conv(image)
    assert not any(tensor.shape == image.shape for tensor in kept)
    output.sum().backward()
    assert image.grad is not None
