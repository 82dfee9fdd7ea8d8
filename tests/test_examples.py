"""The examples do what their READMEs say."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import imageio.v3 as iio
import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.conftest import ROOT, tiny_training
from vae3d.commands.encode import EncodeConfig
from vae3d.commands.encode_run import encode
from vae3d.commands.train_run import train
from vae3d.data.config import SyntheticConfig

EXAMPLE = ROOT / "examples/latent_diffusion"
pytestmark = pytest.mark.extras


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those of phantoms of 16 x 8 x 8, half as wide: 8 x 4 x 4."""
    pytest.importorskip("monai.networks.schedulers")
    folder = tmp_path_factory.mktemp("latents")
    train(tiny_training(folder, data=SyntheticConfig(shape=(16, 8, 8), count=8)))
    return encode(EncodeConfig(run=str(folder / "run"), output=str(folder / "latents")))


def diffused(latents: Path, name: str, *arguments: str) -> bytes:
    script("train").main([str(latents), "--output", name, "--steps", "3", *arguments])
    return Path(name, "diffusion.safetensors").read_bytes()


def drawn(*arguments: str) -> Tensor:
    script("sample").main(["diffusion", "--steps", "4", *arguments])
    return load_file("samples.safetensors")["latents"]


def test_the_same_seed_trains_the_same_weights(latents: Path) -> None:
    first = diffused(latents, "first")
    assert diffused(latents, "again") == first
    assert diffused(latents, "other", "--seed", "1") != first
    told = json.loads(Path("first/diffusion.json").read_text())
    assert told["size"] == [8, 4, 4]


def test_a_sample_depends_on_its_number_alone(latents: Path) -> None:
    diffused(latents, "diffusion")
    two, second = drawn("--count", "2"), drawn("--count", "1", "--seed", "1")
    assert two.shape == (2, 4, 8, 4, 4)
    assert two.isfinite().all()
    assert two[1:].equal(second)


@pytest.mark.parametrize("steps", [4, 50])
def test_sampling_stays_on_the_levels_that_the_network_is_told(steps: int) -> None:
    """With a network that knows the one latent there is, the way is a straight line to it."""
    noise = script("train").NOISE
    schedulers = pytest.importorskip("monai.networks.schedulers")
    share = schedulers.DDPMScheduler(**noise).alphas_cumprod.double()
    generator = torch.Generator().manual_seed(0)
    known, start = torch.randn(2, 1, 4, 4, 4, 4, generator=generator, dtype=torch.float64)
    signals, spreads = share.sqrt(), (1 - share).sqrt()
    epsilon = (start - signals[999] * known) / spreads[999]

    def velocity(latent: Tensor, times: Tensor) -> Tensor:
        signal, spread = signals[times], spreads[times]
        torch.testing.assert_close(latent, signal * known + spread * epsilon, atol=1e-5, rtol=0)
        return signal * epsilon - spread * known

    found = script("sample").denoised(velocity, start, noise, steps)
    torch.testing.assert_close(found, known, atol=1e-5, rtol=0)


def test_latents_that_do_not_fit_are_refused_unless_cut(latents: Path) -> None:
    with pytest.raises(SystemExit, match="--size cuts them"):
        diffused(latents, "refused", "--size", "6", "4", "4")
    assert not Path("refused").exists()
    diffused(latents, "cut", "--size", "4", "4", "4")
    assert json.loads(Path("cut/diffusion.json").read_text())["size"] == [4, 4, 4]


def test_looking_finds_the_scan_that_was_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    for folder, number in (("real", 0), ("real", 1), ("real", 2), ("generated", 1)):
        Path(folder).mkdir(exist_ok=True)
        values = np.random.default_rng(number).integers(-1000, 1000, (6, 5, 4)).astype(np.int16)
        nib.save(nib.Nifti1Image(values, np.eye(4)), f"{folder}/scan_{number}.nii")
    script("look").main(["generated", "real", "--output", "look.png"])
    assert "scan_1: 0.0 from scan_1" in capsys.readouterr().err
    assert iio.imread("look.png").ndim == 3


def test_the_whole_road(tmp_path: Path) -> None:
    environment = {
        "DATA": "data.shape=[16,16,16] data.count=6 patching.size=[16] patching.per_volume=2",
        "VAE": "model=tiny trainer=debug trainer.device=cpu evaluation.media=[]",
        "STEPS": "2",
        "COUNT": "2",
        "OUT": str(tmp_path / "out"),
        "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        ["bash", str(EXAMPLE / "road.sh")],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    generated = sorted((tmp_path / "out/generated").rglob("*.nii.gz"))
    real = sorted((tmp_path / "out/real").rglob("*.nii.gz"))
    assert (len(generated), len(real)) == (2, 6)
    for path in generated + real:
        scan = nib.load(path)
        assert scan.shape == (16, 16, 16)
        assert np.isfinite(scan.get_fdata()).all()
        np.testing.assert_allclose(np.abs(np.linalg.det(scan.affine[:3, :3])) ** (1 / 3), 25.0)
    assert iio.imread(tmp_path / "out/look.png").shape[0] == 2 * 192
