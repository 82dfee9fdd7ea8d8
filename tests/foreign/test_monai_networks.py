"""`autoencoder=monai`: MONAI's networks through vae3d's runner are MONAI's own."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.foreign.networks import MONAI, monai_network
from vae3d.autoencoder.config import MonaiConfig
from vae3d.commands.eval import EvalConfig
from vae3d.commands.eval_run import evaluate
from vae3d.data.config import SyntheticConfig
from vae3d.errors import UserError
from vae3d.evaluation.config import EvaluationConfig
from vae3d.foreign.autoencoder import ForeignAutoencoder
from vae3d.foreign.build import open_autoencoder
from vae3d.inference.config import InferenceConfig
from vae3d.inference.runner import build_runner
from vae3d.patching.blending import PatchAggregator
from vae3d.patching.samplers import GridPatches
from vae3d.runtime.precision import Precision

pytestmark = pytest.mark.extras
CPU = torch.device("cpu")
PRECISION = Precision("fp32", CPU)
ROUNDING = 1e-6


def opened(name: str, path: Path, dims: int = 3, **changes: Any) -> ForeignAutoencoder:
    config = MonaiConfig(path=str(path), network=name, **{"options": MONAI[name], **changes})
    return open_autoencoder(config, dims, CPU)


def image_of(*shape: int) -> torch.Tensor:
    return torch.rand(1, *shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


@torch.no_grad()
def by_monai(network: Any, image: torch.Tensor) -> torch.Tensor:
    """The reconstruction of an image in [-1, 1] by MONAI's own code, in its range [0, 1]."""
    images = (image[None] + 1) / 2
    is_kl = hasattr(network, "reconstruct")
    out: torch.Tensor = network.reconstruct(images) if is_kl else network(images)[0]
    return (out[0] * 2 - 1).clamp(-1, 1)


@pytest.mark.parametrize("name", MONAI)
def test_the_reconstruction_is_monais_own(name: str, tmp_path: Path) -> None:
    network = monai_network(name, tmp_path / "weights.pt")
    model, image = opened(name, tmp_path / "weights.pt"), image_of(12, 16, 20)
    runner = build_runner(InferenceConfig(), "full", model, CPU, PRECISION)
    expected = by_monai(network, image)
    assert expected.std() > 0
    assert torch.allclose(runner.reconstruct(image), expected, atol=ROUNDING)
    with torch.no_grad():
        if name != "VQVAE":
            mean, std = network.encode((image[None] + 1) / 2)
            posterior = runner.encode(image)
            assert torch.allclose(posterior.mean, mean, atol=ROUNDING)
            assert torch.allclose(posterior.std, std, rtol=1e-5)
            assert model.latent_bits((12, 16, 20)) == 16 * mean.numel()
        else:
            index = network.index_quantize((image[None] + 1) / 2)
            assert model.latent_values((12, 16, 20)) == index.numel()
            assert model.latent_bits((12, 16, 20)) == index.numel() * math.log2(16)


def test_images_of_other_sizes_are_padded_with_their_last_voxels(tmp_path: Path) -> None:
    network = monai_network("AutoencoderKL", tmp_path / "weights.pt")
    model, image = opened("AutoencoderKL", tmp_path / "weights.pt"), image_of(7, 9, 8)
    padded = torch.cat([image, image[:, -1:]], 1)
    padded = torch.cat([padded, padded[:, :, -1:]], 2)
    runner = build_runner(InferenceConfig(), "full", model, CPU, PRECISION)
    expected = by_monai(network, padded)[:, :7, :9]
    assert torch.allclose(runner.reconstruct(image), expected, atol=ROUNDING)


@pytest.mark.parametrize(("axis", "number"), [("depth", 0), ("height", 1), ("width", 2)])
def test_a_network_of_images_takes_slices(axis: str, number: int, tmp_path: Path) -> None:
    network = monai_network("AutoencoderKL", tmp_path / "weights.pt", spatial_dims=2)
    options = {**MONAI["AutoencoderKL"], "spatial_dims": 2}
    model = opened("AutoencoderKL", tmp_path / "weights.pt", options=options, axis=axis)
    image = image_of(10, 12, 14)
    expected = torch.stack([by_monai(network, p) for p in image.unbind(1 + number)], 1 + number)
    runner = build_runner(InferenceConfig(), "full", model, CPU, PRECISION)
    # A batch of slices is summed in another order than one.
    assert torch.allclose(runner.reconstruct(image), expected, atol=1e-5)


