"""Latents as files: round trips, affines, and samples by (seed, epoch, case) alone."""

import json
import random
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch.utils.data import DataLoader

from vae3d import LatentDataset
from vae3d.errors import ConfigError, DataError
from vae3d.files.plain import from_plain
from vae3d.latents.file import (
    LATER_FIELDS,
    Latent,
    LatentRecord,
    _digest,
    read_latent,
    read_record,
    write_latent,
)
from vae3d.latents.folder import (
    Entry,
    latent_file,
    write_manifest,
    write_statistics,
)
from vae3d.latents.health import LatentHealth
from vae3d.model.gaussian import DiagonalGaussian
from vae3d.values.header_forms import HeaderForms
from vae3d.values.latent_statistics import LatentStatistics

OBLIQUE = [[0.0, 0.1, 0.9, -70.0], [0.2, 0.8, 0.0, 12.0], [2.5, 0.0, 0.1, 300.0], [0, 0, 0, 1.0]]


def a_record(shape: tuple[int, ...] = (9, 8, 6), **changes: object) -> LatentRecord:
    record = LatentRecord(
        case_id="a",
        split="train",
        shape=[*shape],
        affine=OBLIQUE,
        factor=[4, 2, 2],
        low=-1000.0,
        high=1000.0,
        unit="HU",
        weights="w",
        scan="s",
        precision="fp32",
    )
    return replace(record, **changes)  # type: ignore[arg-type]


def a_latent(seed: int = 0, **changes: object) -> Latent:
    record = a_record(**changes)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(seed)
    mean, logvar = torch.randn(2, 3, *record.size, generator=generator)
    return Latent(record, 3 * mean + 1, logvar)


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    factor=st.tuples(*[st.sampled_from([1, 2, 3, 4, 8])] * 3),
)
def test_a_latent_voxel_is_in_the_middle_of_its_block(
    shape: tuple[int, ...], factor: tuple[int, ...]
) -> None:
    record = a_record(shape, factor=[*factor])
    affine = np.array(OBLIQUE)
    for index in np.ndindex(*record.size):
        corner = np.array(index) * factor
        block = np.array([*np.ndindex(*factor)]) + corner
        middle = (block @ affine[:3, :3].T + affine[:3, 3]).mean(axis=0)
        position = record.latent_affine @ [*index, 1]
        np.testing.assert_allclose(position[:3], middle, atol=1e-9)
    padded = np.array(shape) + record.padding
    assert (padded == np.array(record.size) * factor).all()


@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 0.0), ("float16", 1e-3)])
def test_what_is_written_is_read(tmp_path: Path, dtype: str, rtol: float) -> None:
    latent = a_latent(source_shape=[6, 8, 9], source_affine=OBLIQUE, source_dtype="int16")
    write_latent(tmp_path / "a.safetensors", latent, dtype)
    read = read_latent(tmp_path / "a.safetensors")
    assert read.record == latent.record == read_record(tmp_path / "a.safetensors")
    torch.testing.assert_close(read.mean, latent.mean, rtol=rtol, atol=rtol)
    torch.testing.assert_close(read.logvar, latent.logvar, rtol=rtol, atol=rtol)


def test_forms_of_a_header_are_kept_and_files_without_them_are_read(tmp_path: Path) -> None:
    source = {"source_shape": [6, 8, 9], "source_affine": OBLIQUE, "source_dtype": "int16"}
    forms = HeaderForms(4, 0, 3, [1.0, 2.0, 2.0, 3.0], [0.0] * 6, [float(n) for n in range(12)])
    latent = a_latent(**source, source_forms=forms)
    write_latent(tmp_path / "a.safetensors", latent)
    assert read_latent(tmp_path / "a.safetensors").record.source_forms == forms
    # What an earlier version wrote: neither key nor part of the sum.
    values = asdict(from_plain(LatentRecord, asdict(a_latent(**source).record)))
    earlier = {key: value for key, value in values.items() if key not in LATER_FIELDS}
    tensors = {"mean": latent.mean, "logvar": latent.logvar}
    header = json.dumps({**earlier, "sha256": _digest(earlier, tensors)})
    save_file(tensors, tmp_path / "old.safetensors", {"vae3d": header})
    assert read_latent(tmp_path / "old.safetensors").record.source_forms is None


def test_values_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    latent = a_latent()
    latent.mean[0, 0, 0, 0] = 1e6
    write_latent(tmp_path / "a.safetensors", latent)
    for value, dtype in ((1e6, "float16"), (float("nan"), "float32")):
        latent.mean[0, 0, 0, 0] = value
        with pytest.raises(DataError, match=f"a: its latent has values that {dtype} cannot"):
            write_latent(tmp_path / "b.safetensors", latent, dtype)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_damage_is_never_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_latent(path, a_latent())
    whole = path.read_bytes()
    draw = random.Random(0)
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(DataError):
            read_latent(path)
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError):
            read_latent(path)
    with pytest.raises(DataError, match="no readable latent"):
        read_latent(tmp_path / "missing.safetensors")


