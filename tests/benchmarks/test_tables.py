"""Tables at miniature sizes: every contender of a table has its row and its values."""

import runpy
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import machine
from benchmarks.result import Block
from benchmarks.table import SCALES, Table, changed, purpose, table_names
from benchmarks.tables import loader

NAMES = ("model", "inference", "latents", "loader", "overlap", "verification", "rate")
"""Tables whose contenders are calls; those that start processes take too long for the gate."""
PEERS = ("monai", "torchio", "vae3d2d")
SLOW = ("start", "operators", "catalog", "cases", "portions", "evaluation", "commands", "slowdown")
SCRIPTS = ("memory", "opening", "codecs")
"""Tables that scripts of their own print."""


def check(blocks: list[Block]) -> None:
    assert blocks
    for block in blocks:
        assert block.rows
        assert {len(row) for row in block.rows} == {len(block.heads)}
        assert len(block.samples) >= len(block.rows)
        assert all(value > 0 for values in block.samples.values() for value in values)


def rows_of(blocks: list[Block]) -> list[str]:
    return [row[0] for block in blocks for row in block.rows]


@pytest.mark.parametrize("name", NAMES)
def test_a_table_without_peers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(package: str) -> ModuleSpec | None:
        return None if package in PEERS else find_spec(package)

    monkeypatch.setattr(machine, "find_spec", found)
    blocks = Table.load(name).blocks("miniature", [])
    check(blocks)
    assert not [row for row in rows_of(blocks) if "MONAI" in row or "TorchIO" in row]


@pytest.mark.extras
@pytest.mark.parametrize("name", ["model", "inference", "latents", "loader"])
def test_a_table_with_monai(name: str) -> None:
    blocks = Table.load(name).blocks("miniature", [])
    check(blocks)
    assert [row for row in rows_of(blocks) if "MONAI" in row]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SLOW, *SCRIPTS])
def test_a_table_with_processes(name: str) -> None:
    blocks = Table.load(name).blocks("miniature", [])
    assert blocks
    if name != "cases" and name not in SCRIPTS:
        check(blocks)


def test_all_tables_are_tested_and_have_a_purpose() -> None:
    assert {*table_names()} == {*NAMES, *SLOW, *SCRIPTS}
    assert all(len(purpose(name)) > 20 for name in table_names())


@pytest.mark.parametrize("name", NAMES)
def test_a_table_has_sizes_for_every_scale(name: str) -> None:
    table = Table.load(name)
    assert {*table.sizes} == {*SCALES}
    assert len({*table.sizes.values()}) == len(SCALES)


def test_sizes_are_changed_by_name() -> None:
    sizes = changed(loader.Sizes(), ["shape=8,16,24", "scans=/scans", "turn_seconds=2"])
    assert sizes == loader.Sizes(scans="/scans", shape=(8, 16, 24), turn_seconds=2.0)
    with pytest.raises(ValueError, match="FIELD one of scans, made_up"):
        changed(loader.Sizes(), ["shapes=8"])


def test_a_table_that_does_not_exist_is_refused_by_name() -> None:
    script = runpy.run_path(str(Path(__file__).parents[2] / "scripts/bench.py"))
    assert script["chosen"]("rate,start") == ["rate", "start"]
    assert script["chosen"]("") == table_names()
    with pytest.raises(SystemExit, match="no such table: rates; there are"):
        script["chosen"]("rates")
