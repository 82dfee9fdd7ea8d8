"""Cases in memory: which are usable, which are cached, where their foreground is."""

from typing import Any

import numpy as np
import pytest
import torch

from vae3d.data.config import CaseData, PreparableData, SourceData, SyntheticConfig
from vae3d.data.loaded import LoadedCase, LoadedCases
from vae3d.data.phantoms import PhantomSource
from vae3d.errors import ConfigError, DataError, VolumeError
from vae3d.runtime.seeding import numpy_generator
from vae3d.scans.volume import Volume, checked
from vae3d.store.foreground import ForegroundMap
from vae3d.values.intensity import IntensityContract

WINDOW = IntensityContract("window", 0.0, 100.0, "HU")


def volume_of(values: Any) -> Volume:
    return Volume(torch.as_tensor(values).reshape(1, 1, 1, -1), np.eye(4), "case")


class Phantoms(PhantomSource):
    """Phantoms that count how often they are read; the `bad` ones cannot be read."""

    def __init__(self, config: SyntheticConfig, bad: tuple[int, ...] = ()) -> None:
        super().__init__(config)
        self.bad = bad
        self.reads: list[int] = []

    def read(self, index: int) -> Volume:
        self.reads.append(index)
        if index in self.bad:
            raise VolumeError(f"scan{index}.nii", "is gone")
        return super().read(index)


def cases_of(bad: tuple[int, ...] = (), count: int = 4, **options: Any) -> LoadedCases:
    options = {"val_fraction": 0.0, "test_fraction": 0.0, **options}
    config = SyntheticConfig(shape=(8, 8, 8), count=count, **options)
    return LoadedCases(Phantoms(config, bad), config)


def reads(cases: LoadedCases) -> list[int]:
    assert isinstance(cases.source, Phantoms)
    return cases.source.reads


def test_cases_are_cached_up_to_the_cache_size() -> None:
    """The least recently used ones are dropped first; one case is always kept."""
    one = 4 * 8**3
    cases = cases_of(cache_gib=2.5 * one / 2**30)
    for index in (0, 1, 0, 2, 0, 1):
        assert cases[index].case_id == f"phantom_{index:04d}"
    assert reads(cases) == [0, 1, 2, 1]
    cases = cases_of(cache_gib=2 * one / 2**30)
    for index in (0, 1, 0, 1):
        cases[index]
    assert reads(cases) == [0, 1], "just enough room"
    cases = cases_of(cache_gib=0)
    for index in (0, 0, 1, 0):
        cases[index]
    assert reads(cases) == [0, 1, 0]


