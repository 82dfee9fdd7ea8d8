"""`autoencoder=diffusers`: diffusers' networks through vae3d's runner are diffusers' own."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.foreign.networks import DIFFUSERS, diffusers_network
from vae3d.autoencoder.config import DiffusersConfig
from vae3d.commands.eval import EvalConfig
from vae3d.commands.eval_run import evaluate
from vae3d.data.config import SyntheticConfig
from vae3d.errors import UserError
from vae3d.evaluation.config import EvaluationConfig
from vae3d.foreign.autoencoder import ForeignAutoencoder
from vae3d.foreign.build import open_autoencoder
from vae3d.inference.config import InferenceConfig
from vae3d.inference.runner import build_runner
from vae3d.runtime.precision import Precision

pytestmark = pytest.mark.extras
CPU = torch.device("cpu")
ROUNDING = 1e-5
VIDEO = [name for name in DIFFUSERS if name != "AutoencoderKL"]
FACTORS = {
    "AutoencoderKL": (1, 4, 4),
    "AutoencoderKLWan": (4, 4, 4),
    "AutoencoderKLLTXVideo": (8, 32, 32),
    "AutoencoderKLCogVideoX": (4, 4, 4),
    "AutoencoderKLCosmos": (8, 8, 8),
}
FRAMES = {"AutoencoderKLWan": 13, "AutoencoderKLLTXVideo": 17, "AutoencoderKLCogVideoX": 17}
"""What 11 frames are padded to, 17 where it is not named."""


def opened(folder: Path, dims: int = 3, **changes: Any) -> ForeignAutoencoder:
    return open_autoencoder(DiffusersConfig(path=str(folder), **changes), dims, CPU)


def reconstructed(model: ForeignAutoencoder, image: torch.Tensor) -> torch.Tensor:
    precision = Precision("fp32", CPU)
    return build_runner(InferenceConfig(), "full", model, CPU, precision).reconstruct(image)


def image_of(*shape: int) -> torch.Tensor:
    return torch.rand(1, *shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


@torch.no_grad()
def by_diffusers(network: Any, image: torch.Tensor) -> torch.Tensor:
    """The reconstruction (1, *spatial) of an image, as three equal channels, and their mean."""
    latent = network.encode(image[None].expand(1, 3, *image.shape[1:])).latent_dist.mode()
    images: torch.Tensor = network.decode(latent).sample[0]
    return images.mean(0, keepdim=True).clamp(-1, 1)


@pytest.mark.parametrize(("axis", "number"), [(None, 0), ("height", 1), ("width", 2)])
def test_slices_are_diffusers_own(axis: str | None, number: int, tmp_path: Path) -> None:
    network = diffusers_network("AutoencoderKL", tmp_path)
    image = image_of(12, 16, 20)
    slices = [by_diffusers(network, part) for part in image.unbind(1 + number)]
    found = reconstructed(opened(tmp_path, axis=axis), image)
    assert torch.allclose(found, torch.stack(slices, 1 + number), atol=ROUNDING)


@pytest.mark.parametrize("name", VIDEO)
def test_frames_are_padded_as_each_network_needs(name: str, tmp_path: Path) -> None:
    """Depth 11 becomes n k + 1 frames; the last slice is repeated, and cut off again."""
    network = diffusers_network(name, tmp_path)
    model = opened(tmp_path)
    assert model.factor == FACTORS[name]
    image = image_of(11, 32, 32)
    frames = FRAMES.get(name, 17)
    padded = torch.cat([image, *[image[:, -1:]] * (frames - 11)], 1)
    expected = by_diffusers(network, padded)[:, :11]
    assert torch.allclose(reconstructed(model, image), expected, atol=ROUNDING)
    posterior = model.encode(image[None])
    assert posterior.mean.shape[2:] == model.latent_size((11, 32, 32))
    assert model.latent_size((11, 32, 32))[0] == 1 + (frames - 1) // FACTORS[name][0]
    assert model.latent_values((11, 32, 32)) == posterior.mean.numel()


def test_any_axis_can_be_the_time(tmp_path: Path) -> None:
    network = diffusers_network("AutoencoderKLWan", tmp_path)
    image = image_of(16, 12, 9)
    model = opened(tmp_path, axis="width")
    assert model.factor == (4, 4, 4)
    expected = by_diffusers(network, image.movedim(3, 1)).movedim(1, 3)
    assert torch.allclose(reconstructed(model, image), expected, atol=ROUNDING)


def test_images_are_taken_as_they_are(tmp_path: Path) -> None:
    network = diffusers_network("AutoencoderKL", tmp_path)
    image = image_of(16, 20)
    found = reconstructed(opened(tmp_path, dims=2), image)
    assert torch.allclose(found, by_diffusers(network, image), atol=ROUNDING)


@pytest.mark.parametrize("mode", ["full", "patch"])
@pytest.mark.parametrize("name", ["AutoencoderKL", "AutoencoderKLWan"])
def test_an_evaluation_writes_the_same_report(name: str, mode: str, tmp_path: Path) -> None:
    diffusers_network(name, tmp_path / "vae")
    config = EvalConfig(
        autoencoder=DiffusersConfig(path=str(tmp_path / "vae")),
        data=SyntheticConfig(shape=(16, 16, 16), count=2, store=None),
        evaluation=EvaluationConfig(
            media=[], metrics=["psnr"], inference=InferenceConfig(size=12)
        ),
        mode=mode,
        device="cpu",
        output=str(tmp_path / "report"),
    )
    result = evaluate(config)
    assert len(result.cases) == 2
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert summary["protocol"]["mode"] == mode
    assert summary["compression"]["factor"] == [*FACTORS[name]]
    assert (tmp_path / "report" / "index.html").exists()


def no_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def no_tensors(folder: Path) -> None:
    (folder / "diffusion_pytorch_model.safetensors").unlink()


def damaged(folder: Path) -> None:
    path = folder / "diffusion_pytorch_model.safetensors"
    path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:])


def changed(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


BAD: dict[str, Any] = {
    "is no folder": no_folder,
    "config.json: No such file": no_config,
    "safetensors: No such file": no_tensors,
    "is no AutoencoderKL that diffusers can load": damaged,
    "is of 'UNet2DModel', not one of": lambda f: changed(f, _class_name="UNet2DModel"),
    "is of a quantized network": lambda f: changed(f, quantization_config={"a": 1}),
    "that diffusers can load.*": lambda f: changed(f, latent_channels=8),
    "describes a network of .* parameters, more than": lambda f: changed(
        f, block_out_channels=[16384, 16384, 16384]
    ),
    "describe a network of more than .* tensors": lambda f: changed(f, layers_per_block=10**9),
    "it lacks decoder.*more": lambda f: changed(f, layers_per_block=2),
}


@pytest.mark.parametrize("reason", BAD)
def test_other_folders_are_refused_in_one_line(reason: str, tmp_path: Path) -> None:
    folder = tmp_path / "vae"
    diffusers_network("AutoencoderKL", folder)
    BAD[reason](folder)
    with pytest.raises(UserError, match=reason) as error:
        opened(folder)
    assert "\n" not in str(error.value)


def test_a_network_of_video_takes_no_images(tmp_path: Path) -> None:
    diffusers_network("AutoencoderKLWan", tmp_path)
    with pytest.raises(UserError, match="is for volumes, these data are images"):
        opened(tmp_path, dims=2)
    with pytest.raises(UserError, match="is of AutoencoderKLWan"):
        opened(tmp_path, network="AutoencoderKL")
