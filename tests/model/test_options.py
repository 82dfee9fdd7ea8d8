"""Every combination of options builds, runs, learns, and loads from its folder."""

import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import ROOT, tiny_model
from tests.test_conf import options
from vae3d.autoencoder.summary import receptive_field, summarise
from vae3d.autoencoder.vae import CustomVAE
from vae3d.cli.compose import composed
from vae3d.errors import ConfigError, RunError
from vae3d.layers.folding import pixel_shuffle, pixel_unshuffle
from vae3d.layers.norms import LayerNorm
from vae3d.model.blocks import EndPaddedDownsample
from vae3d.model.config import (
    ACTIVATIONS,
    ATTENTIONS,
    DOWNSAMPLINGS,
    FINAL_ACTIVATIONS,
    NORMS,
    UPSAMPLINGS,
    VARIANCES,
    WIDENINGS,
    AttentionSpec,
    LevelSpec,
    VAEConfig,
)
from vae3d.run.config import TrainConfig

GOLDEN = ROOT / "tests" / "golden" / "models.json"
ENDS: list[dict[str, Any]] = [
    {"patch": (1,)},
    {"patch": (2,)},
    {"patch": (2,), "folding": "haar"},
    {"patch": (2,), "folding": "cdf53"},
    {"patch": (2,), "head_overlap": True},
]
COMBINATIONS = [*itertools.product([2, 3], NORMS, UPSAMPLINGS, DOWNSAMPLINGS, ATTENTIONS)]


def config_of(number: int) -> VAEConfig:
    """Combination `number`; the options with few interactions are drawn."""
    dims, norm, upsampling, downsampling, attention = COMBINATIONS[number]
    draw = random.Random(number).choice
    ends: dict[str, Any] = draw(ENDS)
    return VAEConfig(
        spatial_dims=dims,
        in_channels=draw([1, 2]),
        latent_channels=2,
        levels=[
            LevelSpec(8, blocks=1, decoder_blocks=draw([0, 1, 2]), attention=attention),
            LevelSpec(draw([8, 12]), blocks=draw([0, 1]), stride=(2,), attention=attention),
        ],
        norm=norm,
        norm_groups=4,
        activation=draw([*ACTIVATIONS]),
        upsampling=upsampling,
        downsampling=downsampling,
        widening=draw(WIDENINGS),
        variance=draw(VARIANCES),
        final_activation=draw([*FINAL_ACTIVATIONS]),
        dropout=draw([0.0, 0.1]),
        residual_scale=draw([1.0, 0.7071]),
        zero_init=draw([False, True]),
        smooth_init=draw([False, True]),
        attention=AttentionSpec(draw(ATTENTIONS), window=(3,), head_channels=4),
        projection=draw([False, True]),
        head_kernel=3 if ends.get("head_overlap") else draw([3, 1]),
        head_norm=draw([False, True]),
        head_activation=draw([False, True]),
        unit_range=draw([False, True]),
        checkpointing=draw([False, True]),
        shortcuts=draw([False, True]),
        **ends,
    )


@pytest.mark.parametrize("number", range(len(COMBINATIONS)))
def test_every_combination(tmp_path: Path, number: int) -> None:
    config = config_of(number)
    torch.manual_seed(number)
    model = CustomVAE(config)
    size = (9, 6, 7)[: config.dims]
    image = torch.rand(2, config.in_channels, *size) * 2 - 1
    output = model(image, torch.Generator().manual_seed(0))
    assert output.reconstruction.shape == image.shape
    assert tuple(output.latent.shape[2:]) == model.latent_size(size)
    (output.reconstruction.square().mean() + output.posterior.kl().mean()).backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None]
    assert not missing, "every parameter takes part"
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    model.eval().save_pretrained(tmp_path / "weights")
    again = CustomVAE.from_pretrained(tmp_path / "weights")
    assert again.config == config
    with torch.no_grad():
        assert torch.equal(again(image).reconstruction, model(image).reconstruction)


