"""Journals and catalogs: complete records are read, line by line."""

import gc
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from vae3d.errors import DataError
from vae3d.scans.volume import SourceGeometry
from vae3d.store.arrays import array_file
from vae3d.store.catalog import CaseRecord, Catalog, Journal, latest_records, write_catalog
from vae3d.values.splits import SplitRule, case_rank
from vae3d.values.voxel_statistics import PERCENTILES, VoxelStatistics

STATISTICS = VoxelStatistics(-1.0, 2.0, 0.5, 0.1, tuple(map(float, PERCENTILES)), 3, "d")
AFFINE = np.array([[1.0, 0, 0, 5], [0, 2, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]])


def record(name: str, **changes: object) -> CaseRecord:
    values = {
        "case_id": name, "source": f"/scans/{name}", "stamp": "1:2",
        "file": array_file(name, "lz4"),
        "num_bytes": 9, "digest": "f", "dtype": "int16", "channels": 2, "shape": (3, 4, 5),
        "affine": tuple(map(tuple, AFFINE.tolist())), "statistics": STATISTICS,
        "geometry": SourceGeometry(Path(f"/scans/{name}"), (5, 4, 3), AFFINE, "int16"),
        "box": ((0, 1, 2), (1, 1, 1)), **changes,
    }  # fmt: skip
    return CaseRecord(**values)  # type: ignore[arg-type]


FLAT = record("c", shape=(7, 8), affine=((2.0, 0.0, 1.0), (0.0, 2.0, 1.0), (0.0, 0.0, 1.0)),
              geometry=None, box=((0, 1), (1, 1)))  # fmt: skip


def failed(name: str) -> CaseRecord:
    return CaseRecord(name, f"/scans/{name}", "", error="is gone")


def test_a_record_survives_a_round_trip_as_one_line() -> None:
    for one in (record("a"), failed("b"), record("c", geometry=None, box=None)):
        text = one.to_json()
        assert "\n" not in text
        again = CaseRecord.from_json(text)
        assert again.to_json() == text
        assert (again.shape, again.affine, again.box) == (one.shape, one.affine, one.box)
        assert again.statistics == one.statistics
    assert record("a").decoded_bytes == 2 * 60 * 2
    assert failed("a").decoded_bytes == 0
    for wrong in ("", "{}", "[]", '{"case_id": "a"}', record("a").to_json()[:-5]):
        with pytest.raises(ValueError):  # noqa: PT011
            CaseRecord.from_json(wrong)


def test_a_journal_continues_after_a_cut_off_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    journal = Journal(path)
    for name in "ab":
        journal.append(record(name))
    whole = path.read_bytes()
    assert whole.count(b"\n") == 2
    assert whole.endswith(b"\n")
    path.write_bytes(whole[:-7])
    journal.append(record("c"))
    assert [one.case_id for one in journal.records()] == ["a", "c"]
    assert path.read_bytes().count(b"\n") == 3
    path.write_bytes(b"")
    journal.append(record("d"))
    assert path.read_bytes() == record("d").to_json().encode() + b"\n"


def test_the_newest_record_of_a_case_is_returned() -> None:
    records = [record("a", num_bytes=1), record("b"), record("a", num_bytes=2)]
    latest = latest_records(records, ["b", "a"])
    assert [(one.case_id, one.num_bytes) for one in latest] == [("b", 9), ("a", 2)]


def test_a_catalog_returns_its_cases(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    rows = [record("a"), failed("b"), FLAT]
    write_catalog(path, [(row, None) for row in rows])
    catalog = Catalog(path)
    assert len(catalog) == 3
    assert [catalog.case_id(number) for number in range(3)] == ["a", "b", "c"]
    assert [one.to_json() for one in catalog.records()] == [one.to_json() for one in rows]
    assert catalog.record(2).to_json() == rows[2].to_json()
    assert [*catalog.shapes(np.array([0, 2]))] == [(3, 4, 5), (7, 8)]
    assert [*catalog.shapes(np.array([2]))] == [(7, 8)]
    assert [*catalog.shapes(np.array([], np.int64))] == []
    assert [*catalog.files()] == [array_file(name, "lz4") for name in "ac"]
    assert [*catalog.stamps()] == [
        *(("a", None, case_rank("a"), "1:2"), ("b", None, case_rank("b"), "")),
        ("c", None, case_rank("c"), "1:2"),
    ]
    assert [*catalog.failures()] == [(1, "/scans/b", "is gone")]
    rule = SplitRule(0.4, 0.0)
    expected = rule.draw(map(case_rank, "abc"))
    splits = catalog.split(rule)
    assert {k: v.tolist() for k, v in splits.items()} == {
        k: v.tolist() for k, v in expected.items()
    }
    write_catalog(path, zip(rows, ["val", "train", "val"], strict=True))
    assigned = {name: numbers.tolist() for name, numbers in Catalog(path).split(rule).items()}
    assert assigned == {"train": [1], "val": [0, 2], "test": []}


def test_a_fingerprint_is_of_names_splits_and_voxels(tmp_path: Path) -> None:
    prints = []
    for rows in (
        [(record("a"), None)],
        [(record("a", num_bytes=1, source="elsewhere", stamp="3"), None)],
        [(record("b"), None)],
        [(record("a"), "val")],
        [(record("a", statistics=VoxelStatistics(0, 1, 0, 0, (), 0, "e")), None)],
        [(failed("a"), None)],
        [(record("a"), None), (record("b"), None)],
    ):
        write_catalog(tmp_path / "catalog.sqlite", rows)
        prints.append(Catalog(tmp_path / "catalog.sqlite").fingerprint)
    assert prints[0] == prints[1]
    assert len({*prints}) == len(prints) - 1


def test_damage_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "catalog.sqlite"
    with pytest.raises(DataError, match=r"no store here \(catalog\.sqlite is missing\)"):
        Catalog(path)
    path.write_bytes(b"no database" * 99)
    with pytest.raises(DataError, match=r"catalog\.sqlite: damaged"):
        Catalog(path)
    monkeypatch.setattr("vae3d.store.catalog.FORMAT", 3)
    write_catalog(path, [(record("a"), None)])
    monkeypatch.undo()
    with pytest.raises(DataError, match="format 3 is not 2"):
        Catalog(path)


def test_a_catalog_that_is_gone_has_closed_its_database(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    write_catalog(path, [(record("a"), None)])
    catalog = Catalog(path)
    assert len(catalog) == 1
    connection = catalog._connect()
    del catalog
    gc.collect()
    # Python 3.13 warns of a database that nobody closed.
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")
