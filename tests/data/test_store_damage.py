"""Damage to a store and to its scans is noticed, named and repaired."""

import gzip
import shutil
import struct
from pathlib import Path

import blosc2
import nibabel
import numpy as np
import pytest

from tests.conftest import ROOT
from tests.data.stores import SILENT, contents, preparation, write_scans
from vae3d.data import stored
from vae3d.data.build import open_cases
from vae3d.data.config import CTConfig, StoreConfig
from vae3d.data.stored import StoredCases
from vae3d.errors import DataError, VolumeError
from vae3d.files.atomic import file_digest
from vae3d.store.arrays import CODECS, array_suffix, open_array, write_array
from vae3d.store.catalog import Catalog
from vae3d.store.foreground import ForegroundMap
from vae3d.store.settings import CATALOG

STORE_OF_FORMAT_1 = ROOT / "tests" / "fixtures" / "v0_1" / "store"


def test_damage_to_a_store_is_named_and_repaired(tmp_path: Path) -> None:
    scans = write_scans(tmp_path / "in")
    config = CTConfig(root=str(scans), store=str(tmp_path / "s"))
    preparation(config).run()
    sound = contents(tmp_path / "s")
    path = next((tmp_path / "s").glob("cases/*/case2*"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(VolumeError, match=r"case2.*is damaged.*verify=true mends the store"):
        open_cases(config, SILENT)[2]
    other = next((tmp_path / "s").glob("cases/*/case3*"))
    flipped = bytearray(other.read_bytes())
    flipped[len(flipped) // 2] ^= 4
    other.write_bytes(flipped)
    assert preparation(config).verify() == ["case2", "case3"]
    preparation(config).run()
    assert contents(tmp_path / "s") == sound


def test_an_array_of_another_scan_is_refused_in_its_place(tmp_path: Path) -> None:
    config = CTConfig(root=str(write_scans(tmp_path / "in")), store=str(tmp_path / "s"))
    cases = open_cases(config, SILENT)
    one, other = (cases.described(index).path for index in (1, 2))
    one.write_bytes(other.read_bytes())
    with pytest.raises(VolumeError, match=r"case1.*array of another scan"):
        open_cases(config, SILENT)[1]


def test_arrays_without_checksums_are_verified_whole_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(STORE_OF_FORMAT_1, tmp_path / "s")
    config = StoreConfig(root=str(tmp_path / "s"))
    digested: list[Path] = []
    monkeypatch.setattr(
        stored, "file_digest", lambda path: digested.append(path) or file_digest(path)
    )
    monkeypatch.setattr(stored, "MAX_OPEN", 1)
    cases = open_cases(config, SILENT)
    for index in (0, 1, 0, 1):
        cases[index].volume()
    assert digested == [cases.described(index).path for index in (0, 1)]
    path = cases.described(2).path
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(VolumeError, match=r"SHA-256 is not that of the catalog"):
        cases[2].volume()


@pytest.mark.parametrize("codec", [*CODECS])
def test_no_flipped_bit_gives_other_voxels(tmp_path: Path, codec: str) -> None:
    # Smooth, so that it compresses, and of several chunks.
    ramp = np.add.outer(np.arange(70), np.arange(66)).astype(np.int16)
    image = np.stack([ramp, ramp[::-1] // 3])[None]
    path = tmp_path / f"a{array_suffix(codec)}"
    write_array(path, image, codec)
    sound, maxima = path.read_bytes(), ForegroundMap.of(image[0]).maxima
    rng, noticed = np.random.default_rng(0), 0
    for _ in range(150):
        damaged = bytearray(sound)
        damaged[rng.integers(len(sound))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            array, found = open_array(path)
            voxels = array[:, :, :, :]
        except (VolumeError, ValueError, RuntimeError):
            noticed += 1
        else:
            # Some bytes of the container have no meaning.
            assert np.array_equal(voxels, image)
            assert np.array_equal(found, maxima)
    assert noticed > 100


@pytest.mark.parametrize("codec", [*CODECS])
def test_chunks_are_verified_once_and_arrays_of_earlier_versions_are_not(
    tmp_path: Path, codec: str
) -> None:
    image = np.random.default_rng(0).integers(0, 99, (1, 70, 70)).astype(np.int16)
    path = tmp_path / f"a{array_suffix(codec)}"
    write_array(path, image, codec)
    array, _ = open_array(path)
    assert np.array_equal(array[:, 64:70, :10], image[:, 64:70, :10])
    assert array.verified.tolist() == [[[False, False], [True, False]]]
    again, _ = open_array(path, array.verified)
    assert np.array_equal(again[:, :10, :10], image[:, :10, :10])
    assert array.verified.tolist() == [[[True, False], [True, False]]]

    if codec == "none":
        with path.open("wb") as file:
            np.save(file, image)
            np.save(file, ForegroundMap.of(image[0]).maxima)
    else:
        earlier = blosc2.open(str(path), mode="a")
        del earlier.schunk.vlmeta["checksums"]
        del earlier
    array, _ = open_array(path)
    assert array.verified.all()
    assert np.array_equal(array[:, :, :], image)


def test_a_damaged_catalog_is_named_and_written_again(tmp_path: Path) -> None:
    write_scans(tmp_path / "in", count=2)
    config = CTConfig(root=str(tmp_path / "in"), store=str(tmp_path / "s"))
    preparation(config).run()
    catalog = tmp_path / "s" / CATALOG
    catalog.write_bytes(b"not a table" * 1000)
    with pytest.raises(DataError, match="damaged"):
        Catalog(catalog)
    preparation(config).run()
    assert len(Catalog(catalog)) == 2


def test_damaged_scans_never_reach_a_store_with_other_voxels(tmp_path: Path) -> None:
    scans = write_scans(tmp_path / "in", count=1)
    whole = (scans / "case0.nii.gz").read_bytes()
    voxels = nibabel.load(scans / "case0.nii.gz").get_fdata()
    rng = np.random.default_rng(0)
    for number in range(60):
        raw = bytearray(whole)
        if number % 3 == 0:
            raw[int(rng.integers(10, len(raw)))] ^= 1 << int(rng.integers(8))
        elif number % 3 == 1:
            raw = raw[: int(rng.integers(len(raw)))]
        else:
            header = bytearray(gzip.decompress(whole))
            struct.pack_into("<3h", header, 42, *(int(n) for n in rng.integers(40, 2000, 3)))
            raw = bytearray(gzip.compress(bytes(header)))
        (scans / f"damaged{number:02d}.nii.gz").write_bytes(raw)
    config = CTConfig(root=str(scans), store=str(tmp_path / "s"), on_error="skip")
    cases = open_cases(config, SILENT)
    assert isinstance(cases, StoredCases)
    assert len(cases.failures) >= 58
    for index in set(range(61)) - set(cases.failures):
        # A flip in the name that gzip keeps changes nothing.
        assert cases[index].shape == voxels.shape[::-1]
        assert cases[index].statistics.digest == cases[0].statistics.digest
