"""A network as MONAI's: the same output there, the same tensors after the way back."""

import importlib
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.conftest import assert_same_output
from tests.model.test_options import COMBINATIONS, config_of
from tests.test_conf import options
from vae3d.autoencoder.monai import from_monai
from vae3d.autoencoder.vae import CustomVAE
from vae3d.cli.compose import composed
from vae3d.errors import ConfigError
from vae3d.exchange.to_monai import MonaiNetwork, to_monai, why_not_monai
from vae3d.model.config import AttentionSpec, LevelSpec, VAEConfig

LEVELS = [LevelSpec(4), LevelSpec(8, blocks=2, stride=(2,)), LevelSpec(8, stride=(2,))]
MONAIS: dict[str, Any] = {
    "levels": LEVELS,
    "latent_channels": 3,
    "norm": "group",
    "norm_groups": 2,
    "upsampling": "nearest",
    "downsampling": "end_padded",
    "widening": "block",
    "zero_init": False,
    "smooth_init": False,
    "head_norm": True,
    "projection": True,
    "patch": (1,),
    "attention": AttentionSpec(head_channels=None),
}
"""The settings of MONAI's own network."""
EVERYWHERE = [replace(level, attention="global") for level in LEVELS]
EQUAL = [replace(level, channels=8) for level in LEVELS]
BARE = [LevelSpec(8, blocks=0), LevelSpec(8, stride=(2,)), LevelSpec(8, blocks=0, stride=(2,))]
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "2D": {"spatial_dims": 2},
    "two channels": {"in_channels": 2, "latent_channels": 1},
    "one level": {"levels": LEVELS[:1]},
    "transposed": {"upsampling": "transposed"},
    "transposed 2D": {"upsampling": "transposed", "spatial_dims": 2},
    "MAISI": {"upsampling": "linear"},
    "MAISI with attention": {
        "upsampling": "linear",
        "levels": EVERYWHERE,
        "attention": AttentionSpec("global", head_channels=None),
    },
    "attention": {"levels": EVERYWHERE},
    "bottleneck": {"attention": AttentionSpec("global", head_channels=None)},
    "a wide head": {"levels": EVERYWHERE, "attention": AttentionSpec("global", head_channels=8)},
    "levels without blocks": {"levels": BARE},
    "step": {"widening": "step", "levels": EQUAL},
    "from zero to one": {"unit_range": True},
}
ONLY_TO = {
    "instance": {"norm": "instance", "levels": EQUAL},
    "fixed variance": {"variance": "fixed", "fixed_std": 0.3},
}
"""Networks of MONAI that have another description after the way back."""


def model_of(changes: dict[str, Any]) -> CustomVAE:
    """A network whose vectors are random too, in eval mode."""
    torch.manual_seed(0)
    model = CustomVAE(VAEConfig(**{**MONAIS, **changes}))
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model.eval()


def built(network: MonaiNetwork) -> Any:
    """The module of MONAI, with all tensors and no other."""
    module, _, name = network.name.rpartition(".")
    theirs = getattr(importlib.import_module(module), name)(**network.arguments)
    theirs.load_state_dict(network.state, strict=True)
    return theirs.eval()


@pytest.mark.extras
@pytest.mark.parametrize("kind", [*VARIANTS, *ONLY_TO])
def test_monais_module_has_the_same_output(kind: str) -> None:
    pytest.importorskip("monai")
    ours = model_of({**VARIANTS, **ONLY_TO}[kind])
    theirs = built(to_monai(ours))
    config = ours.config
    image = torch.rand(2, config.in_channels, *(16, 8, 12)[: config.dims]) * 2 - 1
    with torch.no_grad():
        posterior = ours.encode(image)
        mean, sigma = theirs.encode((image + 1) / 2 if config.unit_range else image)
        decoded = theirs.decode(mean)
        decoded = 2 * decoded - 1 if config.unit_range else decoded
        for found, expected in (
            (mean, posterior.mean),
            (sigma, posterior.std),
            (decoded, ours.decode(posterior.mean)),
        ):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", VARIANTS)
def test_import_is_the_way_back(kind: str) -> None:
    ours = model_of(VARIANTS[kind])
    config = ours.config
    back = from_monai(
        to_monai(ours).state, norm_groups=config.norm_groups, unit_range=config.unit_range
    )
    state = back.state_dict()
    assert [*state] == [*ours.state_dict()]
    assert all(torch.equal(state[name], value) for name, value in ours.state_dict().items())
    image = torch.rand(1, config.in_channels, *(8, 12, 8)[: config.dims]) * 2 - 1
    with torch.no_grad():
        assert torch.equal(back(image).reconstruction, ours(image).reconstruction)
    again = to_monai(back)
    assert again.arguments == to_monai(ours).arguments
    if kind not in ("step", "one level", "a wide head"):
        assert back.config == replace(config, spatial_dims=config.dims)


