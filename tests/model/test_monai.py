"""Imported weights reproduce MONAI's output."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.conftest import assert_same_output
from vae3d.autoencoder.monai import from_monai
from vae3d.cli.compose import composed
from vae3d.errors import ConfigError

MAISI = "monai.apps.generation.maisi.networks.autoencoderkl_maisi"
COMMON = {"in_channels": 1, "out_channels": 1, "norm_num_groups": 4}
KINDS: dict[str, dict[str, Any]] = {
    "plain": {"channels": (8, 16, 16), "num_res_blocks": (1, 2, 1)},
    "bottleneck": {"channels": (8, 16), "num_res_blocks": 1, "middle": True},
    "levels": {"channels": (8, 16), "num_res_blocks": 2, "attention_levels": (False, True)},
    "both": {
        "channels": (8, 16),
        "num_res_blocks": 2,
        "attention_levels": (True, True),
        "middle": True,
    },
}


def build(kind: str, dims: int, **changes: Any) -> Any:
    options = {**KINDS[kind], **changes}
    middle = options.pop("middle", False)
    options.setdefault("attention_levels", (False,) * len(options["channels"]))
    autoencoderkl = pytest.importorskip("monai.networks.nets.autoencoderkl")
    torch.manual_seed(0)
    model = autoencoderkl.AutoencoderKL(
        spatial_dims=dims,
        latent_channels=3,
        with_encoder_nonlocal_attn=middle,
        with_decoder_nonlocal_attn=middle,
        **COMMON,
        **options,
    )
    return model.eval()


@pytest.mark.extras
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_output_is_monais(kind: str, dims: int) -> None:
    theirs = build(kind, dims)
    ours = from_monai(theirs.state_dict(), norm_groups=4)
    image = torch.randn(2, 1, *(16, 8, 12)[:dims])
    with torch.no_grad():
        posterior = ours.encode(image)
        mean, sigma = theirs.encode(image)
        assert_same_output(posterior.mean, mean, ours)
        assert_same_output(posterior.std, sigma, ours)
        assert_same_output(ours.decode(mean), theirs.decode(mean), ours)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.extras
def test_output_is_maisis() -> None:
    maisi = pytest.importorskip(MAISI)
    torch.manual_seed(0)
    theirs = maisi.AutoencoderKlMaisi(
        spatial_dims=3,
        latent_channels=4,
        num_channels=(8, 16, 16),
        num_res_blocks=(2, 2, 2),
        attention_levels=(False, False, False),
        with_encoder_nonlocal_attn=False,
        with_decoder_nonlocal_attn=False,
        num_splits=1,
        print_info=False,
        norm_float16=False,
        **COMMON,
    ).eval()
    ours = from_monai(theirs.state_dict(), norm_groups=4)
    image = torch.randn(1, 1, 8, 16, 12)
    with torch.no_grad():
        mean, _ = theirs.encode(image)
        assert_same_output(ours.encode(image).mean, mean, ours)
        assert_same_output(ours.decode(mean), theirs.decode(mean), ours)


@pytest.mark.extras
def test_the_preset_is_maisis_own_network() -> None:
    maisi = pytest.importorskip(MAISI)
    theirs = maisi.AutoencoderKlMaisi(
        spatial_dims=3,
        in_channels=1,
        out_channels=1,
        latent_channels=4,
        num_channels=(64, 128, 256),
        num_res_blocks=(2, 2, 2),
        norm_num_groups=32,
        attention_levels=(False, False, False),
        with_encoder_nonlocal_attn=False,
        with_decoder_nonlocal_attn=False,
        num_splits=1,
        print_info=False,
        norm_float16=False,
    )
    config = from_monai(theirs.state_dict()).config
    preset = composed("info", "model=maisi").model
    assert replace(config, attention=preset.attention) == replace(preset, spatial_dims=3)


@pytest.mark.extras
def test_a_network_of_images_from_zero_to_one() -> None:
    theirs = build("plain", 3)
    ours = from_monai(theirs.state_dict(), norm_groups=4, unit_range=True)
    image = torch.rand(1, 1, 8, 8, 8)
    with torch.no_grad():
        reconstruction = (ours(2 * image - 1).reconstruction + 1) / 2
        assert_same_output(reconstruction, theirs.reconstruct(image), ours)


def test_other_weights_are_refused() -> None:
    with pytest.raises(ConfigError, match="not the weights of MONAI's AutoencoderKL"):
        from_monai({"encoder.weight": torch.zeros(3)})


@pytest.mark.extras
def test_weights_without_a_tensor_are_refused() -> None:
    state = build("plain", 3).state_dict()
    del state["decoder.blocks.0.conv.weight"]
    with pytest.raises(ConfigError, match="not the weights of MONAI's AutoencoderKL"):
        from_monai(state)
