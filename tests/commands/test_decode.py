"""`vae3d decode` and `reconstruct`: results are on the scan's grid, in its units."""

import pickle
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.commands.decoding import (
    AFFINES,
    SHAPES,
    contents,
    decoded,
    encoded,
    forget_statistics,
    reconstructed,
)
from tests.conftest import copied, rounding, tiny_model, tiny_training
from vae3d import LatentDataset
from vae3d.autoencoder.vae import CustomVAE
from vae3d.commands.train_run import train
from vae3d.data.config import CTConfig, Images2DConfig, MRIConfig
from vae3d.errors import ConfigError, DataError, RunError
from vae3d.latents.file import read_latent
from vae3d.latents.folder import latent_file, read_statistics
from vae3d.scans.files import read_volume

WITHIN = 1000 * rounding(CustomVAE(tiny_model()))
"""HU by which two computations of the same values may differ; [-1, 1] is [-1000, 1000] HU."""


def expected_of(run: Path, scan: Path) -> np.ndarray:
    """The network's reconstruction of a scan in one pass, in the file's own axes, in HU."""
    model = CustomVAE.from_pretrained(run / "weights" / "best")
    volume = read_volume(scan)
    image = (volume.data.float() / 1000).clamp(-1, 1)[None]
    with torch.no_grad():
        result = model.decode(model.encode(image).mean, volume.shape).clamp(-1, 1)[0, 0] * 1000
    # By the affines alone: the volume's index of each voxel of the file.
    file = nibabel.load(scan)
    to_volume = np.linalg.inv(volume.affine) @ file.affine
    index = np.stack(np.meshgrid(*map(np.arange, file.shape), indexing="ij"), axis=-1)
    d, h, w = np.rint(index @ to_volume[:3, :3].T + to_volume[:3, 3]).astype(int).T
    return result.numpy()[d, h, w].T


def test_a_scan_comes_back_onto_its_own_voxels(run: Path, scan_folder: Path) -> None:
    latents = encoded(run)
    folder = decoded(run, latents)
    assert {*contents(folder)} == {f"{n}.nii.gz" for n in range(3)}
    for number, affine in enumerate(AFFINES):
        scan, found = scan_folder / f"{number}.nii.gz", nibabel.load(folder / f"{number}.nii.gz")
        assert found.get_data_dtype() == np.int16
        assert found.shape == SHAPES[number]
        np.testing.assert_allclose(found.affine, affine, atol=1e-5)
        exact = expected_of(run, scan)
        assert np.ptp(exact) > 1
        np.testing.assert_allclose(np.asarray(found.dataobj), exact, atol=0.51)
    # Both commands write the same bytes, as do a single file and a folder of weights alone.
    assert contents(reconstructed(run, scan_folder)) == contents(folder)
    one = reconstructed(run / "weights" / "best", scan_folder / "1.nii.gz", "../one.nii.gz")
    assert one.read_bytes() == (folder / "1.nii.gz").read_bytes()
    file = latents / latent_file("2")
    single = decoded(run, file, "single.nii.gz")
    assert single.read_bytes() == (folder / "2.nii.gz").read_bytes()


def test_memory_and_type_are_as_asked(run: Path, scan_folder: Path) -> None:
    latents = encoded(run)
    model = CustomVAE.from_pretrained(run / "weights" / "best")
    tight = model.plan((13, 10, 10), None).bytes / 2**30 * 0.999
    whole = decoded(run, latents, "whole", dtype="float32", memory=None)
    slabs = decoded(run, latents, "slabs", dtype="float32", memory=tight)
    again = reconstructed(run, scan_folder, "both", dtype="float32", memory=tight)
    for number in range(3):
        name = f"{number}.nii.gz"
        found = [nibabel.load(folder / name).get_fdata() for folder in (whole, slabs, again)]
        for other in found[1:]:
            np.testing.assert_allclose(other, found[0], atol=WITHIN)
    with pytest.raises(ConfigError, match="memory must be at least"):
        decoded(run, latents, "none", memory=1e-6)


def test_resampled_scans_go_back_to_their_grid(tmp_path: Path, scan_folder: Path) -> None:
    data = CTConfig(
        root=str(scan_folder), store=None, spacing=(2.0, 1.5, 1.5), val_fraction=0.4,
        test_fraction=0.0,
    )  # fmt: skip
    run = train(tiny_training(tmp_path, data=data))
    latents = encoded(run)
    folder = decoded(run, latents)
    for number, affine in enumerate(AFFINES):
        found = nibabel.load(folder / f"{number}.nii.gz")
        assert found.shape == SHAPES[number]
        np.testing.assert_allclose(found.affine, affine, atol=1e-5)
    assert contents(reconstructed(run, scan_folder)) == contents(folder)
    # A plain latent over the scan is the same again.
    mean = read_latent(latents / latent_file("1")).mean
    np.save(tmp_path / "made.npy", mean.numpy())
    made = decoded(run, tmp_path / "made.npy", "made", like=str(scan_folder / "1.nii.gz"))
    assert (made / "made.nii.gz").read_bytes() == (folder / "1.nii.gz").read_bytes()