OPTIONS: dict[str, Callable[[VAEConfig], object]] = {
    "dims": lambda c: c.dims,
    "norm": lambda c: c.norm,
    "activation": lambda c: c.activation,
    "upsampling": lambda c: c.upsampling,
    "downsampling": lambda c: c.downsampling,
    "widening": lambda c: c.widening,
    "variance": lambda c: c.variance,
    "final": lambda c: c.final_activation,
    "dropout": lambda c: c.dropout,
    "scale": lambda c: c.residual_scale,
    "zero_init": lambda c: c.zero_init,
    "smooth_init": lambda c: c.smooth_init,
    "bottleneck": lambda c: c.attention.bottleneck,
    "level": lambda c: c.levels[0].attention,
    "decoder_blocks": lambda c: c.levels[0].decoder_blocks,
    "blocks": lambda c: c.levels[1].blocks,
    "channels": lambda c: c.levels[1].channels,
    "projection": lambda c: c.projection,
    "head_kernel": lambda c: c.head_kernel,
    "head_norm": lambda c: c.head_norm,
    "head_activation": lambda c: c.head_activation,
    "ends": lambda c: (c.patch, c.folding, c.head_overlap),
    "shortcuts": lambda c: c.shortcuts,
    "unit_range": lambda c: c.unit_range,
    "checkpointing": lambda c: c.checkpointing,
    "in_channels": lambda c: c.in_channels,
}


IMPOSSIBLE: dict[tuple[str, str], set[tuple[Any, Any]]] = {
    ("head_kernel", "ends"): {(1, ((2,), "blocks", True))}
}


def test_every_two_options_meet() -> None:
    configs = [config_of(number) for number in range(len(COMBINATIONS))]
    for first, second in itertools.combinations(OPTIONS, 2):
        met = {(OPTIONS[first](c), OPTIONS[second](c)) for c in configs}
        values = [{OPTIONS[name](c) for c in configs} for name in (first, second)]
        missing = {*itertools.product(*values)} - met - IMPOSSIBLE.get((first, second), set())
        assert not missing, f"{first} and {second} never are {sorted(missing, key=str)}"


def presets() -> dict[str, object]:
    """Return the number of parameters, the names and the shapes of each preset."""
    table: dict[str, object] = {}
    for name in options("model"):
        config = composed("train", f"model={name}")
        assert isinstance(config, TrainConfig)
        with torch.device("meta"):
            model = CustomVAE(config.model)
        table[name] = {
            "parameters": sum(p.numel() for p in model.parameters()),
            "keys": {key: list(value.shape) for key, value in model.state_dict().items()},
        }
    return table


def test_presets_are_what_they_were() -> None:
    assert presets() == json.loads(GOLDEN.read_text()), (
        "a preset changed, and its weights no longer load; if that is intended, rewrite "
        f"{GOLDEN}: python -m tests.model.test_options"
    )


