"""Results are kept by commit, rendered into their sections, and compared by the spread."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import runs as module
from benchmarks.comparison import Row, rows, shown
from benchmarks.load import Load, LoadMeter
from benchmarks.machine import commit_of, cpu_name, cpu_quota, machine_sentence, usable_cores
from benchmarks.page import with_table
from benchmarks.result import Block, Result
from benchmarks.runs import Runs

BEGIN, END = "<!-- begin table rate -->", "<!-- end of table rate -->"
PAGE = f"# Benchmarks\n\nBefore.\n\n{BEGIN}\nold\n{END}\n\nAfter.\n"


def result_of(name: str = "rate", during: float | None = 0.0, seconds: float = 1.0) -> Result:
    machine = {
        **{"cpu": cpu_name(), "cores": usable_cores(), "quota": 1.5, "threads": 2, "gpu": None},
        **{"capability": "AVX2", "bf16": False, "memory_gib": 23.6, "system": "Linux"},
        **{"python": "3.11.7", "libraries": {"torch": "2.13.0"}},
    }
    samples = {"step": [seconds, 1.1 * seconds], "read": [seconds, 1.1 * seconds]}
    blocks = [Block("Batch 4.", ["", "ms"], [["step", "1"], ["read", ""]], samples)]
    return Result(
        **{"name": name, "title": "Rate", "scale": "full", "changes": [], "commit": "abc"},
        **{"date": "2026-01-02", "machine": machine, "peers": {"monai": "1.6.1", "torchio": None}},
        **{"load": Load(0.0, during, 0.1, 1.0), "seconds": 3.0, "blocks": blocks},
    )


def test_a_table_is_put_between_its_marks_and_text_around_it_stays() -> None:
    page = with_table(PAGE, result_of())
    before, after = (
        page.split("<!-- begin table rate -->"),
        page.split("<!-- end of table rate -->"),
    )
    assert before[0] == "# Benchmarks\n\nBefore.\n\n"
    assert after[1] == "\n\nAfter.\n"
    assert "old" not in page
    assert "| step | 1 |\n| read | |" in page
    assert with_table(page, result_of()) == page


def test_a_table_without_marks_is_added_to_the_end_once() -> None:
    page = with_table("# Benchmarks\n\ntext\n", result_of("new"))
    assert page.startswith("# Benchmarks\n\ntext\n\n## Rate\n\n<!-- begin table new -->\n")
    assert with_table(page, result_of("new")) == page
    assert with_table(page, result_of("new", seconds=2.0)).count("begin table new") == 1


def test_a_section_names_machine_peers_and_load() -> None:
    text = with_table("", result_of())
    assert "2026-01-02, commit abc" in text
    assert "with a quota of 1.5" in text
    assert "Peers: monai 1.6.1, torchio absent." in text
    assert "Nothing else ran" in text
    busy = with_table("", result_of(during=0.8))
    assert "**The machine was busy**: other processes used 0.80 cores" in busy
    assert "what others used is not known" in with_table("", result_of(during=None))
    quick = replace(result_of(), scale="quick", changes=["rounds=2"])
    assert "an indication only" in with_table("", quick)
    assert "Changed: `rounds=2`" in with_table("", quick)


def test_a_result_is_read_as_it_was_written() -> None:
    result = result_of()
    assert Result.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_what_was_measured_on_this_commit_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "commit_of", lambda folder: "abc")
    runs = Runs("full", results=tmp_path)
    assert runs.kept("rate") is None
    runs.keep(result_of())
    assert runs.kept("rate") == result_of()
    assert Runs("quick", results=tmp_path).kept("rate") is None
    assert Runs("full", ["rounds=1"], results=tmp_path).kept("rate") is None
    other = result_of()
    runs.keep(replace(other, machine={**other.machine, "cores": 99}))
    assert runs.kept("rate") is None
    monkeypatch.setattr(module, "commit_of", lambda folder: "abc-changed")
    changed = Runs("full", results=tmp_path)
    changed.keep(result_of())
    assert changed.kept("rate") is None


def test_a_table_that_fails_is_no_result(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    runs = Runs("miniature", results=tmp_path)
    assert runs.measure("absent") is None
    assert "absent: ended with exit code 1" in capfd.readouterr().err
    assert not [*tmp_path.rglob("*.json")]


def test_the_load_counts_others_and_not_our_own() -> None:
    meter = LoadMeter(seconds=0.0)
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    load = meter.load()
    assert load.during is None or load.during <= len(os.sched_getaffinity(0))
    assert load.own >= 0.3
    assert Load(0.0, 0.05, 1.0, 9.0).is_idle
    assert not Load(0.0, 0.5, 0.0, 9.0).is_idle
    assert not Load(None, None, 0.0, 9.0).is_idle


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
    ],
)
def test_the_quota_of_a_control_group(
    tmp_path: Path, files: dict[str, str], quota: float | None
) -> None:
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert cpu_quota(tmp_path) == quota


def test_a_folder_without_git_has_no_commit_to_keep_results_of(tmp_path: Path) -> None:
    assert commit_of(tmp_path).endswith("-changed")


def test_a_machine_is_one_sentence() -> None:
    text = machine_sentence(result_of().machine)
    assert "AVX2, without bfloat16" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("unit", "now", "slower"),
    [
        ("s", 1.3, True),
        ("s", 1.15, False),
        ("s", 0.5, False),
        ("patches/s", 0.7, True),
        ("patches/s", 0.95, False),
        ("patches/s", 2.0, False),
    ],
)
def test_a_row_is_slower_if_it_is_worse_by_more_than_the_spread(
    unit: str, now: float, slower: bool
) -> None:
    assert Row("step", unit, [now], [1.0, 0.9, 1.1]).slower == slower


def test_a_comparison_has_the_rows_that_both_have() -> None:
    earlier = result_of(seconds=1.0)
    now = result_of(seconds=3.0, during=0.9)
    (block,) = earlier.blocks
    less = replace(block, samples={"step": block.samples["step"]})
    pairs = [(now, replace(earlier, blocks=[less]))] * 2
    (row,) = rows(pairs)
    assert (row.name, len(row.now), len(row.earlier)) == ("step", 4, 4)
    text = shown("rate", pairs)
    assert "| step | 1.05 s | 3.15 s | 3.00 | 10% | **slower** |" in text
    assert "**The machine was busy**" in text
