"""Plain arrays as latents: one or several in a file, and files without one."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from vae3d.errors import DataError
from vae3d.latents.samples import Sample, samples_of, suffix_of


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.npy", ".npy"), ("A.NPY", ".npy"), ("a.safetensors", ".safetensors"), ("a.nii", ".nii"),
        ("a.nii.gz", ".nii.gz"), (".a.npy", ""), ("a.npz", ""), ("a.gz", ""), ("npy", ""),
    ],
)  # fmt: skip
def test_suffixes(name: str, suffix: str) -> None:
    assert suffix_of(Path(name)) == suffix


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64, np.int16])
def test_an_array_is_one_latent_or_several(tmp_path: Path, dtype: type) -> None:
    values = np.random.default_rng(0).normal(0, 9, (3, 2, 4, 5, 6)).astype(dtype)
    np.save(tmp_path / "many.npy", values)
    np.save(tmp_path / "one.npy", values[0])
    (one,) = samples_of(tmp_path / "one.npy", 3)
    assert one == Sample("one", tmp_path / "one.npy")
    many = samples_of(tmp_path / "many.npy", 3)
    assert [sample.name for sample in many] == ["many_0000", "many_0001", "many_0002"]
    for number, sample in enumerate(many):
        latent, affine = sample.read()
        assert latent.dtype == torch.float32
        assert latent.is_contiguous()
        assert np.array_equal(latent.numpy(), values[number].astype(np.float32))
        assert affine is None
    assert torch.equal(one.read()[0], many[0].read()[0])
    # In two dimensions the same shapes have another meaning.
    assert len(samples_of(tmp_path / "one.npy", 2)) == 2


def test_the_tensor_with_a_known_name_is_read(tmp_path: Path) -> None:
    tensors = {name: torch.full((2, 4, 5), float(n)) for n, name in enumerate("abc")}
    path = tmp_path / "x.safetensors"
    save_file({"whatever": tensors["c"]}, path)
    assert torch.equal(samples_of(path, 2)[0].read()[0], tensors["c"])
    save_file({"sample": tensors["b"], "latents": tensors["c"], "z": tensors["a"]}, path)
    assert torch.equal(samples_of(path, 2)[0].read()[0], tensors["c"])
    save_file({"y": tensors["b"], "z": tensors["a"]}, path)
    with pytest.raises(DataError, match="must hold one tensor, or one called latents or latent"):
        samples_of(path, 2)
    several = torch.stack([tensors["a"].bfloat16(), tensors["b"].bfloat16()])
    save_file({"latents": several}, path)
    assert [s.read()[0].mean().item() for s in samples_of(path, 2)] == [0, 1]


def test_a_nifti_file_has_its_affine(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(4, 5, 6, 3)).astype(np.float32)
    path = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values, np.diag([2.0, 3, 4, 1])), path)
    (sample,) = samples_of(path, 3)
    latent, affine = sample.read()
    assert sample.name == "a"
    assert latent.shape == (3, 6, 5, 4)
    assert affine is not None
    assert np.array_equal(np.abs(affine[:3, :3]), [[0, 0, 2], [0, 3, 0], [4, 0, 0]])


def test_files_without_a_latent_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    for shape in ((4, 5, 6), (0, 2, 4, 5, 6), (1, 1, 2, 4, 5, 6)):
        np.save(path, np.zeros(shape, np.float32))
        with pytest.raises(DataError, match=r"must hold a latent \(C, D, H, W\) or several"):
            samples_of(path, 3)
    np.save(path, np.zeros((4, 5), np.float32))
    with pytest.raises(DataError, match=r"must hold a latent \(C, H, W\)"):
        samples_of(path, 2)
    for wrong in (np.zeros((2, 3, 4), complex), np.array([[["a"]]]), np.array([[[None]]])):
        np.save(path, wrong, allow_pickle=True)
        with pytest.raises(DataError, match=r"a\.npy: (must hold an array of numbers|cannot be)"):
            samples_of(path, 2)
    for value in (np.nan, np.inf):
        np.save(path, np.full((2, 3, 4), value, np.float32))
        with pytest.raises(DataError, match="holds values that are not finite"):
            samples_of(path, 2)[0].read()
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"a\.npy: cannot be read"):
        samples_of(path, 2)
