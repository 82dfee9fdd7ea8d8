"""Wavelets and overlapping heads in place of blocks: inverses, interpolations, the same slabs."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.conftest import tiny_model
from tests.laws.test_streaming import an_image, network
from tests.model.test_options import gradient_width
from vae3d.autoencoder.fingerprints import Fingerprints
from vae3d.autoencoder.summary import receptive_field
from vae3d.autoencoder.vae import CustomVAE
from vae3d.errors import ConfigError
from vae3d.exchange.programs import write_graphs
from vae3d.exchange.to_monai import why_not_monai
from vae3d.layers.folding import pixel_shuffle, pixel_unshuffle
from vae3d.model.config import LevelSpec, VAEConfig
from vae3d.model.heads import OVERLAP_HEADS, window_of
from vae3d.model.wavelets import wavelet

PATCHES = [(2, 2), (1, 2), (2, 2, 2), (1, 2, 2), (2, 1, 1)]
ENDS: list[dict[str, Any]] = [{"folding": "haar"}, {"folding": "cdf53"}, {"head_overlap": True}]


def picture(patches: tuple[int, ...], channels: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    size = [p * n for p, n in zip(patches, (5, 3, 4), strict=False)]
    return torch.rand(2, channels, *size, generator=generator, dtype=torch.float64)


def along(signal: np.ndarray, kind: str) -> np.ndarray:
    """The wavelet of the last axis, in the order of the voxels: by the formulas of its steps."""
    x = signal.astype(np.float64).copy()
    n = x.shape[-1]

    def reflected(place: int) -> int:
        return -place if place < 0 else 2 * (n - 1) - place if place >= n else place

    for i in range(1, n, 2):
        if kind == "haar":
            x[..., i] -= x[..., i - 1]
        else:
            x[..., i] -= (x[..., i - 1] + x[..., reflected(i + 1)]) / 2
    for i in range(0, n, 2):
        if kind == "haar":
            x[..., i] += x[..., i + 1] / 2
        else:
            x[..., i] += (x[..., reflected(i - 1)] + x[..., i + 1]) / 4
    return x


@pytest.mark.parametrize("kind", ["haar", "cdf53"])
@pytest.mark.parametrize("patches", PATCHES, ids=str)
def test_it_is_the_wavelet_of_jpeg_2000(patches: tuple[int, ...], kind: str) -> None:
    image = picture(patches)
    expected = image.numpy()
    for axis, side in enumerate(patches, start=2):
        if side > 1:
            expected = np.moveaxis(along(np.moveaxis(expected, axis, -1), kind), -1, axis)
    folded = pixel_unshuffle(image, patches)
    found = wavelet(kind, patches)(folded)
    np.testing.assert_allclose(pixel_shuffle(found, patches).numpy(), expected, atol=1e-12)
    back = wavelet(kind, patches, inverse=True)(found)
    torch.testing.assert_close(back, folded, atol=1e-12, rtol=0)


def test_coarse_images_are_means_and_lines_have_no_details() -> None:
    image = picture((2, 2, 2), channels=1)
    coarse = wavelet("haar", (2, 2, 2))(pixel_unshuffle(image, (2, 2, 2)))[:, :1]
    torch.testing.assert_close(coarse, F.avg_pool3d(image, 2))
    ramp = torch.arange(16, dtype=torch.float64).expand(1, 1, 8, 16)
    details = wavelet("cdf53", (2, 2))(pixel_unshuffle(ramp, (2, 2)))[:, 1:]
    assert details[..., :-1].abs().max() < 1e-12, "but where the ramp is reflected"
    folded = torch.zeros(1, 8, 5, 3, 4, dtype=torch.float64)
    folded[:, :1] = picture((1, 1, 1), channels=1)[:1]
    image = pixel_shuffle(wavelet("cdf53", (2, 2, 2), inverse=True)(folded), (2, 2, 2))
    odd = image[:, :, 1:-1:2]
    torch.testing.assert_close(odd, (image[:, :, :-2:2] + image[:, :, 2::2]) / 2)


@pytest.mark.parametrize("patches", [(2, 2), (3, 2), (1, 4), (2, 2, 2), (1, 2, 3)], ids=str)
def test_overlapping_windows_add_up_to_one(patches: tuple[int, ...]) -> None:
    weight = torch.empty(2 * math.prod(patches), 1, *(3,) * len(patches))
    sums = window_of(patches, weight).flatten(1).sum(dim=1)
    unfolded = math.prod(3 for side in patches if side == 1)
    torch.testing.assert_close(sums, torch.full_like(sums, unfolded))


@pytest.mark.parametrize("patches", [(2, 2), (3, 2), (2, 2, 2), (1, 2, 3)], ids=str)
def test_an_overlapping_head_is_a_transposed_convolution(patches: tuple[int, ...]) -> None:
    """With a stride of the cell: each paints its window, and the windows are added."""
    dims, parts = len(patches), math.prod(patches)
    torch.manual_seed(0)
    head = OVERLAP_HEADS[dims](3, 2 * parts, patches).double()
    x = torch.randn(2, 3, *(4, 3, 5)[:dims], dtype=torch.float64, requires_grad=True)
    window = window_of(patches, head.weight)
    # The weights of cell k for voxel n of its own cell are those of the transposed kernel there.
    kernel = torch.zeros(3, 2, *(3 * p for p in patches), dtype=torch.float64)
    for place in itertools.product(*(range(3 * p) for p in patches)):
        voxel = [n % p for n, p in zip(place, patches, strict=True)]
        cell = [2 - n // p for n, p in zip(place, patches, strict=True)]
        phase = int(np.ravel_multi_index(voxel, patches))
        for channel in range(2):
            row = channel * parts + phase
            weights = head.weight[(row, slice(None), *cell)] * window[(row, slice(None), *cell)]
            kernel[(slice(None), channel, *place)] = weights
    edges = F.pad(x, [1] * 2 * dims, mode="replicate")
    transposed = {2: F.conv_transpose2d, 3: F.conv_transpose3d}[dims]
    painted = transposed(edges, kernel, stride=patches, padding=[2 * p for p in patches])  # type: ignore[operator]
    bias = head.bias.view(1, 2, parts, *(1,) * dims)
    image = pixel_shuffle(head(x), patches)
    expected = painted + pixel_shuffle(
        bias.expand(2, 2, parts, *x.shape[2:]).flatten(1, 2), patches
    )
    torch.testing.assert_close(image, expected, atol=1e-10, rtol=0)
    weight = torch.randn_like(image)
    ours, others = (torch.autograd.grad((y * weight).sum(), [x, head.weight], retain_graph=True)
                    for y in (image, expected))  # fmt: skip
    for one, other in zip(ours, others, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=0)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("side", [2, 3, 4])
def test_an_overlapping_head_starts_as_linear_interpolation(dims: int, side: int) -> None:
    torch.manual_seed(0)
    model = CustomVAE(tiny_model(dims, patch=(side,), head_overlap=True, in_channels=2))
    head = model.decoder.head
    x = torch.randn(2, 4, *(3, 4, 5)[:dims])
    weight = head.weight[:: side**dims].flatten(2)[..., 0]
    cells = torch.einsum("oi,bi...->bo...", weight, x)
    mode = {2: "bilinear", 3: "trilinear"}[dims]
    expected = F.interpolate(cells, scale_factor=side, mode=mode)
    bias = head.bias[:: side**dims].view(1, 2, *(1,) * dims)
    with torch.no_grad():
        image = pixel_shuffle(head(x), (side,) * dims)
    torch.testing.assert_close(image, expected + bias, atol=1e-5, rtol=0)
    assert float(cells.detach().std()) > 0.1


@pytest.mark.parametrize("kind", ["haar", "cdf53"])
def test_a_wavelet_starts_without_details(kind: str) -> None:
    torch.manual_seed(0)
    model = CustomVAE(tiny_model(patch=(2,), folding=kind))
    with torch.no_grad():
        image = model.decode(torch.randn(1, 4, 3, 3, 3))
    details = wavelet(kind, (2, 2, 2))(pixel_unshuffle(image, (2, 2, 2)))[:, 1:]
    assert details.abs().max() < 1e-5
    decoded = model.decode(torch.randn(1, 4, 3, 3, 3))
    (decoded - torch.randn_like(decoded)).square().mean().backward()
    gradient = model.decoder.head.weight.grad
    assert gradient is not None
    assert (gradient.flatten(1).abs().amax(dim=1) > 0).all(), "and learns them"


@pytest.mark.parametrize("ends", ENDS, ids=str)
@pytest.mark.parametrize("dims", [2, 3])
def test_networks_with_them_work(tmp_path: Path, dims: int, ends: dict[str, Any]) -> None:
    config = tiny_model(dims, patch=(2,), in_channels=2, **ends)
    model = network(config)
    image = an_image(model, (9, 7, 6)[:dims])
    model.save_pretrained(tmp_path / "weights")
    again = CustomVAE.from_pretrained(tmp_path / "weights")
    with torch.no_grad():
        assert torch.equal(again(image).reconstruction, model(image).reconstruction)
    (model.train()(image).reconstruction - image).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.decoder.parameters())
    assert {r.split("=")[0] for r in why_not_monai(config)} >= {f"model.{next(iter(ends))}"}
    if dims == 3 and "head_overlap" in ends:
        plain = Fingerprints.of(tiny_model(patch=(2,), in_channels=2), model.state_dict())
        assert Fingerprints.of(config, model.state_dict()).encoder == plain.encoder


@pytest.mark.extras
@pytest.mark.parametrize("ends", ENDS, ids=str)
@pytest.mark.parametrize("to", ["torch", "onnx"])
def test_graphs_agree(to: str, ends: dict[str, Any], tmp_path: Path) -> None:
    if to == "onnx":
        pytest.importorskip("onnxruntime")
    model = network(tiny_model(patch=(2,), **ends))
    assert max(write_graphs(model, to, tmp_path).values()) < 1e-4


@pytest.mark.parametrize("ends", [*ENDS, {}], ids=str)
def test_the_receptive_field_bounds_the_gradient(ends: dict[str, Any]) -> None:
    config = VAEConfig(
        spatial_dims=2, levels=[LevelSpec(4), LevelSpec(4, stride=(2,))], zero_init=False,
        smooth_init=False, **ends,
    )  # fmt: skip
    field = receptive_field(config)
    assert field is not None
    torch.manual_seed(0)
    assert 0.5 * field[0] < gradient_width(CustomVAE(config)) <= field[0]


def test_impossible_ends_are_named() -> None:
    for message, changes in (
        (r"folding=haar needs a model.patch of 1 or 2", {"folding": "haar", "patch": (4,)}),
        (r"folding=cdf53 folds nothing", {"folding": "cdf53", "patch": (1,)}),
        (r"head_overlap=true needs model.head_kernel=3", {"head_overlap": True, "head_kernel": 1}),
        (r"needs model.folding=blocks", {"head_overlap": True, "folding": "haar"}),
        (r"needs a model.patch above 1", {"head_overlap": True, "patch": (1,)}),
    ):
        with pytest.raises(ConfigError, match=message):
            VAEConfig(**changes)  # type: ignore[arg-type]
