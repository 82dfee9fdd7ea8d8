"""Latents that are entries of a codebook, from a training to scans and back."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.commands.decoding import contents, decoded, encoded, reconstructed, scans_of
from tests.conftest import copied, tiny_model, tiny_trainer, tiny_training
from vae3d import LatentDataset
from vae3d.autoencoder.vae import CustomVAE
from vae3d.commands.train_run import train
from vae3d.data.config import CTConfig
from vae3d.errors import ConfigError, DataError
from vae3d.latents.file import read_crop, read_latent
from vae3d.latents.folder import latent_file
from vae3d.patching.region import Region


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quantized")
    root = str(scans_of(folder / "scans"))
    data = CTConfig(root=root, store=None, val_fraction=0.4, test_fraction=0.0)
    model = tiny_model(variance="fsq", fsq_levels=(8, 5, 5, 5))
    return train(
        tiny_training(folder, data=data, model=model, trainer=tiny_trainer(steps=4, val_every=2))
    )


@pytest.fixture
def run(quantized: Path, tmp_path: Path) -> Path:
    scans_of(tmp_path / "scans")
    return copied(quantized, tmp_path)


def test_indices_are_stored_and_decode_to_the_reconstruction(run: Path) -> None:
    latents = encoded(run, dtype="float16")
    assert contents(decoded(run, latents)) == contents(reconstructed(run, run.parent / "scans"))
    quantizer = CustomVAE.from_pretrained(run).quantizer
    assert quantizer is not None
    for item in LatentDataset(latents, normalise=None):  # type: ignore[attr-defined]
        path = latents / latent_file(item["case_id"])
        (stored,) = load_file(path).items()
        assert stored[0] == "indices"
        assert stored[1].dtype == torch.int32
        assert torch.equal(stored[1].long(), item["indices"])
        assert torch.equal(quantizer.latents(item["indices"][None])[0], item["latent"])
        latent = read_latent(path)
        assert torch.equal(latent.sample(7), latent.mean), "nothing is left to draw"
        box = Region((1, 0, 2), (3, 2, 2))
        mean, logvar = read_crop(path, box.slices)
        assert torch.equal(mean, box.cut(latent.mean))
        assert torch.isneginf(logvar).all()
    crops = LatentDataset(latents, size=(2, 3, 2), normalise=None)
    again = quantizer.latents(crops[0]["indices"][None])[0]
    assert torch.equal(again, crops[0]["latent"])


@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
def test_indices_of_another_program_decode(run: Path, suffix: str) -> None:
    latents = encoded(run)
    expected = nibabel.load(decoded(run, latents) / "2.nii.gz").get_fdata()
    items = {item["case_id"]: item["indices"] for item in LatentDataset(latents)}  # type: ignore[attr-defined]
    path, record = run.parent / f"made{suffix}", latents / latent_file("2")
    made = items["2"][None]
    np.save(path, made.numpy()) if suffix == ".npy" else save_file({"indices": made}, path)
    folder = decoded(run, path, "made", like=str(record))
    assert np.array_equal(nibabel.load(folder / "made.nii.gz").get_fdata(), expected)
    with pytest.raises(ConfigError, match=r"holds indices of a codebook"):
        decoded(run, path, "scaled", like=str(record), scaling="factor")
    for wrong, message in ((made + 1000, r"indices must be in \[0, 999\]"),
                           (made + 0.5, "must hold whole numbers")):  # fmt: skip
        np.save(run.parent / "wrong.npy", wrong.numpy())
        with pytest.raises(DataError, match=message):
            decoded(run, run.parent / "wrong.npy", "wrong", like=str(record))


def test_damaged_indices_are_never_read(run: Path) -> None:
    path = encoded(run) / latent_file("1")
    whole = path.read_bytes()
    for place in range(0, len(whole), 61):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(DataError):
            read_latent(path)


def test_a_decoder_is_trained_on_indices(run: Path, tmp_path: Path) -> None:
    latents = encoded(run)
    settings = tiny_training(
        tmp_path / "tuned",
        init_from=str(run),
        data=CTConfig(root=str(run.parent / "scans"), store=None, val_fraction=0.4,
                      test_fraction=0.0),
        trainer=tiny_trainer(steps=2, val_every=2, train="decoder", latents=str(latents)),
    )  # fmt: skip
    tuned = train(settings)
    before, after = (CustomVAE.from_pretrained(folder) for folder in (run, tuned))
    assert torch.equal(before.encoder.head.weight, after.encoder.head.weight)
    assert not torch.equal(before.decoder.head.weight, after.decoder.head.weight)
    assert contents(decoded(tuned, latents, "again"))