def test_what_a_slope_made_is_not_cut_to_integers(tmp_path: Path, run: Path) -> None:
    values = np.arange(-500, 500, dtype=np.int16).reshape(10, 10, 10)
    for name, on_disk, scaling, kind in (
        ("scaled", np.int16, (0.25, -100), np.float32),
        # Unsigned integers that an intercept makes negative fit into int16.
        ("moved", np.uint16, (1, -1000), np.int16),
    ):
        image = nibabel.Nifti1Image(values, np.eye(4), dtype=on_disk)
        image.header.set_slope_inter(*scaling)
        nibabel.save(image, tmp_path / f"{name}.nii")
        written = nibabel.load(tmp_path / f"{name}.nii").dataobj
        assert (written.slope, written.inter) == scaling
        folder = reconstructed(run, tmp_path / f"{name}.nii", name)
        result = nibabel.load(folder / f"{name}.nii.gz")
        assert result.get_data_dtype() == kind
        assert np.asarray(result.dataobj).min() < 0


def test_samples_depend_on_seed_and_case_alone(run: Path) -> None:
    latents = encoded(run)
    model = CustomVAE.from_pretrained(run / "weights" / "best")
    tight = model.plan((13, 10, 10), None).bytes / 2**30 * 0.999

    def drawn(name: str, **changes: Any) -> np.ndarray:
        folder = decoded(run, latents, name, sample=True, dtype="float32", **changes)
        return nibabel.load(folder / "0.nii.gz").get_fdata()

    first = drawn("a", memory=None)
    np.testing.assert_allclose(drawn("b", memory=tight), first, atol=WITHIN)
    assert np.abs(drawn("c", seed=1) - first).max() > 1


@pytest.mark.parametrize("way", ["channels", "factor"])
@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
def test_what_was_normalised_is_restored(run: Path, way: str, suffix: str) -> None:
    latents = encoded(run)
    expected = nibabel.load(decoded(run, latents, dtype="float32") / "2.nii.gz").get_fdata()
    data = LatentDataset(latents, sample=False, normalise=way)
    item = next(item for item in data if item["case_id"] == "2")["latent"]
    stack = torch.stack([torch.zeros_like(item), item])
    path = run.parent / f"made{suffix}"
    np.save(path, stack.numpy()) if suffix == ".npy" else save_file({"samples": stack}, path)
    record = latents / latent_file("2")
    folder = decoded(
        run, path, "made", scaling=way, statistics=str(latents), like=str(record), dtype="float32"
    )
    assert {*contents(folder)} == {"made_0000.nii.gz", "made_0001.nii.gz"}
    found = nibabel.load(folder / "made_0001.nii.gz")
    np.testing.assert_allclose(found.affine, AFFINES[2], atol=1e-5)
    np.testing.assert_allclose(found.get_fdata(), expected, atol=WITHIN)
    assert read_statistics(latents) == data.statistics
    # Those of the weights are taken where none are named, and are the folder's own.
    bare = decoded(run, path, "bare", scaling=way, like=str(record), dtype="float32")
    assert (bare / "made_0001.nii.gz").read_bytes() == (folder / "made_0001.nii.gz").read_bytes()
    # Weights hold the statistics of their validation.
    weights = run / "weights" / "best"
    statistics = CustomVAE.from_pretrained(weights).statistics
    assert statistics is not None
    np.save(run.parent / "own.npy", statistics.normalised(data[0]["latent"], way, axis=0).numpy())
    np.save(run.parent / "raw.npy", data[0]["latent"].numpy())
    own = decoded(
        run, run.parent / "own.npy", "own", scaling=way, statistics=str(weights), dtype="float32"
    )
    raw = decoded(run, run.parent / "raw.npy", "raw", dtype="float32")
    values = [nibabel.load(next(folder.glob("*.nii.gz"))).get_fdata() for folder in (own, raw)]
    np.testing.assert_allclose(*values, atol=WITHIN)