def test_a_sample_belongs_to_seed_epoch_and_case() -> None:
    latent = a_latent()
    same = replace(latent, record=replace(latent.record, split="val"))
    assert torch.equal(latent.sample(0), same.sample(0))
    other = replace(latent, record=replace(latent.record, case_id="b"))
    for sample in (latent.sample(1), latent.sample(0, epoch=1), other.sample(0)):
        assert not torch.equal(sample, latent.sample(0))
    many = torch.stack([latent.sample(seed) for seed in range(3000)])
    torch.testing.assert_close(many.mean(0), latent.mean, atol=0.35, rtol=0)
    torch.testing.assert_close(many.std(0), (latent.logvar / 2).exp(), rtol=0.1, atol=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    health, entries = LatentHealth(), []
    for number in range(6):
        name = f"case{number}"
        latent = a_latent(number, case_id=name, shape=(16, 16 + 2 * number, 16))
        write_latent(tmp_path / latent_file(name), latent)
        health.add(DiagonalGaussian(latent.mean[None], latent.logvar[None]))
        record = latent.record
        split = "val" if number == 5 else "train"
        file = latent_file(name)
        entries.append(Entry(name, split, file, tuple(record.shape), record.size))
    write_manifest(tmp_path, entries)
    write_statistics(tmp_path, health.summary(), len(entries))
    return tmp_path


@pytest.mark.parametrize("way", ["channels", "factor"])
def test_normalised_latents_are_standard_and_can_be_restored(folder: Path, way: str) -> None:
    plain = LatentDataset(folder, normalise=None)
    dataset = LatentDataset(folder, normalise=way)
    values = torch.cat([item["latent"].flatten(1) for item in dataset], dim=1)  # type: ignore[attr-defined]
    assert abs(values.mean().item()) < 0.05
    assert abs(values.std().item() - 1) < 0.05
    for a, b in zip(dataset, plain, strict=True):  # type: ignore[call-overload]
        back = dataset.statistics.restored(a["latent"], way)
        torch.testing.assert_close(back, b["latent"], atol=1e-5, rtol=0)
        batched = dataset.statistics.restored(a["latent"][None], way)[0]
        assert torch.equal(batched, back)


def test_crops_are_crops_of_the_whole_sample(folder: Path) -> None:
    whole, cut = LatentDataset(folder), LatentDataset(folder, size=(2, 3, 4))
    for large, small in zip(whole, cut, strict=True):  # type: ignore[call-overload]
        windows = large["latent"]
        for axis, side in enumerate((2, 3, 4), start=1):
            windows = windows.unfold(axis, side, 1)
        places = windows.flatten(1, 3)
        assert (places == small["latent"][:, None]).flatten(2).all(2).all(0).any()
    first = [item["latent"] for item in cut]  # type: ignore[attr-defined]
    cut.set_epoch(1)
    assert not torch.equal(cut[0]["latent"], first[0])
    cut.set_epoch(0)
    loaded = DataLoader(cut, batch_size=6, num_workers=2)
    assert torch.equal(next(iter(loaded))["latent"], torch.stack(first))


def test_splits_and_what_is_refused(folder: Path) -> None:
    assert [e.case_id for e in LatentDataset(folder, split="val").entries] == ["case5"]
    mean = LatentDataset(folder, sample=False, normalise=None)
    assert torch.equal(mean[0]["latent"], a_latent(0, shape=(16, 16, 16)).mean)
    for wrong, message in (
        ({"split": "test"}, "holds no case"),
        ({"size": 9}, "at most"),
        ({"size": (2, 2)}, "3 positive numbers"),
        ({"normalise": "all"}, "channels, factor or None"),
    ):
        with pytest.raises(ConfigError, match=message):
            LatentDataset(folder, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="3 channels"):
        mean.statistics.normalised(torch.zeros(5, 2, 2, 2))
    with pytest.raises(DataError, match="vae3d encode writes one"):
        LatentDataset(folder / "cases")


def test_a_channel_of_deviation_0_stays_finite() -> None:
    statistics = LatentStatistics(1.0, 0.0, [1.0, 2.0], [0.0, 2.0])
    assert torch.equal(
        statistics.normalised(torch.ones(2, 1, 1)).flatten(), torch.tensor([0.0, -0.5])
    )


def test_the_channel_axis_is_inferred_or_required() -> None:
    statistics = LatentStatistics(1.0, 0.0, [1.0, 2.0], [1.0, 2.0])
    for batch in (torch.randn(2, 2, 3, 4, 5), torch.randn(3, 2, 4, 5), torch.randn(2, 2, 2, 2, 2)):
        alone = torch.stack([statistics.normalised(latent, axis=0) for latent in batch])
        assert torch.equal(statistics.normalised(batch), alone)
        torch.testing.assert_close(statistics.restored(alone), batch)
    square = torch.randn(2, 2, 4, 5)
    with pytest.raises(ConfigError, match="pass axis=0 for one latent, axis=1 for a batch"):
        statistics.normalised(square)
    assert not torch.equal(
        statistics.normalised(square, axis=0), statistics.normalised(square, axis=1)
    )
    assert torch.equal(
        statistics.normalised(square, axis=-3), statistics.normalised(square, axis=1)
    )
