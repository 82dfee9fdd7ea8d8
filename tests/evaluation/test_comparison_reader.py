"""Reports are read from disk as they were written; damaged ones are named."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.evaluation.reports import NASTY, scored, written
from vae3d.commands.compare import CompareConfig
from vae3d.commands.compare_run import compare
from vae3d.comparison.reader import (
    MAX_SCORES_BYTES,
    named_runs,
    read_report,
    read_scores,
)
from vae3d.errors import ConfigError, RunError, UserError


def test_errors_of_missing_reports_name_the_command(tmp_path: Path) -> None:
    runs = written(tmp_path, scored(0), scored(1))
    for run, mode, message in (
        (
            runs[1],
            "patch",
            f"has no report of mode=patch; create it with: vae3d eval run={runs[0]} ",
        ),
        (str(tmp_path / "none"), "full", f"run={tmp_path / 'none'}: no run here, and no report"),
        (str(tmp_path), "full", "neither a run folder nor a report"),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            compare(CompareConfig(run=[runs[0], run], mode=mode, output=str(tmp_path / "out")))
    for wrong, message in (
        ([], "must name two or more run folders"),
        (runs[:1], "must name two or more run folders"),
        ([runs[0], f"{runs[0]}/../a"], "twice"),
    ):
        with pytest.raises(UserError, match=message):
            compare(CompareConfig(run=wrong))
    assert not (tmp_path / "out").exists()


def edited(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("scores.csv", lambda t: t[:-10], "line 13: is truncated"),
        ("scores.csv", lambda t: t.replace("case3", "case2"), "line 5: case case2 appears twice"),
        ("scores.csv", lambda t: t.replace("-1000.0,1000.0", "x,y", 1), "line 2: low must be a"),
        ("scores.csv", lambda t: t.replace("case3,", "case3,nan,"), "line 5: has 10 cells"),
        ("scores.csv", lambda t: t.replace("case_id", "case"), "line 1: must be case_id"),
        ("scores.csv", lambda t: t.split("case_id")[0], "line 0: must be"),
        ("scores.csv", lambda t: "", "line 0: must be case_id"),
        ("scores.csv", lambda t: t + "x" * 200_000 + "\n", "field larger than field limit"),
        ("scores.csv", lambda t: t + "z,1,2,,,3,4,5,6\n", "do not match"),
        ("scores.csv", lambda t: t + '"z,1,2,3,4,5,6\n', "line 14: has 1 cells"),
        ("summary.json", lambda t: t[:-20], "cannot be read"),
        ("summary.json", lambda t: "[]", "must be a table"),
        ("summary.json", lambda t: '{"cases": 12}', "protocol must be a table"),
        ("summary.json", lambda t: t.replace('"scores"', '"metrics"'), "protocol.scores must be"),
    ],
    ids=range(14),
)  # fmt: skip
def test_damaged_reports_are_named(
    tmp_path: Path, file: str, change: Callable[[str], str], message: str
) -> None:
    (run,) = written(tmp_path, scored(0))
    folder = tmp_path / "a/report/full"
    edited(folder / file, change)
    with pytest.raises(UserError) as refused:
        read_report(run, "full", "a")
    assert str(folder) in str(refused.value)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_scores_of_any_size_or_kind_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    with path.open("wb") as file:
        file.truncate(MAX_SCORES_BYTES + 1)
    with pytest.raises(UserError, match="has more than"):
        read_scores(path)
    path.write_bytes(b"case_id,low,high\n\xff,0,1\n")
    with pytest.raises(UserError, match="is not UTF-8 text"):
        read_scores(path)


def test_any_name_goes_there_and_back(tmp_path: Path) -> None:
    (run,) = written(tmp_path, scored(0, NASTY))
    assert [*read_report(run, "full", "a").cases] == NASTY


def test_reports_of_older_versions_are_read(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("# mode: full\n# crop: none\ncase_id,low,high,psnr\na,0,1,30.5\n")
    columns, cases = read_scores(path)
    assert columns == ["psnr"]
    assert cases["a"].scores == {"psnr": 30.5}


def test_a_run_that_is_a_link_has_the_name_of_the_link(tmp_path: Path) -> None:
    for name, to in (("small", "disk/x/run"), ("large", "disk/y/run")):
        (tmp_path / to).mkdir(parents=True)
        (tmp_path / name).symlink_to(tmp_path / to)
    small, large = str(tmp_path / "small"), str(tmp_path / "large")
    assert named_runs([small, large]) == ["small", "large"]
    with pytest.raises(ConfigError, match="twice"):
        named_runs([small, str(tmp_path / "disk/x/run")])


def test_a_link_to_itself_is_a_missing_run(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    run = str(tmp_path / "loop")
    assert named_runs([run, str(tmp_path / "b")]) == ["loop", "b"]
    with pytest.raises(RunError, match="loop"):
        read_report(run, "full", "loop")