def test_patches_are_those_of_a_slow_reference(tmp_path: Path) -> None:
    network = monai_network("AutoencoderKL", tmp_path / "weights.pt")
    model, image = opened("AutoencoderKL", tmp_path / "weights.pt"), image_of(12, 16, 10)
    config = InferenceConfig(size=8, overlap=0.5, batch_size=1)
    found = build_runner(config, "patch", model, CPU, PRECISION).reconstruct(image)
    grid = GridPatches((8, 8, 8), 0.5).regions((12, 16, 10), (2, 2, 2))
    slow = PatchAggregator(grid, 1, (12, 16, 10), "hann", CPU)
    for region in grid:
        part = (region.cut(image)[None] + 1) / 2
        with torch.no_grad():
            slow.add(network.reconstruct(part)[0] * 2 - 1, region)
    assert torch.allclose(found, slow.volume().clamp(-1, 1), atol=ROUNDING)


@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_an_evaluation_writes_the_same_report(suffix: str, tmp_path: Path) -> None:
    monai_network("AutoencoderKL", tmp_path / "weights.pt")
    file = tmp_path / f"network{suffix}"
    write = json.dumps if suffix == ".json" else yaml.safe_dump
    file.write_text(write(MONAI["AutoencoderKL"]))
    config = EvalConfig(
        autoencoder=MonaiConfig(path=str(tmp_path / "weights.pt"), config=str(file)),
        data=SyntheticConfig(shape=(16, 16, 16), count=2, store=None),
        evaluation=EvaluationConfig(media=["png"], metrics=["psnr"], media_cases=1),
        device="cpu",
        output=str(tmp_path / "report"),
    )
    result = evaluate(config)
    assert len(result.cases) == 2
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert summary["compression"]["latent_shape"] == [2, 8, 8, 8]
    assert len(summary["latents"]["channels"]) == 2
    assert (tmp_path / "report" / "index.html").exists()


def broken(path: Path, **tensors: Any) -> Path:
    state = torch.load(path, weights_only=True)
    for name in tensors.pop("without", ()):
        del state[name]
    torch.save({**state, **tensors}, path)
    return path


OPTIONS = MONAI["AutoencoderKL"]
BAD_OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": ({**OPTIONS, "layers": 3}, "has no arguments layers"),
    "missing": ({"channels": [4, 8]}, "needs its arguments spatial_dims, in_channels"),
    "wrong": ({**OPTIONS, "norm_num_groups": 3}, "do not fit AutoencoderKL"),
    "other": ({**OPTIONS, "latent_channels": 3}, r"of another shape are .* \(2,"),
    "deeper": (
        {**OPTIONS, "channels": [4, 8, 8], "num_res_blocks": 1, "attention_levels": [False] * 3},
        "it lacks .* more",
    ),
    "endless": ({**OPTIONS, "num_res_blocks": 10**9}, "a network of more than .* tensors"),
    "wide": ({**OPTIONS, "channels": [10**9, 10**9]}, "do not fit AutoencoderKL"),
    "levels": (
        {**OPTIONS, "channels": [4] * 10**4, "attention_levels": [False] * 10**4},
        "a network of more than .* tensors",
    ),
}


@pytest.mark.parametrize("kind", BAD_OPTIONS)
def test_arguments_that_do_not_fit_are_one_line(kind: str, tmp_path: Path) -> None:
    monai_network("AutoencoderKL", tmp_path / "weights.pt")
    options, reason = BAD_OPTIONS[kind]
    with pytest.raises(UserError, match=reason) as error:
        opened("AutoencoderKL", tmp_path / "weights.pt", options=options)
    assert "\n" not in str(error.value)


def test_a_codebook_network_without_an_end_is_refused(tmp_path: Path) -> None:
    monai_network("VQVAE", tmp_path / "weights.pt")
    options = {**MONAI["VQVAE"], "num_res_layers": 10**9}
    with pytest.raises(UserError, match=r"a network of more than .* tensors"):
        opened("VQVAE", tmp_path / "weights.pt", options=options)


def test_weights_of_another_network_name_the_first_tensors(tmp_path: Path) -> None:
    monai_network("VQVAE", tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"it lacks encoder.*and .* more; it has also"):
        opened("AutoencoderKL", tmp_path / "weights.pt")


def test_a_network_of_volumes_takes_no_images(tmp_path: Path) -> None:
    monai_network("AutoencoderKL", tmp_path / "weights.pt")
    with pytest.raises(UserError, match="is for volumes, these data are images"):
        opened("AutoencoderKL", tmp_path / "weights.pt", dims=2)
    with pytest.raises(UserError, match="has no effect"):
        opened("AutoencoderKL", tmp_path / "weights.pt", axis="depth")


def test_a_config_that_names_code_is_refused(tmp_path: Path) -> None:
    monai_network("AutoencoderKL", tmp_path / "weights.pt")
    (tmp_path / "c.json").write_text(json.dumps({"_target_": "os.system", **OPTIONS}))
    with pytest.raises(UserError, match="_target_"):
        opened("AutoencoderKL", tmp_path / "weights.pt", config=str(tmp_path / "c.json"))
