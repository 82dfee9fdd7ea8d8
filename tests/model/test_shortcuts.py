"""Shortcuts around changes of resolution: the paper's operations, voxel by voxel."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.conftest import tiny_model
from tests.laws.test_streaming import an_image, network
from vae3d.autoencoder.vae import CustomVAE
from vae3d.exchange.programs import write_graphs
from vae3d.exchange.to_monai import why_not_monai
from vae3d.model.config import DOWNSAMPLINGS, UPSAMPLINGS, WIDENINGS, LevelSpec, VAEConfig
from vae3d.model.shortcuts import DownShortcut, UpShortcut, with_channels

STRIDES = [(2, 2), (3, 1), (2, 2, 2), (1, 2, 2), (4, 1, 2)]


class Nothing(nn.Module):
    """A layer whose output adds nothing."""

    def forward(self, x: Tensor) -> int:
        return 0


@pytest.mark.parametrize("channels", [(4, 8), (8, 4), (2, 32), (6, 9), (5, 7)], ids=str)
@pytest.mark.parametrize("stride", STRIDES, ids=str)
def test_downsampling_averages_groups_of_channels(
    stride: tuple[int, ...], channels: tuple[int, int]
) -> None:
    inputs, outputs = channels
    x = torch.randn(2, inputs, *(2 * s for s in stride), dtype=torch.float64)
    found = DownShortcut(Nothing(), outputs, stride)(x).numpy()
    assert found.shape == (2, outputs, *(2,) * len(stride))
    count = inputs * math.prod(stride)
    for cell in itertools.product(range(2), repeat=len(stride)):
        box = (..., *(slice(n * s, (n + 1) * s) for n, s in zip(cell, stride, strict=True)))
        # Channel by channel, and in each the voxels of the block; every output has its share.
        values = x.numpy()[box].reshape(2, count)
        repeated = values.repeat(outputs, axis=1).reshape(2, outputs, count)
        np.testing.assert_allclose(found[(slice(None), slice(None), *cell)], repeated.mean(2))


@pytest.mark.parametrize("channels", [(8, 4), (4, 8), (32, 2), (9, 6), (7, 5)], ids=str)
@pytest.mark.parametrize("stride", STRIDES, ids=str)
def test_upsampling_repeats_channels(stride: tuple[int, ...], channels: tuple[int, int]) -> None:
    inputs, outputs = channels
    x = torch.randn(2, inputs, *(3,) * len(stride), dtype=torch.float64)
    found = UpShortcut(Nothing(), outputs, stride)(x).numpy()
    count = outputs * math.prod(stride)
    for cell in itertools.product(range(3), repeat=len(stride)):
        values = x.numpy()[(slice(None), slice(None), *cell)]
        shares = values.repeat(count, axis=1).reshape(2, count, inputs).mean(2)
        box = (..., *(slice(n * s, (n + 1) * s) for n, s in zip(cell, stride, strict=True)))
        np.testing.assert_allclose(found[box].reshape(2, count), shares)


def test_what_is_repeated_is_averaged_back() -> None:
    x = torch.randn(2, 6, 3, 4)
    assert torch.equal(with_channels(x, 6), x)
    torch.testing.assert_close(with_channels(with_channels(x, 18), 6), x)
    pooled = nn.functional.adaptive_avg_pool1d(x.flatten(2).transpose(1, 2), 3)
    torch.testing.assert_close(with_channels(x, 3).flatten(2), pooled.transpose(1, 2))


@pytest.mark.parametrize("widening", WIDENINGS)
@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
@pytest.mark.parametrize("downsampling", DOWNSAMPLINGS)
def test_a_network_is_that_without_plus_its_shortcuts(
    upsampling: str, downsampling: str, widening: str
) -> None:
    levels = [LevelSpec(4, blocks=0), LevelSpec(8, blocks=0, stride=(1, 2, 4))]
    same = {"levels": levels, "upsampling": upsampling, "downsampling": downsampling}
    config = VAEConfig(**same, widening=widening, shortcuts=True)  # type: ignore[arg-type]
    plain = VAEConfig(**same, widening=widening)  # type: ignore[arg-type]
    model, without = network(config).double(), network(plain).double()
    names = {name.replace(".main", ""): value for name, value in model.state_dict().items()}
    without.load_state_dict(names, strict=True)
    x = torch.randn(1, 4, 2, 4, 8, dtype=torch.float64)
    down, up = model.encoder.levels[1].downsample, model.decoder.levels[0].upsample
    other = without.encoder.levels[1].downsample(x)
    torch.testing.assert_close(down(x), other + down.shortcut(x))
    y = torch.randn(1, 8, 2, 3, 2, dtype=torch.float64)
    other = without.decoder.levels[0].upsample(y)
    torch.testing.assert_close(up(y), other + up.shortcut(y))
    assert not any("shortcut" in name for name in model.state_dict())


def test_first_levels_without_a_stride_have_none() -> None:
    model = CustomVAE(tiny_model(shortcuts=True))
    shortcuts = [m for m in model.modules() if isinstance(m, DownShortcut | UpShortcut)]
    assert len(shortcuts) == 2


@pytest.mark.extras
@pytest.mark.parametrize("to", ["torch", "onnx"])
def test_graphs_have_them_and_monai_does_not(to: str, tmp_path: Path) -> None:
    if to == "onnx":
        pytest.importorskip("onnxruntime")
    config = tiny_model(shortcuts=True)
    assert max(write_graphs(network(config), to, tmp_path).values()) < 1e-4
    assert [r for r in why_not_monai(config) if r.startswith("model.shortcuts=true: ")]


def test_weights_come_back(tmp_path: Path) -> None:
    model = network(tiny_model(shortcuts=True))
    model.save_pretrained(tmp_path / "weights")
    image = an_image(model, (9, 8, 7))
    again = CustomVAE.from_pretrained(tmp_path / "weights")
    with torch.no_grad():
        assert torch.equal(again(image).reconstruction, model(image).reconstruction)
