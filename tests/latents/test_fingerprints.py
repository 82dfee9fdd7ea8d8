"""Latents are read by every decoder of their encoder, and by no other without being asked."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.commands.decoding import contents, decoded, encoded, scans_of
from tests.conftest import tiny_model, tiny_training
from vae3d import LatentDataset
from vae3d.autoencoder.fingerprints import Fingerprints, have_same_encoder
from vae3d.autoencoder.vae import CustomVAE
from vae3d.autoencoder.weights import read_weights
from vae3d.commands.train_run import train
from vae3d.data.config import CTConfig
from vae3d.errors import ConfigError
from vae3d.latents.file import read_latent, read_record, write_latent
from vae3d.latents.folder import SETTINGS, STATISTICS, latent_file
from vae3d.model.config import LevelSpec


def prints(model: CustomVAE) -> Fingerprints:
    return Fingerprints.of(model.config, model.state_dict())


def network(**changes: Any) -> CustomVAE:
    torch.manual_seed(0)
    return CustomVAE(tiny_model(**changes))


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_each_side_has_its_own(side: str) -> None:
    model = network()
    before = prints(model)
    with torch.no_grad():
        getattr(model, side).head.bias.add_(1e-3)
    after = prints(model)
    assert (before.encoder != after.encoder) == (side == "encoder")
    assert (before.decoder != after.decoder) == (side == "decoder")


def test_only_what_a_side_computes_with_counts() -> None:
    model = network()
    state = model.state_dict()
    before = prints(model)
    for change, sides in (
        ({"checkpointing": True, "dropout": 0.5, "zero_init": False}, set()),
        ({"final_activation": "tanh"}, {"decoder"}),
        ({"downsampling": "end_padded"}, {"encoder"}),
        ({"unit_range": True}, {"encoder", "decoder"}),
    ):
        after = Fingerprints.of(replace(model.config, **change), state)
        changed = {s for s in ("encoder", "decoder") if getattr(after, s) != getattr(before, s)}
        assert changed == sides, change
    levels = [replace(level, decoder_blocks=level.blocks) for level in model.config.levels]
    assert Fingerprints.of(replace(model.config, levels=levels), state) == before
    deeper = [LevelSpec(4, decoder_blocks=3), LevelSpec(8, stride=(2,))]
    assert Fingerprints.of(replace(model.config, levels=deeper), state).encoder == before.encoder


def test_what_earlier_versions_recorded_is_compared_as_a_whole() -> None:
    own = Fingerprints("e", "d")
    assert have_same_encoder(("w", "e"), "v", own)
    assert not have_same_encoder(("w", "f"), "w", own)
    assert have_same_encoder(("w", None), "w", own)
    assert not have_same_encoder(("v", None), "w", own)


def changed_side(run: Path, side: str, folder: Path) -> Path:
    """The best weights of a run with another encoder or decoder, in a folder."""
    model = CustomVAE.from_pretrained(run / "weights/best")
    with torch.no_grad():
        getattr(model, side).stem.bias.add_(0.1)
    model.save_pretrained(folder)
    return folder


def test_a_decoder_that_was_fine_tuned_decodes_the_latents(tmp_path: Path) -> None:
    scans = scans_of(tmp_path / "scans")
    data = CTConfig(root=str(scans), store=None, val_fraction=0.4, test_fraction=0.0)
    run = train(tiny_training(tmp_path, data=data))
    latents = encoded(run)
    record = read_record(latents / latent_file("0"))
    known = read_weights(run / "weights/best").description.fingerprints
    assert known == Fingerprints(record.encoder or "", record.decoder or "")
    assert json.loads((latents / SETTINGS).read_text())["encoder"] == record.encoder

    tuned = changed_side(run, "decoder", tmp_path / "tuned")
    assert contents(decoded(tuned, latents, "new")) != contents(decoded(run, latents, "old"))
    np.save(tmp_path / "plain.npy", np.zeros((4, 3, 4, 5), np.float32))
    for number, place in enumerate((latents, run / "weights/best")):
        way = {"scaling": "factor", "statistics": str(place)}
        assert decoded(tuned, tmp_path / "plain.npy", f"plain{number}", **way).exists()
    other = changed_side(run, "encoder", tmp_path / "other")
    with pytest.raises(ConfigError, match="latents of other weights and encoder; name another"):
        encoded(other, data=data)
    with pytest.raises(ConfigError, match=r"latent of other weights .*allow=\[weights\]"):
        decoded(other, latents, "no")
    with pytest.raises(ConfigError, match="of other weights than"):
        decoded(other, tmp_path / "plain.npy", "no", **way)

    # A tuned decoder resumes the folder, which keeps its latents, settings and statistics.
    resumed = tmp_path / "resumed"
    shutil.copytree(latents, resumed)
    (resumed / latent_file("1")).unlink()
    assert encoded(tuned, "resumed", data=data) == resumed
    for name in (SETTINGS, STATISTICS, latent_file("0")):
        assert (resumed / name).read_bytes() == (latents / name).read_bytes()
    assert read_record(resumed / latent_file("1")).weights != record.weights
    assert len(LatentDataset(resumed)) == 3

    # Of an earlier version, which recorded the weights as a whole.
    for number in range(3):
        path = latents / latent_file(str(number))
        latent = read_latent(path)
        write_latent(path, replace(latent, record=replace(latent.record, encoder=None)))
    assert contents(decoded(run, latents, "again")) == contents(decoded(run, latents, "more"))
    with pytest.raises(ConfigError, match="latent of other weights"):
        decoded(tuned, latents, "no")