def test_latents_of_another_scale_are_reported(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    statistics = CustomVAE.from_pretrained(run / "weights" / "best").statistics
    assert statistics is not None
    latent = LatentDataset(encoded(run), sample=False)[0]["latent"].numpy()
    latent *= 1 / statistics.scaling_factor / latent.std()
    np.save(run.parent / "loud.npy", np.stack([latent, latent]) * 1e6)
    decoded(run, run.parent / "loud.npy", "loud")
    (message,) = (m for m in caplog.messages if "standard deviation" in m)
    assert f"those that these weights know {1 / statistics.scaling_factor:.4g}" in message
    np.save(run.parent / "right.npy", latent)
    caplog.clear()
    decoded(run, run.parent / "right.npy", "right")
    assert "standard deviation" not in caplog.text


def test_latents_as_nifti_are_aligned_with_the_scan_and_decode(
    run: Path, scan_folder: Path
) -> None:
    latents = encoded(run, nifti=True)
    whole = decoded(run, latents, "whole", dtype="float32")
    folder = decoded(run, latents / "nifti", "decoded", dtype="float32")
    for number in range(3):
        scan = nibabel.load(scan_folder / f"{number}.nii.gz")
        latent = nibabel.load(latents / "nifti" / f"{number}.nii.gz")
        assert latent.shape[3] == 4
        corners = [np.array(side) - 0.5 for side in ((0, 0, 0), latent.shape[:3])]
        placed = [(latent.affine @ [*corner, 1])[:3] for corner in corners]
        inside = np.linalg.inv(scan.affine) @ [*np.mean(placed, axis=0), 1]
        # The middle of both is the same but for the voxels that padding adds.
        assert (np.abs(inside[:3] - (np.array(scan.shape) - 1) / 2) <= 0.5 + 1e-6).all()
        # Without the scan's size the padding is decoded too; the other voxels are unchanged.
        found = read_volume(folder / f"{number}.nii.gz")
        exact = read_volume(whole / f"{number}.nii.gz")
        d, h, w = exact.shape
        np.testing.assert_allclose(found.affine, exact.affine, atol=1e-4)
        torch.testing.assert_close(found.data[:, :d, :h, :w], exact.data, atol=WITHIN, rtol=0)
    before = contents(latents / "nifti")
    (latents / "nifti" / "1.nii.gz").unlink()
    assert contents(encoded(run, nifti=True) / "nifti") == before


def test_plain_latents_without_a_grid_get_spacing_and_window(run: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "made.npy", np.zeros((4, 3, 4, 5), np.float32))
    found = nibabel.load(decoded(run, tmp_path / "made.npy") / "made.nii.gz")
    assert found.shape == (10, 8, 6)
    assert found.get_data_dtype() == np.float32
    np.testing.assert_allclose(found.affine, np.eye(4))
    low: dict[str, Any] = {"range": (-500.0, 0.0), "spacing": (3.0, 1.0, 0.5)}
    with pytest.raises(ConfigError, match=r"range=\[-1000, 1000\] HU; .* \[-500, 0\]; drop range"):
        decoded(run, tmp_path / "made.npy", "refused", **low)
    low["allow"] = ["window"]
    other = nibabel.load(decoded(run, tmp_path / "made.npy", "other", **low) / "made.nii.gz")
    np.testing.assert_allclose(other.affine, np.diag([0.5, 1.0, 3.0, 1.0]))
    hu, moved = found.get_fdata(), other.get_fdata()
    np.testing.assert_allclose(moved, (hu + 1000) / 4 - 500, atol=1e-3)


def test_mr_has_no_range_of_its_own(tmp_path: Path, scan_folder: Path) -> None:
    data = MRIConfig(root=str(scan_folder), store=None, val_fraction=0.4, test_fraction=0.0)
    run = train(tiny_training(tmp_path, data=data))
    np.save(tmp_path / "made.npy", np.zeros((4, 3, 4, 5), np.float32))
    with pytest.raises(ConfigError, match=r"set range=\[low,high\], or like=SCAN"):
        decoded(run, tmp_path / "made.npy")
    assert decoded(run, tmp_path / "made.npy", range=(0.0, 100.0)).exists()
    folder = decoded(run, encoded(run), "back")
    assert contents(folder) == contents(reconstructed(run, scan_folder))


def test_images_come_back_as_images(tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "images"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number in range(3):
        pixels = draw.integers(0, 255, (13, 18 + number)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    from tests.conftest import tiny_model

    data = Images2DConfig(root=str(folder), store=None, val_fraction=0.4, test_fraction=0.0)
    run = train(tiny_training(tmp_path, data=data, model=tiny_model(2)))
    back = decoded(run, encoded(run))
    for number in range(3):
        found = read_volume(back / f"{number}.tiff")
        assert found.shape == (13, 18 + number)
        assert found.source is not None
        assert found.source.dtype == "uint8"
    assert contents(back) == contents(reconstructed(run, folder))
    with pytest.raises(ConfigError, match="nifti=true is for 3D"):
        encoded(run, "flat", nifti=True)


def test_other_weights_and_odd_inputs_are_refused(
    run: Path, tmp_path: Path, scan_folder: Path
) -> None:
    latents = encoded(run)
    data = CTConfig(root=str(scan_folder), store=None, val_fraction=0.4, test_fraction=0.0)
    other = train(tiny_training(tmp_path, data=data, name="other", seed=1))
    with pytest.raises(ConfigError, match="latent of other weights"):
        decoded(other, latents)
    assert decoded(other, latents, "anyhow", allow=["weights"]).exists()
    assert decoded(other, latents, "as before", any_weights=True).exists()
    np.save(tmp_path / "plain.npy", np.zeros((4, 3, 4, 5), np.float32))
    for number, place in enumerate((latents, run / "weights/best")):
        made = {"scaling": "factor", "statistics": str(place)}
        with pytest.raises(ConfigError, match=r"of other weights.* add allow=\[weights\]"):
            decoded(other, tmp_path / "plain.npy", "no", **made)
        assert decoded(run, tmp_path / "plain.npy", f"own{number}", **made).exists()
        assert decoded(
            other, tmp_path / "plain.npy", f"a{number}", allow=["weights"], **made
        ).exists()
    narrow = CTConfig(root=str(scan_folder), window=(0.0, 9.0), store=None, test_fraction=0.0)
    third = encoded(train(tiny_training(tmp_path, data=narrow, name="third")), "third_latents")
    with pytest.raises(ConfigError, match=r"with window=\[-1000, 1000\] HU; .* have \[0, 9\]"):
        decoded(run, tmp_path / "plain.npy", "no", like=str(third / latent_file("0")))
    for given in ({"range": (0.0, 1.0), "allow": ["window"]}, {"like": "x"}, {"spacing": 1}):
        with pytest.raises(ConfigError, match="is for plain latents"):
            decoded(run, latents, "ignored", **given)
    with pytest.raises(ConfigError, match="is for latents that were normalised"):
        decoded(run, latents, "n", scaling="factor")
    bad = tmp_path / "bad"
    bad.mkdir()
    with pytest.raises(DataError, match="no latents here"):
        decoded(run, bad)
    with pytest.raises(DataError, match="no latents here"):
        decoded(run, tmp_path / "missing")
    for name, array, message in (
        ("axes", np.zeros((3, 4, 5), np.float32), "must hold a latent"),
        ("channels", np.zeros((3, 3, 4, 5), np.float32), "has shape"),
        ("nan", np.full((4, 3, 4, 5), np.nan, np.float32), "not finite"),
        ("text", np.array(["a"]), "must hold an array of numbers"),
    ):
        np.save(bad / f"{name}.npy", array)
        with pytest.raises((DataError, ConfigError), match=message):
            decoded(run, bad / f"{name}.npy", name)
    (bad / "code.npy").write_bytes(pickle.dumps([1]))
    (bad / "cut.npy").write_bytes((bad / "nan.npy").read_bytes()[:-9])
    (bad / "cut.safetensors").write_bytes(b"\x09" * 40)
    (bad / "cut.nii.gz").write_bytes((scan_folder / "0.nii.gz").read_bytes()[:99])
    for name in ("code.npy", "cut.npy", "cut.safetensors", "cut.nii.gz"):
        with pytest.raises(DataError, match=name):
            decoded(run, bad / name, "none")
    save_file({"a": torch.zeros(1), "b": torch.zeros(1)}, bad / "two.safetensors")
    with pytest.raises(DataError, match="must hold one tensor, or one called"):
        decoded(run, bad / "two.safetensors", "none")
    np.save(bad / "right.npy", np.zeros((4, 3, 4, 5), np.float32))
    forget_statistics(copied(run, tmp_path / "forgetful"))
    with pytest.raises(ConfigError, match=r"needs the statistics .* these weights hold none"):
        decoded(tmp_path / "forgetful/run", bad / "right.npy", "none", scaling="channels")
    with pytest.raises(ConfigError, match="but a latent of these weights for an image of"):
        decoded(run, bad / "right.npy", "none", like=str(scan_folder / "0.nii.gz"))
    with pytest.raises(RunError, match="no run here"):
        decoded(tmp_path / "nowhere", latents, "none")
    assert not (tmp_path / "none").exists()
