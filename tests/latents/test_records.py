"""Records of latents, and folders with manifests and statistics."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from vae3d.errors import ConfigError, DataError
from vae3d.latents import file as module
from vae3d.latents.file import Latent, LatentRecord, is_latent, read_latent, write_latent
from vae3d.latents.folder import (
    Entry,
    latent_file,
    read_manifest,
    read_statistics,
    write_manifest,
    write_statistics,
)
from vae3d.values.latent_statistics import LatentStatistics

AFFINE = [[0.0, 0.0, 1.0, -7.0], [0.0, 2.0, 0.0, 1.0], [3.0, 0.0, 0.0, 5.0], [0, 0, 0, 1.0]]
RECORD = LatentRecord(
    "a", "train", [9, 8, 6], AFFINE, [4, 2, 2], -1000.0, 1000.0, "HU", "w", "s", "fp32",
    [6, 8, 9], AFFINE, "int16",
)  # fmt: skip


def written(path: Path, **changes: Any) -> Path:
    """Write a file with any record and the right checksum."""
    record = replace(RECORD, **changes)
    size = record.size if len(record.shape) == len(record.factor) and min(record.factor) else (1,)
    mean, logvar = torch.zeros(2, 2, *(max(n, 0) for n in size))
    write_latent(path, Latent(record, mean, logvar))
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [1, 1, 1]},
        {"factor": [1, 1, 1]},
        {"source_shape": None, "source_affine": None, "source_dtype": None},
        {"low": 0.0, "high": 1e-6},
        {"voxels": "5" * 32, "geometry": "6" * 32},
        {"shape": [9, 8], "factor": [4, 2], "affine": np.eye(3).tolist(),
         "source_shape": [8, 9], "source_affine": np.eye(3).tolist()},
    ],
    ids=str,
)  # fmt: skip
def test_valid_records_are_read(tmp_path: Path, changes: dict[str, Any]) -> None:
    latent = read_latent(written(tmp_path / "a.safetensors", **changes))
    assert latent.record == replace(RECORD, **changes)


SINGULAR = [AFFINE[0], AFFINE[1], [0.0, 0.0, 2.0, 5.0], AFFINE[3]]


@pytest.mark.parametrize(
    "changes",
    [
        {"format_version": 2}, {"format_version": 0},
        {"shape": [9, 8], "factor": [4, 2]},
        {"factor": [4, 2]}, {"factor": [4, 2, 2, 1]}, {"factor": [4, 2, -1]},
        {"shape": [9, 8, 0]}, {"low": 1000.0}, {"low": 2000.0},
        {"shape": [9], "factor": [4], "affine": np.eye(2).tolist(), "source_shape": [9],
         "source_affine": np.eye(2).tolist()},
        {"affine": AFFINE[:3]}, {"affine": [row[:3] for row in AFFINE]}, {"affine": SINGULAR},
        {"affine": [*AFFINE[:3], [0.0, 0.0, 1.0, 1.0]]}, {"affine": [[1e30] * 4, *AFFINE[1:]]},
        {"source_dtype": None}, {"source_shape": None}, {"source_affine": None},
        {"source_affine": SINGULAR}, {"source_shape": [6, 8]}, {"source_shape": [6, 8, 0]},
    ],
    ids=lambda changes: "-".join(f"{k}{v}"[:30] for k, v in changes.items()),
)  # fmt: skip
def test_invalid_records_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = written(tmp_path / "a.safetensors", **changes)
    with pytest.raises(DataError, match=r"a\.safetensors: is no latent of this version"):
        read_latent(path)


def test_the_number_of_voxels_of_a_grid_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "a.safetensors")
    monkeypatch.setattr(module, "MAX_VOXELS", 9 * 8 * 6)
    read_latent(path)
    monkeypatch.setattr(module, "MAX_VOXELS", 9 * 8 * 6 - 1)
    with pytest.raises(DataError, match="is no latent"):
        read_latent(path)


def test_a_latent_is_recognised_by_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "a.safetensors")
    assert is_latent(path)
    save_file({"latent": torch.zeros(2)}, tmp_path / "b.safetensors")
    save_file({"latent": torch.zeros(2)}, tmp_path / "c.safetensors", {"other": "1"})
    assert not is_latent(tmp_path / "b.safetensors")
    assert not is_latent(tmp_path / "c.safetensors")
    size = int.from_bytes(path.read_bytes()[:8], "little")
    monkeypatch.setattr(module, "MAX_HEADER_BYTES", size)
    assert is_latent(path)
    monkeypatch.setattr(module, "MAX_HEADER_BYTES", size - 1)
    for look in (is_latent, read_latent):
        with pytest.raises(DataError, match=f"has {size} bytes, at most {size - 1}"):
            look(path)  # type: ignore[operator]


def test_the_tensors_must_be_of_the_record(tmp_path: Path) -> None:
    mean, logvar = torch.zeros(2, 2, 3, 4, 4)
    write_latent(tmp_path / "a.safetensors", Latent(RECORD, mean, logvar))
    with pytest.raises(DataError, match="do not have the size of its record"):
        read_latent(tmp_path / "a.safetensors")
    described = {"vae3d": json.dumps({**asdict(RECORD), "sha256": "0"})}
    for names in (("mean",), ("mean", "logvar", "more")):
        save_file({name: torch.zeros(1) for name in names}, tmp_path / "b.safetensors", described)
        with pytest.raises(DataError, match="is no latent"):
            read_latent(tmp_path / "b.safetensors")


ENTRIES = [
    Entry("a/b", "train", latent_file("a/b"), (9, 8, 6), (3, 4, 3)),
    Entry('odd,"name', "", latent_file('odd,"name'), (1, 2), (1, 1), "ab", "cd"),
]


def test_a_manifest_survives_a_round_trip(tmp_path: Path) -> None:
    write_manifest(tmp_path, ENTRIES)
    assert read_manifest(tmp_path) == ENTRIES
    lines = (tmp_path / "manifest.csv").read_text().splitlines()
    assert lines[0] == "case_id,split,file,shape,size,voxels,weights"
    assert lines[1] == f"a/b,train,{latent_file('a/b')},9x8x6,3x4x3,,"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("9x8x6", "9xy"), "cannot be read"),
        (lambda text: text.replace("shape", "form"), "cannot be read"),
        (lambda text: text.replace("cases/", "../"), "is not the file of 'a/b'"),
    ],
)
def test_a_damaged_manifest_is_named(
    tmp_path: Path, change: Callable[[str], str], message: str
) -> None:
    write_manifest(tmp_path, ENTRIES)
    path = tmp_path / "manifest.csv"
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError, match=message):
        read_manifest(tmp_path)


def test_statistics_survive_a_round_trip(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no statistics\.json; vae3d encode writes one"):
        read_statistics(tmp_path)
    statistics = LatentStatistics(0.5, -1.0, [1.0, 2.0], [0.25, 4.0], 7)
    summary = {**statistics.describe(), "channels": [], "active_channels": 2, "elements": 99}
    write_statistics(tmp_path, summary, 7)
    assert read_statistics(tmp_path) == read_statistics(tmp_path, "ab") == statistics
    write_statistics(tmp_path, summary, 7, "ab")
    assert read_statistics(tmp_path) == read_statistics(tmp_path, "ab") == statistics
    with pytest.raises(ConfigError, match=r"other weights; name .* or add allow=\[weights\]"):
        read_statistics(tmp_path, "cd")
    write_statistics(tmp_path, {**summary, "latents_std": [1.0]}, 7)
    with pytest.raises(DataError, match="must hold one number a channel each; run vae3d encode"):
        read_statistics(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"latents_mean": []}, {"latents_std": [1.0]}, {"scaling_factor": 0.0},
        {"scaling_factor": -1.0}, {"latents_std": [1.0, -0.1]}, {"shift_factor": float("inf")},
        {"latents_mean": [0.0, float("nan")]}, {"cases": 0},
    ],
    ids=str,
)  # fmt: skip
def test_impossible_statistics_are_refused(wrong: dict[str, Any]) -> None:
    right = LatentStatistics(1.0, 0.0, [0.0, 1.0], [0.0, 1.0], 1)
    with pytest.raises(ConfigError):
        replace(right, **wrong)


def test_normalised_latents_follow_the_formula() -> None:
    statistics = LatentStatistics(4.0, 0.5, [1.0, -2.0], [0.5, 0.0])
    latent = torch.tensor([3.0, 5.0]).reshape(2, 1, 1)
    assert statistics.normalised(latent, "factor").flatten().tolist() == [10.0, 18.0]
    assert statistics.normalised(latent).flatten().tolist() == [4.0, 7.0], (
        "a spread of 0 counts as 1"
    )
    for way in ("factor", "channels"):
        assert torch.equal(statistics.restored(statistics.normalised(latent, way), way), latent)
    with pytest.raises(ConfigError, match="normalise must be channels, factor or null, got 'all'"):
        statistics.normalised(latent, "all")
    for shape in ((3, 4, 5), (2, 3, 4, 5, 6)):
        with pytest.raises(ConfigError, match="do not have the statistics' 2 channels"):
            statistics.normalised(torch.zeros(shape))
    # With one channel either axis is the same.
    one = LatentStatistics(4.0, 0.5, [1.0], [0.5])
    assert one.normalised(torch.full((1, 1, 2, 2), 2.0)).unique().tolist() == [2.0]


def test_voxels_may_be_small_but_not_flat(tmp_path: Path) -> None:
    """A voxel is refused for its flatness, not for its size."""
    small = [[value / 1000 for value in row[:3]] + row[3:] for row in AFFINE[:3]] + AFFINE[3:]
    read_latent(written(tmp_path / "a.safetensors", affine=small))
    for lean, flat in ((1e-5, False), (1e-7, True)):
        affine = [[0.0, 1.0, 1.0, 0.0], [0.0, 0.0, lean, 0.0], [1.0, 0.0, 0.0, 0.0], AFFINE[3]]
        path = written(tmp_path / "a.safetensors", affine=affine)
        if flat:
            with pytest.raises(DataError, match="is no latent"):
                read_latent(path)
        else:
            read_latent(path)