def test_the_networks_that_have_another_description_keep_their_posterior() -> None:
    ours = model_of(ONLY_TO["fixed variance"])
    back = from_monai(to_monai(ours).state, norm_groups=2)
    image = torch.rand(1, 1, 8, 8, 8)
    with torch.no_grad():
        assert_same_output(back.encode(image).std, ours.encode(image).std, ours)


def test_tensors_are_not_copied() -> None:
    ours = model_of({})
    state = to_monai(ours).state
    own = {value.data_ptr() for value in ours.state_dict().values()}
    copied = {name for name, value in state.items() if value.data_ptr() not in own}
    assert copied == {
        f"{name}.conv.{kind}"
        for name in ("quant_conv_mu", "quant_conv_log_sigma")
        for kind in ("weight", "bias")
    }


REASONS: dict[str, tuple[dict[str, Any], str]] = {
    "norm": ({"norm": "layer"}, "model.norm=layer"),
    "instance": ({"norm": "instance"}, "equal channels"),
    "activation": ({"activation": "relu"}, "model.activation=relu: its activation is silu"),
    "upsampling": ({"upsampling": "pixel_shuffle"}, "model.upsampling=pixel_shuffle"),
    "linear 2D": ({"upsampling": "linear", "spatial_dims": 2}, "is for volumes"),
    "variance": ({"variance": "fixed", "fixed_std": 1e-8}, "model.fixed_std=1e-08"),
    "codes": ({"variance": "fsq"}, "model.variance=fsq: its latents"),
    "shortcuts": ({"shortcuts": True}, "model.shortcuts=true: it has none"),
    "wavelet": ({"patch": (2,), "folding": "cdf53"}, "model.folding=cdf53: it does not fold"),
    "overlap": ({"patch": (2,), "head_overlap": True}, "model.head_overlap=true: it does not"),
    "downsampling": ({"downsampling": "centered"}, "model.downsampling=centered"),
    "widening": ({"widening": "step"}, "model.widening=step"),
    "final": ({"final_activation": "tanh"}, "model.final_activation=tanh"),
    "scale": ({"residual_scale": 0.7}, "model.residual_scale=0.7"),
    "head norm": ({"head_norm": False}, "model.head_norm=false"),
    "head activation": ({"head_activation": True}, "model.head_activation=true"),
    "kernel": ({"head_kernel": 1}, "model.head_kernel=1"),
    "projection": ({"projection": False}, "model.projection=false"),
    "patch": ({"patch": (2,)}, "model.patch="),
    "one axis": ({"levels": [LEVELS[0], LevelSpec(8, stride=(1, 2, 2))]}, r"levels.1.stride="),
    "three": ({"levels": [LEVELS[0], LevelSpec(8, stride=(3,))]}, r"levels.1.stride="),
    "at once": ({"levels": [LevelSpec(4, stride=(2,))]}, r"levels.0.stride="),
    "decoder": ({"levels": [LevelSpec(4, decoder_blocks=2)]}, r"levels.0.decoder_blocks=2"),
    "no block": ({"levels": [LEVELS[0], LevelSpec(8, blocks=0, stride=(2,))]}, "blocks=0"),
    "windows": ({"levels": [LevelSpec(4, attention="windowed")]}, "attention=windowed"),
    "heads": (
        {"attention": AttentionSpec("global", head_channels=4)},
        "head_channels=4: its attention has a single head",
    ),
}


@pytest.mark.parametrize("kind", REASONS)
def test_what_monai_cannot_express_is_named(kind: str) -> None:
    changes, reason = REASONS[kind]
    config = VAEConfig(**{**MONAIS, **changes})
    assert [text for text in why_not_monai(config) if reason.replace("\\", "") in text]
    with pytest.raises(ConfigError, match="MONAI cannot express this network"):
        to_monai(CustomVAE(config))


@pytest.mark.extras
@pytest.mark.parametrize("number", range(0, len(COMBINATIONS), 7))
def test_a_random_network_is_equal_or_refused(number: int) -> None:
    pytest.importorskip("monai")
    # Of any ten settings of MONAI's network one is another.
    odd = config_of(number)
    changed = [*MONAIS][number % len(MONAIS)]
    config = VAEConfig(**{**MONAIS, "spatial_dims": odd.dims, changed: getattr(odd, changed)})
    if why_not_monai(config):
        return
    # In double precision: a network of random weights can double the rounding of float32 at each
    # layer, so that no bound for float32 holds on every CPU.
    ours = CustomVAE(config).eval()
    theirs = built(to_monai(ours)).double()
    ours.double()
    image = torch.rand(1, 1, *(8, 12, 8)[: config.dims], dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        expected = ours(image).reconstruction
        torch.testing.assert_close(theirs.reconstruct(image), expected, atol=1e-9, rtol=1e-9)


def test_the_presets() -> None:
    expressible = {n for n in options("model") if not why_not_monai(preset(n))}
    assert expressible == {"maisi"}


def preset(name: str) -> VAEConfig:
    model: VAEConfig = composed("info", f"model={name}").model
    return model
