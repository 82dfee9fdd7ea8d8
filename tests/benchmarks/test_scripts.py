"""Tables that a script prints are blocks with the numbers of their cells."""

from pathlib import Path

import pytest

from benchmarks.scripts import block, markdown_tables, script_blocks

TEXT = """some words
| codec | ratio | MB/s |
|---|---|---|
| lz4 | 1.50 | 1,200 |
| none | 1.00 | |

| | threads |
| --- | --- |
| inflate | 2 |
"""


def test_the_tables_of_a_text() -> None:
    first, second = markdown_tables(TEXT)
    assert first == (["codec", "ratio", "MB/s"], [["lz4", "1.50", "1,200"], ["none", "1.00", ""]])
    assert second == (["", "threads"], [["inflate", "2"]])


def test_numbers_are_values_of_row_and_head() -> None:
    heads, rows = next(markdown_tables(TEXT))
    assert block(heads, rows, "Codecs.").samples == {
        "lz4, ratio": [1.5],
        "lz4, MB/s": [1200.0],
        "none, ratio": [1.0],
    }


def test_a_checkout_without_the_script_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAE3D_BENCH_SOURCE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"bench_store\.py does not exist"):
        script_blocks("bench_store.py", captions=[])