@pytest.mark.parametrize("norm", ["layer", "rms"])
def test_pointwise_norms_see_one_voxel(norm: str) -> None:
    layer = NORMS[norm](3, 5, 1)
    x = torch.randn(2, 5, 3, 4, 2)
    voxel = layer(x[:, :, 1:2, 2:3, :1])
    torch.testing.assert_close(layer(x)[:, :, 1:2, 2:3, :1], voxel)
    if norm == "layer":
        assert isinstance(layer, LayerNorm)
        torch.testing.assert_close(voxel.mean(dim=1), torch.zeros(2, 1, 1, 1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("factor", [(2, 2), (3, 1), (1, 2, 2), (2, 3, 1)], ids=str)
def test_unshuffle_undoes_shuffle(factor: tuple[int, ...]) -> None:
    x = torch.randn(2, 3, *(2 * 3 * f for f in factor))
    folded = pixel_unshuffle(x, factor)
    assert torch.equal(pixel_shuffle(folded, factor), x)
    if factor == (2, 2):
        assert torch.equal(folded, torch.nn.functional.pixel_unshuffle(x, 2))


@pytest.mark.parametrize("stride", [(2, 2), (3, 1), (4, 2)], ids=str)
def test_end_padded_windows_begin_at_the_first_voxel(stride: tuple[int, ...]) -> None:
    layer = EndPaddedDownsample(1, 1, stride, VAEConfig(spatial_dims=2))
    x = torch.zeros(1, 1, 12, 12, requires_grad=True)
    out = layer(x)
    assert tuple(out.shape[2:]) == tuple(12 // s for s in stride)
    (gradient,) = torch.autograd.grad(out[0, 0, 1, 1], x)
    first = gradient[0, 0].nonzero().min(dim=0).values.tolist()
    assert first == [s if s > 1 else 0 for s in stride]


@pytest.mark.parametrize("patch", [(1,), (2,)], ids=str)
@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
def test_the_receptive_field_bounds_the_gradient(
    upsampling: str, window: int | None, patch: tuple[int, ...]
) -> None:
    kind = "windowed" if window else "none"
    config = VAEConfig(
        spatial_dims=2,
        levels=[LevelSpec(4), LevelSpec(4, stride=(2,), attention=kind)],
        norm="layer",
        upsampling=upsampling,
        attention=AttentionSpec(window=(window or 1,), head_channels=None),
        zero_init=False,
        patch=patch,
    )
    field = receptive_field(config)
    assert field is not None
    assert 0.5 * field[0] < gradient_width(CustomVAE(config)) <= field[0]


def gradient_width(model: CustomVAE) -> int:
    """Return the number of rows of an image that change a voxel of its reconstruction, at most."""
    x = torch.randn(1, 1, 120, 120, dtype=torch.float64, requires_grad=True)
    width = 0
    for row in range(56, 64):
        (gradient,) = torch.autograd.grad(model.double()(x).reconstruction[0, 0, row, row], x)
        rows = gradient[0, 0].abs().sum(dim=1).nonzero()
        width = max(width, int(rows.max() - rows.min()) + 1)
    return width


def test_the_receptive_field_is_the_sum_of_its_layers() -> None:
    """Of the tiny model, in voxels: edges and folding 2 + 3, two blocks of two convolutions at
    the first level 8, downsampling and upsampling 2 + 4, two blocks at the second level 16, and
    heads 8."""
    assert receptive_field(tiny_model()) == (5 + 8 + 6 + 16 + 8,) * 3
    levels = [
        LevelSpec(8, blocks=2),
        LevelSpec(8, blocks=1, decoder_blocks=2, stride=(1, 2, 4), attention="windowed"),
    ]
    attention = AttentionSpec("windowed", window=(2, 3, 4), head_channels=4)
    config = VAEConfig(levels=levels, patch=(1, 2, 2), attention=attention)
    assert receptive_field(config) == (63, 263, 561)
    assert receptive_field(tiny_model(norm="group", norm_groups=2)) is None


def test_a_summary_adds_up() -> None:
    levels = [LevelSpec(8), LevelSpec(16, stride=(2, 2, 1))]
    config = VAEConfig(spatial_dims=3, levels=levels, patch=(1,))
    summary = summarise(config, (8, 8, 6))
    model = CustomVAE(config)
    assert summary.parameters == sum(row.parameters for row in summary.rows)
    assert summary.parameters == sum(p.numel() for p in model.parameters())
    assert summary.latent == (4, 4, 4, 6)
    assert summary.compression == 8 * 8 * 6 / (4 * 4 * 4 * 6)
    stem = 2 * 27 * 8 * 8 * 8 * 6
    assert summary.flops > 2 * stem


def test_impossible_models_are_named() -> None:
    for message, changes in (
        ("model.attention.window needs 1 or 3", {"attention": AttentionSpec(window=(2, 2))}),
        ("head_channels must divide", {"attention": AttentionSpec("global", head_channels=24)}),
        ("model.patch must be in", {"patch": (0,)}),
        ("model.residual_scale", {"residual_scale": 0.0}),
        ("model.downsampling must be", {"downsampling": "pool"}),
        ("model.head_kernel must be", {"head_kernel": 2}),
        ("model.widening must be", {"widening": "head"}),
    ):
        with pytest.raises(ConfigError, match=message):
            VAEConfig(spatial_dims=3, **changes)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"levels.0.attention must be"):
        CustomVAE(VAEConfig(levels=[LevelSpec(8, attention="local")]))


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    CustomVAE(VAEConfig(levels=[LevelSpec(8)])).save_pretrained(tmp_path / "w")
    path = tmp_path / "w" / "config.json"
    values = json.loads(path.read_text())
    values["architecture"]["levels"][0]["channels"] = 16
    path.write_text(json.dumps(values))
    with pytest.raises(RunError, match="fit no architecture"):
        CustomVAE.from_pretrained(tmp_path / "w")
    values["architecture"]["import_me"] = "os.system"
    path.write_text(json.dumps(values))
    with pytest.raises(RunError, match="fit no architecture"):
        CustomVAE.from_pretrained(tmp_path / "w")


def test_the_default_is_small() -> None:
    config = composed("train", "model=small")
    assert isinstance(config, TrainConfig)
    assert config.model == VAEConfig()


def write_golden() -> None:
    """Write the current presets as the expected ones."""
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(presets(), indent=1) + "\n")


if __name__ == "__main__":
    write_golden()
