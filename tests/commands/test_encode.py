"""`vae3d encode`: each case exactly once, also after an interruption and on several ranks."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from tests.conftest import assert_same_output, copied, run_distributed, tiny_training
from vae3d.autoencoder.vae import CustomVAE
from vae3d.commands.encode import EncodeConfig
from vae3d.commands.encode_run import encode
from vae3d.commands.train_run import train
from vae3d.data.config import CTConfig
from vae3d.errors import ConfigError, DataError, LockedError, VolumeError
from vae3d.files.lock import locked
from vae3d.latents.file import read_latent
from vae3d.latents.folder import latent_file, read_manifest, read_statistics


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tiny_training(tmp_path_factory.mktemp("trained")))


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return copied(trained, tmp_path)


def encoded(run: Path, name: str = "latents", **changes: object) -> Path:
    config = EncodeConfig(run=str(run), output=str(run.parent / name), device="cpu", **changes)  # type: ignore[arg-type]
    return encode(config)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_every_case_is_encoded_as_the_model_does(run: Path) -> None:
    folder = encoded(run)
    model = CustomVAE.from_pretrained(run / "weights" / "best")
    entries = read_manifest(folder)
    assert len(entries) == 6
    assert {entry.split for entry in entries} >= {"train"}
    means = []
    for entry in entries:
        latent = read_latent(folder / entry.file)
        assert latent.mean.shape[1:] == entry.size == (8, 8, 8)
        means.append(latent.mean)
        with torch.no_grad():
            # The latent decodes to the scan's size.
            assert model.decode(latent.mean[None], entry.shape).shape[2:] == entry.shape
    # The statistics to use are the weights'; those of these latents are next to them.
    assert read_statistics(folder) == model.statistics
    found = json.loads((folder / "statistics.json").read_text())["of_this_folder"]
    everything = torch.stack(means).transpose(0, 1).flatten(1).double()
    np.testing.assert_allclose(found["latents_mean"], everything.mean(1), atol=1e-6)


def scan_folder(tmp_path: Path) -> tuple[Path, list[np.ndarray]]:
    folder, arrays = tmp_path / "scans", []
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number in range(3):
        array = draw.integers(-900, 900, (11, 14, 17 + number)).astype(np.int16)
        affine = np.diag([-0.7, -0.8, 2.5, 1]) @ np.eye(4)
        nibabel.save(nibabel.Nifti1Image(array, affine), folder / f"{number}.nii.gz")
        arrays.append(array)
    return folder, arrays


@pytest.fixture(scope="module")
def trained_on_ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained_on_ct")
    scans, _ = scan_folder(folder)
    data = CTConfig(root=str(scans), store=None, val_fraction=0.4, test_fraction=0.0)
    return train(tiny_training(folder, data=data))


@pytest.fixture
def ct_run(trained_on_ct: Path, tmp_path: Path) -> tuple[Path, Path, list[np.ndarray]]:
    scans, arrays = scan_folder(tmp_path)
    return copied(trained_on_ct, tmp_path), scans, arrays


def test_scans_keep_their_place_and_memory_changes_nothing(
    ct_run: tuple[Path, Path, list[np.ndarray]],
) -> None:
    run, _, arrays = ct_run
    folder = encoded(run)
    model = CustomVAE.from_pretrained(run / "weights" / "best")
    tight = model.plan((17, 14, 11), None).bytes / 2**30 * 0.999
    slabs = encoded(run, "slabs", memory=tight)
    for number, array in enumerate(arrays):
        latent = read_latent(folder / latent_file(f"{number}"))
        record = latent.record
        # X and Y point right and to the front in the file, so both axes are reversed here.
        image = np.clip(array.transpose(2, 1, 0)[:, ::-1, ::-1] / 1000.0, -1, 1)
        with torch.no_grad():
            expected = model.encode(torch.tensor(image.copy(), dtype=torch.float32)[None, None])
        assert_same_output(latent.mean, expected.mean[0], model)
        assert record.source_shape == list(array.shape)
        assert record.source_dtype == "int16"
        assert record.unit == "HU"
        spacing = np.linalg.norm(record.latent_affine[:3, :3], axis=0)
        np.testing.assert_allclose(spacing, [5.0, 1.6, 1.4], atol=1e-6)
        streamed = read_latent(slabs / latent_file(f"{number}"))
        assert_same_output(streamed.mean, latent.mean, model)
        assert_same_output(streamed.logvar, latent.logvar, model)


def test_what_is_whole_is_kept_and_the_rest_is_done_again(
    ct_run: tuple[Path, Path, list[np.ndarray]], capsys: pytest.CaptureFixture[str]
) -> None:
    run, scans, arrays = ct_run
    folder = encoded(run)
    before = contents(folder)
    paths = [folder / latent_file(f"{number}") for number in range(3)]
    ages = [path.stat().st_mtime_ns for path in paths]
    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:-5] + b"wrong")
    assert contents(encoded(run)) == before
    assert "encoded again" in capsys.readouterr().err
    assert paths[2].stat().st_mtime_ns == ages[2]
    assert paths[1].stat().st_mtime_ns > ages[1]
    changed = nibabel.Nifti1Image(arrays[2] + 1, np.diag([-0.7, -0.8, 2.5, 1]))
    nibabel.save(changed, scans / "2.nii.gz")
    after = contents(encoded(run))
    assert [name for name in before if before[name] != after[name]] != []
    assert after[latent_file("2")] != before[latent_file("2")]
    assert after[latent_file("0")] == before[latent_file("0")]


def test_a_scan_that_cannot_be_read_is_named(
    ct_run: tuple[Path, Path, list[np.ndarray]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, scans, _ = ct_run
    (scans / "1.nii.gz").write_bytes((scans / "1.nii.gz").read_bytes()[:500])
    with pytest.raises(VolumeError, match=r"1.nii.gz"):
        encoded(run)
    data = CTConfig(root=str(scans), on_error="skip")
    folder = encoded(run, data=data)
    assert "skipped" in capsys.readouterr().err
    assert [entry.case_id for entry in read_manifest(folder)] == ["0", "2"]


def test_a_folder_of_other_latents_is_refused(run: Path, tmp_path: Path) -> None:
    folder = encoded(run)
    with pytest.raises(ConfigError, match="latents of other dtype; name another output="):
        encoded(run, dtype="float16")
    other = train(tiny_training(tmp_path, name="other", seed=1))
    with pytest.raises(ConfigError, match="latents of other weights"):
        encoded(other)
    with pytest.raises(DataError, match="holds files that are no latents"):
        encoded(run, "run")
    with locked(folder / ".lock"):
        encode_elsewhere(run, tmp_path)
    with pytest.raises(ConfigError, match="memory must be a positive number of GiB, auto or null"):
        encoded(run, memory="much")


def encode_elsewhere(run: Path, tmp_path: Path) -> None:
    """The lock belongs to this process: another one is refused."""
    (tmp_path / "name").write_text(run.name)
    run_distributed(_refused, tmp_path, 1)


def _refused(rank: int, folder: Path) -> None:
    with pytest.raises(LockedError, match="another process"):
        encoded(folder / (folder / "name").read_text())


def _encoded_by_ranks(rank: int, folder: Path) -> None:
    encoded(folder / "run", "by_two")


def test_two_ranks_write_what_one_does(run: Path) -> None:
    expected = contents(encoded(run))
    run_distributed(_encoded_by_ranks, run.parent, 2)
    assert contents(run.parent / "by_two") == expected