def test_a_survey_stops_at_the_first_or_leaves_out_the_bad(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cases = cases_of(bad=(1, 3))
    with pytest.raises(VolumeError, match=r"scan1\.nii: is gone"):
        cases.survey("train")
    assert reads(cases) == [0, 1]
    assert caplog.messages == []
    cases = cases_of(bad=(1, 3), on_error="skip")
    usable = cases.survey("train")
    assert usable.tolist() == [0, 2]
    assert caplog.messages == [
        "skipped scan1.nii: is gone", "skipped scan3.nii: is gone", "skipped 2 cases of train"
    ]  # fmt: skip
    assert [*cases.shapes(usable)] == [(8, 8, 8)] * 2
    assert cases_of().survey("val").tolist() == []
    assert cases_of().survey("train").tolist() == [0, 1, 2, 3]
    assert len(caplog.messages) == 3
    with pytest.raises(DataError, match="none of 4 cases of train can be used, the first"):
        cases_of(bad=(0, 1, 2, 3), on_error="skip").survey("train")


def test_a_fingerprint_is_of_names_and_shapes() -> None:
    few, many = cases_of(), cases_of(count=6)
    prints = []
    for cases in (few, many):
        cases.survey("train")
        prints.append(cases.fingerprint(np.arange(4)))
        prints.append(cases.fingerprint(np.arange(3)))
    assert prints[0] == prints[2] != prints[1] == prints[3]
    larger = SyntheticConfig(shape=(8, 8, 9), count=4, val_fraction=0, test_fraction=0)
    other = LoadedCases(PhantomSource(larger), larger)
    other.survey("train")
    assert other.fingerprint(np.arange(4)) != prints[0]


def test_useless_voxels_are_refused() -> None:
    nan, inf = float("nan"), float("inf")
    volume = volume_of([3.0, 1.0, 2.0])
    same, filled = checked(volume, "fail")
    assert same.data is volume.data
    assert filled == 0
    with pytest.raises(VolumeError, match="all voxels have the one value 7"):
        checked(volume_of([7.0, 7.0]), "fail")
    with pytest.raises(VolumeError, match="holds no finite voxel"):
        checked(volume_of([nan, inf]), "fill")
    for bad in (nan, inf, -inf):
        broken = volume_of([3.0, bad, 1.0, 2.0, bad])
        with pytest.raises(VolumeError, match="2 of 5 voxels are NaN or Inf"):
            checked(broken, "fail")
        filled, count = checked(broken, "fill")
        assert count == 2
        assert filled.data.flatten().tolist() == [3, 1, 1, 2, 1]
    with pytest.raises(VolumeError, match="one value 3"):
        checked(volume_of([3.0, nan]), "fill")


def test_foreground_is_above_a_tenth_of_the_range() -> None:
    voxels = torch.zeros(1, 20, 17, 40)
    voxels[0, 18, 16, 33] = 10.5
    voxels[0, 2, 3, 4] = 9.5
    case = LoadedCase(Volume(voxels, np.eye(4), "case"), WINDOW)
    for number in range(5):
        generator = numpy_generator(0, "", number)
        voxel = case.foreground_voxel(None, generator)
        assert voxel is not None
        assert voxel.tolist() == [18, 16, 33]
    assert case.foreground_voxel(10.5, generator) is None, "above, not at it"
    drawn = {
        tuple(voxel.tolist())
        for number in range(40)
        if (voxel := case.foreground_voxel(9.0, numpy_generator(0, "", number))) is not None
    }
    assert drawn == {(18, 16, 33), (2, 3, 4)}


def test_the_map_has_the_largest_value_of_each_cell() -> None:
    image = np.random.default_rng(0).integers(-99, 99, (33, 16, 5))
    foreground = ForegroundMap.of(image)
    assert foreground.maxima.shape == (3, 1, 1)
    assert foreground.maxima[:, 0, 0].tolist() == [image[i : i + 16].max() for i in (0, 16, 32)]


@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        (CaseData, {"max_skipped": 1.1}, "max_skipped must be in"),
        (CaseData, {"max_skipped": -0.1}, "max_skipped must be in"),
        (CaseData, {"val_fraction": 1.0}, "val_fraction must be in"),
        (CaseData, {"test_fraction": -0.1}, "test_fraction must be in"),
        (CaseData, {"val_fraction": 0.5, "test_fraction": 0.5}, "leave nothing to train on"),
        (CaseData, {"on_error": "stop"}, "on_error must be one of fail, skip"),
        (CaseData, {"workers": -1}, "workers must be at least 0"),
        (CaseData, {"timeout": 0}, "timeout must be above 0"),
        (SourceData, {"nonfinite": "drop"}, "nonfinite must be one of fail, fill"),
        (SourceData, {"cache_gib": -0.1}, "cache_gib must be at least 0"),
        (SourceData, {"cache_gib": float("inf")}, "cache_gib must be at least 0"),
        (PreparableData, {"codec": "zip"}, "codec must be one of lz4, lz4_fast, zstd, none"),
        (SyntheticConfig, {"shape": (4,)}, r"data\.shape (needs 2 or 3 numbers|must be in)"),
        (SyntheticConfig, {"shape": (4, 0)}, r"data\.shape (needs 2 or 3 numbers|must be in)"),
        (SyntheticConfig, {"shape": (4, 1025)}, r"data\.shape (needs 2 or 3 numbers|must be in)"),
        (SyntheticConfig, {"count": 0}, "count must be at least 1"),
    ],
    ids=str,
)
def test_impossible_settings_are_refused(kind: Any, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        kind(**wrong)


def test_extreme_settings_are_accepted() -> None:
    CaseData(max_skipped=0.0, val_fraction=0.0, test_fraction=0.0, workers=0, timeout=1e-3)
    CaseData(max_skipped=1.0, val_fraction=0.5, test_fraction=0.49)
    SourceData(cache_gib=0.0)
    SyntheticConfig(shape=(1, 1024), count=1)


def test_defaults_of_phantoms_are_pinned() -> None:
    defaults = SyntheticConfig()
    assert (defaults.shape, defaults.count, defaults.seed, defaults.store) == (
        (64, 64, 64),
        64,
        0,
        None,
    )
    shared = CaseData()
    assert (shared.val_fraction, shared.test_fraction, shared.max_skipped) == (0.1, 0.1, 0.01)
    assert (shared.on_error, shared.workers, shared.timeout) == ("fail", 0, 300.0)
    assert (defaults.nonfinite, defaults.cache_gib, defaults.codec) == ("fail", 4.0, "lz4")


def test_identity_label_and_source_of_phantoms() -> None:
    config = SyntheticConfig(shape=(4, 5, 6), count=2, seed=3)
    assert config.label == "phantoms_4x5x6"
    assert config.identity() == {"kind": "Phantoms", "shape": [4, 5, 6], "seed": 3}
    source = PhantomSource(config)
    assert source.case_ids == ["phantom_0000", "phantom_0001"]
    stamps = [source.stamp(index) for index in range(2)]
    assert stamps[0].mark != stamps[1].mark
    assert {stamp.num_bytes for stamp in stamps} == {4 * 4 * 5 * 6}
    other = PhantomSource(SyntheticConfig(shape=(4, 5, 6), count=2, seed=4)).stamp(0)
    assert other.mark != stamps[0].mark
    volume = source.read(1)
    assert volume.shape == (4, 5, 6)
    assert volume.spacing == pytest.approx([400 / 6] * 3), "400 mm along the longest axis"
    middle = volume.affine @ [1.5, 2.0, 2.5, 1.0]
    assert middle.tolist() == pytest.approx([0, 0, 0, 1], abs=1e-9)
    corner = volume.affine @ [3.0, 0.0, 0.0, 1.0]
    assert corner[2] > 0, "D runs upwards"
    assert corner[0] == pytest.approx(-2.5 * 400 / 6)


def test_one_number_is_a_cube_of_phantoms() -> None:
    assert SyntheticConfig(shape=8).shape == (8, 8, 8)
    assert SyntheticConfig(shape=[8, 9]).shape == (8, 9)
