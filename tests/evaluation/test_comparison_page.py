"""The page, the terminal and the files of a comparison."""

import base64
import csv
import dataclasses
import hashlib
import html.parser
import io
import json
import logging
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import vae3d
from tests.evaluation.browser import overflow
from tests.evaluation.reports import CASES, NASTY, UNITS, compared, scored, written
from vae3d.cli.compose import composed
from vae3d.cli.line import Line
from vae3d.commands import COMMANDS
from vae3d.commands.compare import CompareConfig
from vae3d.commands.compare_run import compare
from vae3d.comparison.comparison import compare_reports
from vae3d.comparison.page import page
from vae3d.comparison.pictures import changed_cases
from vae3d.comparison.reader import (
    read_report,
)
from vae3d.pictures.media import write_png
from vae3d.scoring.scores import difference_text, significant
from vae3d.values.naming import file_stem


class Tags(html.parser.HTMLParser):
    """Every tag with its attributes, and the text between tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_no_name_is_markup_of_the_page(tmp_path: Path) -> None:
    """The page of nasty names has the tags and attributes of one with plain names."""
    texts = []
    for names, run in ((NASTY, "<b>&\"' onload=x"), (CASES, "plain")):
        (tmp_path / run).mkdir()
        runs = written(tmp_path / run, scored(0, names[:-2]), scored(1, names))
        reports = [read_report(r, "full", f"{run} {n}") for n, r in enumerate(runs)]
        texts.append(page(compare_reports(reports)))
    nasty, plain = map(Tags, texts)
    assert [(tag, [*attributes]) for tag, attributes in nasty.tags] == [
        (tag, [*attributes]) for tag, attributes in plain.tags
    ]
    assert "<b>&\"' onload=x 0" in nasty.text
    assert "\x1b" not in texts[0]
    assert "\u202e" not in texts[0]


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    text = page(compared(tmp_path, scored(0), scored(1), scored(2)))
    tags = Tags(text)
    assert not {"script", "link", "img", "iframe", "object", "a"} & {tag for tag, _ in tags.tags}
    names = {name for _, attributes in tags.tags for name in attributes}
    assert not {name for name in names if name in ("src", "href", "style") or name[:2] == "on"}
    assert "://" not in text
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in text
    assert sum(tag == "svg" for tag, _ in tags.tags) == 2 * len(UNITS)


def test_dots_lie_where_better_is(tmp_path: Path) -> None:
    comparison = compared(tmp_path, scored(0), scored(1))
    dots = [float(x) for x in re.findall(r'<circle cx="([0-9.]+)"', page(comparison))]
    for score, dot in zip(comparison.scores, dots, strict=True):
        (difference,) = score.differences
        assert np.sign(dot - 120) == np.sign(difference.mean * score.direction)
        assert 0 <= dot <= 240


@pytest.mark.parametrize(
    ("value", "text"),
    [(20578.4, "20,578"), (23.068, "23.07"), (0.0, "0"), (-0.00207, "-0.002070"),
     (math.nan, "-"),
     (math.inf, "\N{INFINITY}"), (-math.inf, "-\N{INFINITY}"),
     (1e9, "1e+09"), (1e-7, "1e-07"), (999.96, "1,000.0")],
)  # fmt: skip
def test_numbers_have_four_digits(value: float, text: str) -> None:
    assert significant(value) == text


PATHS = [
    "runs/a", "a b", "a,b", "runs/s/model.latent_channels=2,trainer.lr=0.1", "it's", 'say "x"',
    "a\\", "a\\'b",
    "[x]", "{x}", "(x)", "日本語/é", "x=[1,2]/y", "1e5", "true", "null", "a#b", "$x",
]  # fmt: skip


def typed(name: str, *words: str) -> list[str]:
    return Line.of(COMMANDS[name], words).words


@pytest.mark.parametrize("path", PATHS)
def test_runs_arrive_as_they_were_typed(path: str) -> None:
    def arrived(*arguments: str) -> list[str]:
        config: Any = composed("compare", *typed("compare", *arguments))
        assert config.mode == "patch"
        return list(config.run)

    assert arrived(f"./{path}", "b", "mode=patch") == [f"./{path}", "b"]
    assert arrived(f"run={path}x", "mode=patch") == [f"{path}x"]
    if not set(path) & set(",'\"\\"):
        assert arrived(f"run=[{path},b]", "mode=patch") == [path, "b"]
    if not set(path) & set("'\\"):
        assert arrived(f"run=['{path}', b]", "mode=patch") == [path, "b"]


def test_a_path_with_an_equal_sign_is_no_key() -> None:
    run = composed("compare", *typed("compare", "runs/a=1", "mode=full")).run
    assert run == ["runs/a=1"]
    assert typed("compare", "--cfg", "job") == ["--cfg", "job"]
    assert typed("compare", "hydra/launcher=x") == ["hydra/launcher=x"]
    assert composed("eval", *typed("eval", "run=[a]")).run == "[a]"


def test_the_command_writes_next_to_the_scores_of_the_first_run(tmp_path: Path) -> None:
    other = [*CASES[1:], "\x1b[2J"]
    runs = written(tmp_path, scored(0), scored(1, other), scored(2, latent="sample"))
    done = vae3d("compare", "a", "b", "c", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    output = Path("a/report/full/compare_b_c")
    assert done.stderr.splitlines() == [
        "latent: mode of the posterior in a, sample in c",
        "not in all runs: 2 cases: case0 (a, c), ?[2J (b)",
        f"table: {output / 'compare.html'}",
    ]
    comparison = compare(CompareConfig(run=runs, output=str(tmp_path / "out")))
    for name in ("compare.csv", "compare.html"):
        assert (tmp_path / output / name).read_text() == (tmp_path / "out" / name).read_text()
    with (tmp_path / "out/compare.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert len(rows) == 3 * len(UNITS)
    for row, score in zip(rows[1::3], comparison.scores, strict=True):
        difference = score.differences[0]
        assert row["run"] == "b"
        assert float(row["low"]) == difference.low
        assert row["verdict"] == score.verdict(difference)
        assert difference_text(score.name, difference.mean) in done.stdout or "@" in score.name
    saved = json.loads((tmp_path / "out/compare.json").read_text())
    assert saved["cases"] == CASES[1:]
    assert saved["only_some"] == {"case0": ["a", "c"], "\x1b[2J": ["b"]}
    refused = vae3d("compare", "a", "b", "mode=patch", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr == (
        "vae3d: a: has no report of mode=patch; create it with: vae3d eval run=a mode=patch\n"
    )


FACTS = {"split": "test (12)", "seed": 0, "versions": {"vae3d": "1.0"}}


def test_facts_and_warnings_of_all_runs_are_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    warnings = ["3 of 12 cases were trained on (case0, case1, case2)"]
    one = dataclasses.replace(scored(0), facts=FACTS, warnings=warnings)
    other = dataclasses.replace(scored(1), facts={**FACTS, "seed": 7}, warnings=warnings)
    runs = written(tmp_path, one, other)
    comparison = compare(CompareConfig(run=runs))
    assert comparison.warnings == [f"a, b: {warnings[0]}"]
    assert f"a, b: {warnings[0]}" in caplog.text
    assert "Seed: 0 in a, 7 in b" in caplog.text
    text = page(comparison)
    # Above the scores.
    assert text.index(warnings[0]) < text.index("<main>")
    assert re.search(r'<tr class="differs"><th scope="row">Seed</th>.*>0<.*>7<', text)
    assert re.search(r'<tr class="same"><th scope="row">Split</th>', text)
    saved = comparison.summary()["runs"]
    assert saved[1]["facts"] == {"Split": "test (12)", "Seed": "7", "Versions": "vae3d 1.0"}
    assert saved[1]["warnings"] == warnings


@pytest.mark.parametrize(
    "damage", [{"model": 3}, {"steps": {"best": 1}}, {"versions": [1]}, {"warnings": "x"}], ids=str
)
def test_damaged_facts_do_not_stop_a_comparison(tmp_path: Path, damage: dict[str, Any]) -> None:
    runs = written(tmp_path, scored(0), scored(1))
    path = tmp_path / "b/report/full/summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))
    report = read_report(runs[1], "full", "b")
    assert (report.facts, report.warnings) == ({}, [])


def drawn(folder: Path, run: str, case: str, shade: int) -> None:
    """A picture of a case in the report of a run."""
    path = folder / run / "report/full/cases" / f"{file_stem(case)}.png"
    write_png(path, np.full((40, 60, 3), shade, np.uint8))


def test_pictures_of_the_cases_that_changed_most_are_next_to_each_other(tmp_path: Path) -> None:
    first, second = scored(0), scored(0)
    for case, gain in zip(second.cases, range(-6, 6), strict=True):
        case.scores["psnr"] += gain
    comparison = compared(tmp_path, first, second)
    assert changed_cases(comparison) == []
    # The cases that changed most of all have no pictures in both reports.
    drawn(tmp_path, "a", CASES[11], 1)
    for n, case in enumerate(CASES[2:10]):
        drawn(tmp_path, "a", case, 10 + n)
        drawn(tmp_path, "b", case, 100 + n)
    best, least = changed_cases(comparison)
    assert (best.name, least.name) == (CASES[9], CASES[2])
    assert [name for name, _, _ in best.runs] == ["a", "b"]
    (_, a, _), (_, b, _) = best.runs
    assert b - a == pytest.approx(3)
    shades = []
    for _, _, source in (*best.runs, *least.runs):
        data = base64.b64decode(source.removeprefix("data:image/png;base64,"))
        shades.append(Image.open(io.BytesIO(data)).getpixel((0, 0))[0])
    assert shades == [17, 107, 10, 100]
    text = page(comparison)
    assert text.count("<img") == 4
    assert f"Improved most: <bdi>{CASES[9]}" in text


@pytest.mark.parametrize("damage", [b"", b"no picture", b"\x89PNG\r\n\x1a\n\0\0"])
def test_damaged_pictures_are_left_out(tmp_path: Path, damage: bytes) -> None:
    comparison = compared(tmp_path, scored(0), scored(1))
    for run in "ab":
        drawn(tmp_path, run, CASES[0], 1)
    (tmp_path / "b/report/full/cases" / f"{file_stem(CASES[0])}.png").write_bytes(damage)
    assert changed_cases(comparison) == []


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("psnr", 2.18249, "+2.18"),
        ("psnr", 0.0, "0"),
        ("psnr", -0.002, "-0.002000"),
        ("ssim", 0.026483, "+0.0265"),
        ("mae", -109.04, "-109.0"),
        ("psnr", math.inf, "\N{INFINITY}"),
    ],
)
def test_differences_have_the_digits_of_their_score(name: str, value: float, text: str) -> None:
    assert difference_text(name, value) == text


@pytest.mark.extras
@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_does_not_scroll_sideways(tmp_path: Path, width: int) -> None:
    facts = {**FACTS, "data": "ct /" + "long" * 30, "model": {"parameters": 10**9}}
    results = [dataclasses.replace(scored(n), facts=facts) for n in range(3)]
    comparison = compared(tmp_path, *results)
    for run in "abc":
        drawn(tmp_path, run, CASES[0], 1)
    (tmp_path / "compare.html").write_text(page(comparison), encoding="utf-8")
    assert overflow(tmp_path / "compare.html", width) <= 0
