"""Law 2: any size goes in and the same size comes out. Law 7: depth 1 in 3D is 2D."""

import pytest
import torch

from tests.conftest import assert_same_output, tiny_model
from vae3d.autoencoder.vae import CustomVAE
from vae3d.inference.config import InferenceConfig
from vae3d.inference.runner import build_runner
from vae3d.model.config import UPSAMPLINGS, LevelSpec, VAEConfig
from vae3d.runtime.precision import Precision

CPU = torch.device("cpu")

SHAPES = [(21, 24, 24), (1, 24, 24), (5, 7, 3), (1, 1, 1), (16, 16, 16), (17, 33), (1, 9), (2, 2)]
FP32 = Precision("fp32", torch.device("cpu"))


@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_forward_keeps_the_size(shape: tuple[int, ...], upsampling: str) -> None:
    levels = [LevelSpec(4), LevelSpec(4, stride=(2,)), LevelSpec(8, stride=(3,) * len(shape))]
    model = CustomVAE(VAEConfig(spatial_dims=len(shape), levels=levels, upsampling=upsampling))
    output = model(torch.zeros(2, 1, *shape))
    assert output.reconstruction.shape == (2, 1, *shape)
    assert tuple(output.latent.shape[2:]) == model.latent_size(shape)


@pytest.mark.parametrize("mode", ["full", "patch"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_reconstruction_keeps_the_size(shape: tuple[int, ...], mode: str) -> None:
    model = CustomVAE(tiny_model(len(shape)))
    config = InferenceConfig(size=(7,), overlap=0.5, batch_size=3)
    result = build_runner(config, mode, model, CPU, FP32).reconstruct(
        torch.rand(1, *shape) * 2 - 1
    )
    assert result.shape == (1, *shape)
    assert result.isfinite().all()


@pytest.mark.parametrize("stride", [(1, 2, 2), (1, 3, 1), (1, 4, 2), (1, 5, 8)], ids=str)
def test_strides_differ_per_axis(stride: tuple[int, ...]) -> None:
    model = CustomVAE(VAEConfig(levels=[LevelSpec(4, stride=stride)], patch=(1,)))
    assert model.factor == stride
    image = torch.zeros(1, 1, 3, 17, 16)
    assert tuple(model.encode(image).mean.shape[2:]) == model.latent_size((3, 17, 16))
    assert model(image).reconstruction.shape == image.shape


@pytest.mark.parametrize("norm", ["layer", "rms", "group", "instance", "batch", "none"])
@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
def test_depth_one_is_two_dimensional(norm: str, upsampling: str) -> None:
    def build(dims: int) -> CustomVAE:
        stride = (2, 4) if dims == 2 else (1, 2, 4)
        levels = [LevelSpec(8), LevelSpec(8, stride=stride)]
        patch = (2, 2) if dims == 2 else (1, 2, 2)
        return CustomVAE(
            VAEConfig(
                spatial_dims=dims, levels=levels, norm=norm, upsampling=upsampling, patch=patch
            )
        ).eval()

    torch.manual_seed(0)
    flat, deep = build(2), build(3)
    with torch.no_grad():
        for name, weight in deep.state_dict().items():
            other = flat.state_dict()[name]
            if weight.dim() == 5:
                # Along a depth of one only the central plane of a kernel meets voxels.
                weight.copy_(torch.randn_like(weight) / 10)
                weight[:, :, weight.shape[2] // 2] = other
            else:
                weight.copy_(other)
        image = torch.randn(2, 1, 17, 24)
        expected, found = flat(image), deep(image[:, :, None])
    assert_same_output(found.reconstruction[:, :, 0], expected.reconstruction, flat)
    assert_same_output(found.posterior.logvar[:, :, 0], expected.posterior.logvar, flat)
