"""A codec is the model with a conversion from and to the scan's units."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import tiny_model
from vae3d.autoencoder.fingerprints import fingerprint
from vae3d.autoencoder.vae import CustomVAE
from vae3d.data.loaded import LoadedCase
from vae3d.errors import DataError
from vae3d.inference.runner import ModelRunner
from vae3d.latents.codec import Codec, source_of
from vae3d.runtime.memory import Memory, memory_budget
from vae3d.runtime.precision import Precision
from vae3d.scans.volume import SourceGeometry, Volume
from vae3d.values.intensity import IntensityContract

AFFINE = np.array([[0, 0, 2.0, -5], [0, 1.5, 0, 3], [3.0, 0, 0, 7], [0, 0, 0, 1]])
GEOMETRY = SourceGeometry(Path("scan.nii.gz"), (7, 6, 9), 2 * AFFINE, "int16")


def case(source: SourceGeometry | None = None) -> LoadedCase:
    generator = torch.Generator().manual_seed(0)
    voxels = torch.randint(-1500, 1500, (1, 9, 6, 7), generator=generator, dtype=torch.int16)
    contract = IntensityContract("window", -1000.0, 400.0, "HU")
    return LoadedCase(Volume(voxels, AFFINE, "case", source), contract)


def make_codec(precision: str = "fp32") -> Codec:
    torch.manual_seed(0)
    model = CustomVAE(tiny_model()).eval()
    device = torch.device("cpu")
    return Codec(ModelRunner(model, device, Precision(precision, device)))


def test_codec_equals_the_model_up_to_the_units() -> None:
    codec, scan = make_codec(), case()
    with torch.no_grad():
        # Large weights, so that some voxels are outside the range and clipped.
        codec.model.decoder.head.weight.mul_(20)
        image = ((scan.volume().data.float().clamp(-1000, 400) + 1000) / 700 - 1)[None]
        posterior = codec.model.encode(image)
        latent = codec.encode(scan, "val", "digest")
        torch.testing.assert_close(latent.mean, posterior.mean[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(latent.logvar, posterior.logvar[0], atol=1e-5, rtol=1e-5)
        expected = codec.model.decode(posterior.mean, (9, 6, 7))[0]
        assert (expected.abs() > 1).any()
        volume = codec.decode(posterior.mean[0], latent.record)
        expected = (expected.clamp(-1, 1) + 1) * 700 - 1000
    torch.testing.assert_close(volume.data, expected, atol=1e-2, rtol=1e-4)
    assert volume.data.dtype == torch.float32
    assert np.array_equal(volume.affine, AFFINE)
    assert (volume.case_id, volume.source) == ("case", None)


def test_the_record_restores_the_grid_of_the_scan() -> None:
    codec = make_codec("bf16")
    record = codec.record(case(GEOMETRY), "val", "digest")
    model = codec.model
    assert record.weights == fingerprint(model.config, model.state_dict()) == codec.weights
    assert (record.case_id, record.split, record.scan) == ("case", "val", "digest")
    assert (record.shape, record.factor, record.size) == ([9, 6, 7], [2, 2, 2], (5, 3, 4))
    assert (record.low, record.high, record.unit) == (-1000.0, 400.0, "HU")
    assert record.affine == AFFINE.tolist()
    assert record.precision == "bf16"
    back = source_of(record)
    assert back is not None
    assert back.path == Path("case"), "latents hold no path of this machine"
    assert (back.shape, back.dtype) == (GEOMETRY.shape, GEOMETRY.dtype)
    assert np.array_equal(back.affine, GEOMETRY.affine)
    assert source_of(codec.record(case())) is None
    assert codec.runner.device == torch.device("cpu")


def test_a_latent_that_decodes_to_nan_is_refused() -> None:
    codec = make_codec()
    record = codec.record(case())
    latent = torch.zeros(codec.model.config.latent_channels, 5, 3, 4)
    codec.decode(latent, record)
    latent[0, 2, 1, 1] = torch.nan
    with pytest.raises(DataError, match="case: its latent decodes to values that are not finite"):
        codec.decode(latent, record)


@pytest.mark.parametrize("memory", [None, 0.5, "auto"])
def test_the_memory_of_the_runner_limits_the_model(
    monkeypatch: pytest.MonkeyPatch, memory: Memory
) -> None:
    codec = make_codec()
    codec.runner.memory = memory
    memories: list[object] = []
    encode, decode = codec.model.encode, codec.model.decode

    def noting_encode(image: torch.Tensor, memory: float | None = None) -> object:
        memories.append(memory)
        return encode(image, memory)

    def noting_decode(latent: torch.Tensor, size: object, memory: float | None = None) -> object:
        memories.append(memory)
        return decode(latent, size, memory)  # type: ignore[arg-type]

    monkeypatch.setattr(codec.model, "encode", noting_encode)
    monkeypatch.setattr(codec.model, "decode", noting_decode)
    latent = codec.encode(case())
    codec.decode(latent.mean, latent.record)
    assert memories == [memory_budget(memory, codec.runner.device)] * 2
