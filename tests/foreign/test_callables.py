"""`autoencoder=python`: a toy autoencoder, scored as its own code reconstructs."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.conftest import run_distributed, vae3d
from tests.foreign import toy
from vae3d.autoencoder.config import (
    CallableConfig,
    DiffusersConfig,
    ForeignConfig,
    MonaiConfig,
    OwnConfig,
)
from vae3d.commands.compare import CompareConfig
from vae3d.commands.compare_run import compare
from vae3d.commands.eval import EvalConfig
from vae3d.commands.eval_run import evaluate
from vae3d.data.build import open_cases
from vae3d.data.config import SyntheticConfig
from vae3d.errors import ConfigError, UserError
from vae3d.evaluation.config import EvaluationConfig
from vae3d.foreign.autoencoder import ForeignAutoencoder
from vae3d.foreign.build import open_autoencoder
from vae3d.inference.config import InferenceConfig
from vae3d.inference.runner import build_runner
from vae3d.logger.console import ProgressBar
from vae3d.model.sizes import cropped
from vae3d.report.result import EvaluationResult
from vae3d.runtime.precision import Precision
from vae3d.scoring.codecs import downsampled

CPU = torch.device("cpu")
SHAPE = (12, 17, 14)


def opened(name: str = "Mean", spatial_dims: int = 3, **changes: Any) -> ForeignAutoencoder:
    config = CallableConfig(path=f"tests.foreign.toy:{name}", **changes)
    return open_autoencoder(config, spatial_dims, CPU)


def image_of(shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.rand(1, *shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


def reconstructed(
    model: ForeignAutoencoder, image: torch.Tensor, mode: str = "full", **patches: Any
) -> torch.Tensor:
    precision = Precision("fp32", CPU)
    return build_runner(InferenceConfig(**patches), mode, model, CPU, precision).reconstruct(image)


def by_hand(image: torch.Tensor) -> torch.Tensor:
    """The image (C, *spatial) in blocks of 4, padded with its last voxels and cropped."""
    padded = image[None]
    for axis in range(2, padded.dim()):
        while padded.shape[axis] % 4:
            padded = torch.cat([padded, padded.narrow(axis, padded.shape[axis] - 1, 1)], axis)
    mean = toy.Mean()
    whole = mean.decode(mean.encode(padded))[0]
    return cropped(whole, image.shape[1:])


def test_a_volume_is_what_the_object_makes_of_it() -> None:
    image, model = image_of(), opened()
    assert torch.equal(reconstructed(model, image), by_hand(image))
    assert model.factor == (4, 4, 4)
    assert model.latent_size(SHAPE) == (3, 5, 4)
    assert model.latent_values(SHAPE) == 60
    assert model.latent_bits(SHAPE) == 960


@pytest.mark.parametrize(("axis", "number"), [("depth", 0), ("height", 1), ("width", 2)])
def test_slices_along_each_axis_are_images(axis: str, number: int) -> None:
    image, model = image_of(), opened(axis=axis)
    slices = [by_hand(part) for part in image.unbind(number + 1)]
    assert torch.equal(reconstructed(model, image), torch.stack(slices, number + 1))
    assert model.factor == tuple(1 if n == number else 4 for n in range(3))


def test_images_need_no_axis() -> None:
    image = image_of((20, 13))
    assert torch.equal(reconstructed(opened(spatial_dims=2), image), by_hand(image))
    with pytest.raises(ConfigError, match="images have no depth"):
        opened(spatial_dims=2, axis="depth")


@pytest.mark.parametrize("axis", [None, "height"])
def test_patches_are_blended_as_a_slow_reference_does(axis: str | None) -> None:
    """Blocks of 4 do not depend on the patch, so that every blend of patches is the whole."""
    image = image_of()
    whole = reconstructed(opened(axis=axis), image)
    patched = reconstructed(opened(axis=axis), image, "patch", size=8, overlap=0.5)
    assert torch.allclose(patched, whole, atol=1e-6)


def test_a_range_of_its_own_is_taken_and_returned() -> None:
    model, seen = opened(range=(0.0, 1.0)), []
    encode = model.network.encode

    def recorded(images: torch.Tensor) -> Any:
        seen.append(images)
        return encode(images)

    model.network.encode = recorded  # type: ignore[method-assign]
    image = image_of()
    assert torch.allclose(reconstructed(model, image), by_hand(image), atol=1e-6)
    assert torch.equal(seen[0][0, :, :12, :17, :14], (image + 1) / 2)


@pytest.mark.parametrize("channels", ["mean", "first"])
def test_one_channel_is_repeated_for_three(channels: str) -> None:
    image, model = image_of(), opened("coloured", channels=channels)
    assert torch.allclose(reconstructed(model, image), by_hand(image), atol=1e-6)
    with pytest.raises(ConfigError, match="3 channels, these data have 2"):
        model.encode(torch.zeros(1, 2, 8, 8, 8))


def test_latents_of_several_tensors_are_counted() -> None:
    image, model = image_of((16, 16, 16)), opened("Pyramid")
    made = toy.Pyramid()
    assert torch.equal(reconstructed(model, image), made.decode(made.encode(image[None]))[0])
    assert model.latent_channels == 0
    assert model.latent_values((16, 16, 16)) == 64 + 512
    assert model.latent_bits((16, 16, 16)) == 8 * (64 + 512)
    sliced = opened("Pyramid", axis="width")
    slices = [made.decode(made.encode(part[None]))[0] for part in image.unbind(3)]
    assert torch.equal(reconstructed(sliced, image), torch.stack(slices, 3))


def test_a_posterior_can_be_sampled() -> None:
    model = opened("Posterior")
    posterior = model.encode(image_of()[None])
    assert model.has_posterior
    assert torch.equal(posterior.logvar, torch.zeros(1, 1, 3, 5, 4))
    assert not opened("Mean").has_posterior


BAD = {
    "Smaller": "returned images of 31 x 31 x 31 for images of 32 x 32 x 32",
    "Failing": "cannot reconstruct a trial image of .*RuntimeError: sizes must be 7",
    "Decoder": r"what it returns \(Decoder\) has no encode",
    "Words": "cannot reconstruct a trial image",
    "Flat": "factor must be 3 numbers",
    "Missing": "cannot be imported: AttributeError",
    "not_callable_without": "with autoencoder.options cannot be called: TypeError",
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_is_one_line(name: str) -> None:
    with pytest.raises(ConfigError, match=BAD[name]) as error:
        opened(name)
    assert "\n" not in str(error.value)


def scored(folder: Path, **changes: Any) -> EvaluationResult:
    scores = EvaluationConfig(media=[], metrics=["psnr", "mae"], baselines=["downsample"])
    values: dict[str, Any] = {
        "autoencoder": CallableConfig(path="tests.foreign.toy:Mean"),
        "data": SyntheticConfig(shape=(16, 18, 20), count=3, store=None),
        "evaluation": scores,
        "device": "cpu",
        "output": str(folder),
    }
    return evaluate(EvalConfig(**{**values, **changes}))


def test_scores_are_those_of_the_images(tmp_path: Path) -> None:
    result = scored(tmp_path)
    data = SyntheticConfig(shape=(16, 18, 20), count=3, store=None)
    cases = open_cases(data, ProgressBar("x", shown=False))
    for number, case in enumerate(result.cases):
        image = cases[number].range.to_model(cases[number].volume().data)
        error = F.mse_loss(by_hand(image).clamp(-1, 1).double(), image.double())
        assert case.scores["psnr"] == pytest.approx(10 * math.log10(4 / float(error)), abs=1e-4)
        small = downsampled(image, 16 * 4 * 5 * 5).image
        error = F.mse_loss(small.double(), image.double())
        expected = 10 * math.log10(4 / float(error))
        assert case.scores["psnr@downsample"] == pytest.approx(expected, abs=1e-4)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["model"] == {
        "name": "Mean",
        "weights": "",
        "kind": "tests.foreign.toy:Mean",
        "parameters": None,
    }
    assert summary["compression"]["latent_shape"] == [1, 4, 5, 5]
    assert summary["compression"]["values_per_voxel"] == pytest.approx(100 / 5760)
    assert summary["compression"]["bits_per_voxel"] == pytest.approx(1600 / 5760)
    assert "Compression" in (tmp_path / "index.html").read_text()


def test_a_comparison_has_numbers_and_bits_per_voxel(tmp_path: Path) -> None:
    scored(tmp_path / "mean")
    scored(tmp_path / "pyramid", autoencoder=CallableConfig(path="tests.foreign.toy:Pyramid"))
    runs = [str(tmp_path / name) for name in ("mean", "pyramid")]
    compared = compare(CompareConfig(run=runs, output=str(tmp_path / "compared")))
    assert compared.facts["Per voxel"] == {
        "mean": "0.01736 numbers, 0.2778 bits",
        "pyramid": "0.1406 numbers, 1.125 bits",
    }
    (psnr,) = (score for score in compared.scores if score.name == "psnr")
    assert psnr.means[1] > psnr.means[0]
    assert "0.01736 numbers" in (tmp_path / "compared" / "compare.html").read_text()


def test_weights_of_diffusers_are_no_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"_class_name": "AutoencoderKL"}')
    with pytest.raises(UserError, match=r"autoencoder=diffusers autoencoder\.path="):
        scored(tmp_path / "out", autoencoder=OwnConfig(), run=str(tmp_path))


def _score(rank: int, folder: Path) -> None:
    scored(folder)


@pytest.mark.slow
def test_two_ranks_score_as_one(tmp_path: Path) -> None:
    scored(tmp_path / "one")
    run_distributed(_score, tmp_path / "two")
    one, two = ((tmp_path / name / "scores.csv").read_bytes() for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"run": "runs/x"}, "name two autoencoders"),
        ({"data": None}, "name the data"),
        ({"autoencoder": CallableConfig()}, "autoencoder.path must name a callable"),
        ({"autoencoder": CallableConfig(path="toy")}, "must be package.module:callable"),
        ({"evaluation": EvaluationConfig(sample=True)}, "no posterior to sample"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_data_are_read(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    if "data" in changes:
        changes = {"data": EvalConfig().data}
    with pytest.raises(UserError, match=reason):
        scored(tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("config", "extra"),
    [(MonaiConfig(path="a.pt"), "monai"), (DiffusersConfig(path="vae"), "diffusers")],
)
def test_a_missing_library_is_named_with_its_extra(
    config: ForeignConfig, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vae3d.foreign.build.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf"pip install 'vae3d\[{extra}\]'"):
        open_autoencoder(config, 3, CPU)


def test_the_command_line_names_the_callable(tmp_path: Path) -> None:
    words = ["eval", "autoencoder=python", "data=synthetic", "data.shape=16", "data.count=1"]
    words += ["data.store=null", "evaluation=scores", "device=cpu"]
    done = vae3d(*words, "autoencoder.path=tests.foreign.toy:Mean", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (report,) = (tmp_path / "report").glob("Mean-full-synthetic-*")
    assert (report / "scores.csv").exists()
    assert "0.01562 numbers, 0.25 bits" in done.stderr
    limited = vae3d(
        *words,
        "autoencoder.path=tests.foreign.toy:Mean",
        "evaluation.inference.memory=1",
        cwd=tmp_path,
    )
    assert limited.returncode == 2
    assert "evaluation.inference.memory is for vae3d's own networks" in limited.stderr


def test_a_file_cannot_name_the_callable(tmp_path: Path) -> None:
    own = tmp_path / "conf" / "autoencoder"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("defaults: [python_schema]\npath: tests.foreign.toy:Mean\n")
    words = ["eval", "autoencoder=mine", "data=synthetic", "--config-dir=conf"]
    done = vae3d(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert "autoencoder.path is code that runs" in done.stderr


def test_a_key_of_another_kind_is_named(tmp_path: Path) -> None:
    done = vae3d("eval", "autoencoder.path=x", "run=y", cwd=tmp_path)
    assert done.returncode == 2
    assert "choose another autoencoder=" in done.stderr
    encode = vae3d("encode", "run=y", "autoencoder=monai", cwd=tmp_path)
    assert encode.returncode == 2
    assert "autoencoder" in encode.stderr
    assert "vae3d eval" in encode.stderr
