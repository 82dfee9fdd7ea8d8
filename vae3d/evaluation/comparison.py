"""`Comparison`: runs against the first of them, case by case, as table, CSV, JSON and page."""

import base64
import csv
import hashlib
import itertools
import math
import re
import shlex
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from vae3d.errors import ConfigError, RunError
from vae3d.evaluation.metrics import better_of
from vae3d.evaluation.report import CONFIDENCE, CaseScore, finite_or_none, interval
from vae3d.runtime.files import atomic_write, write_json, write_text
from vae3d.runtime.plain import from_plain, read_json
from vae3d.runtime.run_folder import RunFolder

MAX_SCORES_BYTES = 2**26
MAY_DIFFER = ("mode", "patch_size", "overlap", "blend", "latent", "precision")
"""What of a protocol is the run's own choice: such figures can be compared, and it is told."""
BY_NAME = ("scores", "regions")
"""What of a protocol is a table: two runs may hold other names, but not others for a name."""
MOST_LISTED = 500
"""Cases that the page names where only some runs have them."""


@dataclass(frozen=True)
class Report:
    """What one evaluation left in `folder`; `name` tells it from the others, `run` is as typed."""

    name: str
    run: str
    folder: Path
    cases: dict[str, CaseScore]
    protocol: dict[str, Any]

    @property
    def again(self) -> str:
        """The command that makes such a report."""
        return evaluation_of(self.run, str(self.protocol.get("mode")))


@dataclass(frozen=True)
class Difference:
    """One score of a run minus that of the first run, over the cases that all runs have.

    `low` to `high` is the 95 % interval of the mean after Student; NaN where there is none.
    """

    run: str
    mean: float
    low: float
    high: float
    better: int
    worse: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class ScoreComparison:
    """One score of every run over the same `cases`; `direction` is 1 where more is better."""

    name: str
    unit: str
    direction: int
    cases: int
    means: list[float]
    differences: list[Difference]

    def verdict(self, difference: Difference) -> str:
        """`better`, `worse`, or nothing where the interval holds 0."""
        if not difference.is_clear:
            return ""
        return "better" if difference.mean * self.direction > 0 else "worse"


@dataclass(frozen=True)
class Comparison:
    """The scores of `reports` over their `common` cases.

    `partial` names the runs of each case that not all have, `notes` tells how they were scored
    differently without being incomparable.
    """

    reports: list[Report]
    common: list[str]
    partial: dict[str, list[str]]
    notes: list[str]
    scores: list[ScoreComparison]

    def write(self, folder: Path) -> None:
        """Writes `compare.csv`, a row a score and run, `compare.json` and `compare.html`."""
        path = folder / "compare.csv"
        with atomic_write(path) as new, new.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([CSV_COLUMNS, *self.rows()])
        write_json(folder / "compare.json", self.summary())
        write_text(folder / "compare.html", page(self))

    def rows(self) -> Iterator[list[object]]:
        """The rows of `compare.csv`, the first run's own without a difference."""
        for score in self.scores:
            facts = [score.name, score.unit, score.cases]
            yield [*facts, self.reports[0].name, _blank(score.means[0]), *[""] * 6]
            for mean, d in zip(score.means[1:], score.differences, strict=True):
                numbers = [_blank(value) for value in (mean, d.mean, d.low, d.high)]
                yield [*facts, d.run, *numbers, d.better, d.worse, score.verdict(d)]

    def summary(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        names = [report.name for report in self.reports]
        return {
            "runs": [{"name": r.name, "run": r.run, "cases": len(r.cases)} for r in self.reports],
            "confidence": CONFIDENCE,
            "cases": self.common,
            "only_some": self.partial,
            "notes": self.notes,
            "scores": {
                score.name: {
                    "unit": score.unit,
                    "better": "more" if score.direction > 0 else "less",
                    "cases": score.cases,
                    "means": dict(zip(names, map(finite_or_none, score.means), strict=True)),
                    "differences": {
                        d.run: {
                            "mean": finite_or_none(d.mean),
                            "ci95": [finite_or_none(d.low), finite_or_none(d.high)],
                            "better": d.better,
                            "worse": d.worse,
                            "excludes_0": d.is_clear,
                        }
                        for d in score.differences
                    },
                }
                for score in self.scores
            },
        }


CSV_COLUMNS = ["score", "unit", "cases", "run", "mean", "difference", "low", "high"]
CSV_COLUMNS += ["better", "worse", "verdict"]


def compare_reports(reports: Sequence[Report]) -> Comparison:
    """Pairs the cases of the first report with those of the others, by name.

    Raises:
        RunError: the protocols make the figures incomparable, or no case is in all reports.
    """
    first, *others = reports
    notes = [note for other in others for note in _told(first, other)]
    common = [case for case in first.cases if all(case in other.cases for other in others)]
    if not common:
        names = ", ".join(printable(report.name) for report in reports)
        raise RunError(
            f"no case is in all of {names}; evaluate them on the same scans, for example each "
            "with split=all or the same data.root="
        )
    for other in others:
        _check_ranges(first, other, common)
    units = first.protocol["scores"]
    shared = [name for name in units if all(name in o.protocol["scores"] for o in others)]
    scores = [_compared(name, str(units[name]), reports, common) for name in shared]
    scores = [score for score in scores if score.cases]
    if not scores:
        raise RunError(f"no score is in all reports; evaluate them alike: {first.again}")
    notes += [*_unshared(reports, shared), *_other_floors(scores)]
    return Comparison([*reports], common, _partial(reports), notes, scores)


def _compared(
    name: str, unit: str, reports: Sequence[Report], common: Sequence[str]
) -> ScoreComparison:
    paired = [case for case in common if all(name in r.cases[case].scores for r in reports)]
    first, *others = ([r.cases[case].scores[name] for case in paired] for r in reports)
    direction = better_of(name)
    differences = []
    for report, values in zip(reports[1:], others, strict=True):
        # Two perfect reconstructions differ by nothing, however infinite their PSNR.
        steps = [b - a if a != b else 0.0 for a, b in zip(first, values, strict=True)]
        better = sum(step * direction > 0 for step in steps)
        worse = sum(step * direction < 0 for step in steps)
        differences.append(Difference(report.name, _mean(steps), *interval(steps), better, worse))
    means = [_mean(values) for values in (first, *others)]
    return ScoreComparison(name, unit, direction, len(paired), means, differences)


def _mean(values: Sequence[float]) -> float:
    finite = all(map(math.isfinite, values))
    return statistics.fmean(values) if values and finite else sum(values, start=0.0 * len(values))


def _partial(reports: Sequence[Report]) -> dict[str, list[str]]:
    """The runs of each case that not all have."""
    having = {
        case: [report.name for report in reports if case in report.cases]
        for case in dict.fromkeys(case for report in reports for case in report.cases)
    }
    return {case: names for case, names in having.items() if len(names) < len(reports)}


def _told(first: Report, other: Report) -> list[str]:
    """How the two were scored differently, if that leaves their figures comparable.

    Raises:
        RunError: it does not.
    """
    a, b = (_comparable(report.protocol) for report in (first, other))
    differing = [key for key in {**a, **b} if a.get(key) != b.get(key)]
    for key in BY_NAME:
        old, new = (report.protocol.get(key) or {} for report in (first, other))
        differing += [f"{key}.{name}" for name in old if old[name] != new.get(name, old[name])]
    if differing:
        found = "; ".join(
            f"{key}: {_value(first, key)} -> {_value(other, key)}" for key in differing[:3]
        )
        raise RunError(
            f"{first.name} and {other.name} were not scored alike ({found}); evaluate both with "
            f"the same evaluation.* and data.*: {first.again}"
        )
    return [
        f"{key}: {_value(first, key)} in {first.name}, {_value(other, key)} in {other.name}"
        for key in (*MAY_DIFFER, "intensity")
        if first.protocol.get(key) != other.protocol.get(key)
    ]


def _comparable(protocol: dict[str, Any]) -> dict[str, Any]:
    """What must be the same in two protocols."""
    kept = {k: v for k, v in protocol.items() if k not in (*MAY_DIFFER, *BY_NAME)}
    intensity = kept.get("intensity")
    if _has_window(protocol) and isinstance(intensity, dict):
        # Scored within one window: what the models see of the scans may differ.
        kept["intensity"] = intensity.get("unit")
    return kept


def _has_window(protocol: dict[str, Any]) -> bool:
    return str(protocol.get("data_range")).startswith("[")


def _value(report: Report, key: str) -> str:
    group, _, name = key.partition(".")
    value = report.protocol.get(group)
    text = str(value.get(name) if name and isinstance(value, dict) else value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _check_ranges(first: Report, other: Report, common: Sequence[str]) -> None:
    """Raises a RunError where a scan was scored on another range of values."""
    if _has_window(first.protocol):
        return
    for case in common:
        a, b = first.cases[case], other.cases[case]
        width = abs(a.high - a.low)
        if max(abs(a.low - b.low), abs(a.high - b.high)) > 1e-6 * width:
            raise RunError(
                f"{printable(case)} was scored on [{a.low:g}, {a.high:g}] in {first.name} and on "
                f"[{b.low:g}, {b.high:g}] in {other.name}; evaluate both with the same data"
            )


def _unshared(reports: Sequence[Report], shared: Sequence[str]) -> Iterator[str]:
    """The scores that only some reports have."""
    names = dict.fromkeys(name for report in reports for name in report.protocol["scores"])
    for name in names:
        if name not in shared:
            having = [r.name for r in reports if name in r.protocol["scores"]]
            yield f"{name}: only in {', '.join(having)}"


def _other_floors(scores: Sequence[ScoreComparison]) -> Iterator[str]:
    """Runs whose scans lose something else before any VAE: the floor depends on nothing else."""
    told = set()
    for score in scores:
        for mean, d in zip(score.means[1:], score.differences, strict=True):
            same = math.isclose(mean, score.means[0], rel_tol=1e-3) or math.isnan(d.mean)
            if score.name.endswith("@floor") and not same and d.run not in told:
                told.add(d.run)
                yield (
                    f"{d.run} sees the scans on another grid ({score.name} {score.means[0]:.4g} "
                    f"-> {mean:.4g}): compare the scores @scan, which are on the scans' own"
                )


def named_runs(runs: Sequence[str]) -> list[str]:
    """A short name for each run: so many of its last folders as tell it from the others.

    Raises:
        ConfigError: less than two runs, or one of them twice.
    """
    if len(runs) < 2:
        raise ConfigError(
            f"run must name two run folders or more, got {[*runs]}: vae3d compare runs/a runs/b"
        )
    places = [Path(run).expanduser().resolve() for run in runs]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise ConfigError(f"run names {runs[number]} twice")
    for depth in range(1, max(len(place.parts) for place in places) + 1):
        names = ["/".join(place.parts[-depth:]) for place in places]
        if len({*names}) == len(names):
            break
    return names


def read_report(run: str, mode: str, name: str) -> Report:
    """The report of a run and mode, or the one that the folder `run` itself is.

    Raises:
        RunError: there is none, or its files are damaged.
    """
    folder = _report_folder(run, mode)
    columns, cases = read_scores(folder / "scores.csv")
    again = f"evaluate again: {evaluation_of(run, mode)}"
    path = folder / "summary.json"
    try:
        summary = from_plain(dict[str, Any], read_json(path))
        protocol = from_plain(dict[str, Any], summary.get("protocol"), "protocol")
        names = from_plain(dict[str, str], protocol.get("scores"), "protocol.scores")
        from_plain(dict[str, Any], protocol.get("regions", {}), "protocol.regions")
    except FileNotFoundError:
        raise RunError(f"{path}: is missing; {again}") from None
    except ConfigError as error:
        raise RunError(f"{path}: {error}; {again}") from error
    if [*names] != columns or summary.get("cases") != len(cases):
        raise RunError(f"{folder}: scores.csv and summary.json do not belong together; {again}")
    return Report(name, run, folder, cases, protocol)


def _report_folder(run: str, mode: str) -> Path:
    path = Path(run).expanduser()
    for folder in (path, RunFolder(path).report(mode)):
        if (folder / "scores.csv").is_file():
            return folder
    if not path.is_dir():
        raise RunError(f"{run}: no such folder; run= names run folders, for example runs/vae3d")
    if not RunFolder(path).config.is_file():
        raise RunError(f"{run}: holds neither a run nor a scores.csv")
    raise RunError(f"{run}: no report of mode={mode}; make it with: {evaluation_of(run, mode)}")


def evaluation_of(run: str, mode: str) -> str:
    """The command that makes the report of a run."""
    return f"vae3d eval {shlex.quote(f'run={run}')} mode={mode}"


def read_scores(path: Path) -> tuple[list[str], dict[str, CaseScore]]:
    """The names of the scores and the cases of a `scores.csv`.

    Raises:
        RunError: it is damaged, told with the line.
    """
    try:
        if path.stat().st_size > MAX_SCORES_BYTES:
            raise RunError(f"{path}: has more than {MAX_SCORES_BYTES} bytes, as no scores have")
        with path.open(newline="", encoding="utf-8") as file:
            columns, cases = _parsed(file, path)
    except UnicodeDecodeError as error:
        raise RunError(f"{path}: is no text in UTF-8 ({error.reason})") from error
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error
    if not cases:
        raise RunError(f"{path}: holds no case")
    return columns, cases


def _parsed(file: Iterator[str], path: Path) -> tuple[list[str], dict[str, CaseScore]]:
    lines = _Lines(file)
    cases: dict[str, CaseScore] = {}
    try:
        head = next((line for line in lines if not line.startswith("# ")), "")
        rows = csv.reader(itertools.chain([head], lines))
        columns = next(rows, [])
        if columns[:3] != ["case_id", "low", "high"] or len({*columns}) < len(columns):
            raise ValueError("must be case_id,low,high and the names of the scores")
        for cells in filter(None, rows):
            case = _case(columns, cells)
            if case.case_id in cases:
                raise ValueError(f"{printable(case.case_id)} is there twice")
            cases[case.case_id] = case
    except UnicodeDecodeError:
        raise
    except (ValueError, csv.Error) as error:
        raise RunError(f"{path}, line {lines.number}: {error}") from error
    return columns[3:], cases


class _Lines:
    """The lines of a file, of which the last one must be whole: half a number is one too."""

    def __init__(self, file: Iterator[str]) -> None:
        self.file = file
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        for line in self.file:
            self.number += 1
            if not line.endswith(("\n", "\r")):
                raise ValueError("is cut off")
            yield line


def _case(columns: Sequence[str], cells: Sequence[str]) -> CaseScore:
    if len(cells) != len(columns):
        raise ValueError(f"has {len(cells)} cells, the header has {len(columns)}")
    numbers = {
        name: _number(name, cell)
        for name, cell in zip(columns[1:], cells[1:], strict=True)
        if cell or name in ("low", "high")
    }
    return CaseScore(cells[0], numbers.pop("low"), numbers.pop("high"), numbers)


def _number(name: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise ValueError(f"{printable(name)} must be a number, got {printable(cell[:40])!r}")
    return value


def printable(text: str) -> str:
    """A name from a file, which must not move the cursor or turn the line round."""
    return "".join(c if c.isprintable() else "?" for c in text)


def shown(value: float, sign: str = "") -> str:
    """A number with four digits; `sign` + shows it for positive ones too."""
    if math.isnan(value):
        return "-"
    if value and math.isfinite(value) and 1e-4 <= abs(value) < 1e6:
        places = max(0, 3 - math.floor(math.log10(abs(value))))
        return f"{value:{sign},.{places}f}"
    return f"{value:{sign}.3g}"


def _blank(value: float) -> object:
    return "" if math.isnan(value) else value


def page(comparison: Comparison) -> str:
    """The comparison as one HTML file that loads nothing and runs nothing."""
    first, *others = [_text(report.name) for report in comparison.reports]
    names = [escape(printable(report.name)) for report in comparison.reports]
    style = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    title = f"{', '.join(others)} against {first}"
    groups = itertools.groupby(comparison.scores, key=lambda score: _group(score.name))
    bodies = "".join(_body(group, [*scores], comparison) for group, scores in groups)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{", ".join(names[1:])} against {names[0]}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<p class="eyebrow">Comparison of {len(comparison.reports)} runs</p>
<h1>{title}</h1>
<p class="about">Means over the {_count(len(comparison.common))} that all runs have. A difference
is a run\u2019s score minus that of {first}, paired case by case, with the
{CONFIDENCE:.0%} interval of its mean after Student. In the drawings right is better, whichever
way the score counts, each on a scale of its own. Where an interval excludes 0 it says so; of
runs that do not differ, one interval in {round(1 / (1 - CONFIDENCE))} would by chance.</p>
{_remarks(comparison)}
</header>
<main>
<table class="{"many" if others[1:] else "pair"}">
<thead><tr><th scope="col">Score</th><th scope="col">{first}</th>
<th scope="col" class="run">Run</th><th scope="col">{"Mean" if others[1:] else others[0]}</th>
<th scope="col">Difference</th>
<th scope="col" class="scale"><span>worse</span><span>better</span></th>
<th scope="col">Better : worse</th></tr></thead>
{bodies}</table>
</main>
<footer>The numbers are in compare.csv and compare.json, beside this file.</footer>
</body>
</html>
"""


def _text(value: str) -> str:
    return f"<bdi>{escape(printable(value))}</bdi>"


def _count(cases: int) -> str:
    return "1 case" if cases == 1 else f"{cases} cases"


def _group(name: str) -> str:
    """Of what a score is told: the whole volume, a region, or against something else."""
    _, region, rest = name.partition("/")
    if region:
        return rest.replace("_", " ")
    return name.partition("@")[1] + name.partition("@")[2] or "whole volume"


def _remarks(comparison: Comparison) -> str:
    notes = "".join(f"<li>{_text(note)}</li>" for note in comparison.notes)
    partial = [
        f"<li>{_text(case)} only in {', '.join(map(_text, names))}</li>"
        for case, names in [*comparison.partial.items()][:MOST_LISTED]
    ]
    if left := len(comparison.partial) - len(partial):
        partial.append(f"<li>and {_count(left)} more, in compare.json</li>")
    cases = _count(len(comparison.partial))
    return (
        f"<ul class=notes>{notes}</ul>"
        * bool(notes)
        + f"<details><summary>{cases} left out, for not all runs have them</summary>"
        f"<ul>{''.join(partial)}</ul></details>" * bool(partial)
    )


def _body(title: str, scores: Sequence[ScoreComparison], comparison: Comparison) -> str:
    rows = "".join(_rows(score, comparison) for score in scores)
    return (
        f'<tbody><tr class="group"><th scope="rowgroup" colspan="7">{escape(title)}</th></tr>\n'
        f"{rows}</tbody>\n"
    )


def _rows(score: ScoreComparison, comparison: Comparison) -> str:
    """A row for each run that is compared with the first."""
    names = [escape(printable(report.name)) for report in comparison.reports]
    ends = [abs(x) for d in score.differences for x in (d.low, d.high, d.mean)]
    limit = max([end for end in ends if math.isfinite(end)], default=0.0)
    fewer = _count(score.cases) if score.cases < len(comparison.common) else ""
    about = ", ".join(filter(None, [escape(score.unit), fewer]))
    span = f'rowspan="{len(score.differences)}"'
    heads = (
        f'<th scope="row" {span}>{escape(re.split("[/@]", score.name)[0])}'
        f"<small>{about}</small></th>"
        f'<td {span} data-name="{names[0]}">{shown(score.means[0])}</td>'
    )
    lines = []
    for name, mean, d in zip(names[1:], score.means[1:], score.differences, strict=True):
        verdict = score.verdict(d)
        lines.append(
            f'<tr class="{verdict or "open"}">{heads}'
            f'<td class="run"><bdi>{name}</bdi></td><td data-name="{name}">{shown(mean)}</td>'
            f'<td class="difference">{shown(d.mean, "+")} <small>{verdict} '
            f"[{shown(d.low, '+')}, {shown(d.high, '+')}]</small></td>"
            f'<td class="scale">{_drawing(score, d, limit)}</td>'
            f'<td class="count">{d.better} : {d.worse}</td></tr>\n'
        )
        heads = ""
    return "".join(lines)


def _drawing(score: ScoreComparison, difference: Difference, limit: float) -> str:
    """A dot for the mean and a line for its interval, right of the middle where it is better."""

    def place(value: float) -> str:
        return f"{120 + 112 * score.direction * (value / limit if limit else 0):.1f}"

    parts = ['<line class="zero" x1="120" x2="120" y1="0" y2="24"/>']
    d = difference
    if math.isfinite(d.low) and math.isfinite(d.high):
        parts.append(
            f'<line class="range" x1="{place(d.low)}" x2="{place(d.high)}" y1="12" y2="12"/>'
        )
    if math.isfinite(d.mean):
        parts.append(f'<circle cx="{place(d.mean)}" cy="12" r="4.5"/>')
    label = f"{escape(score.name)}: {shown(d.mean, '+')} {escape(score.unit)}"
    return f'<svg viewBox="0 0 240 24" role="img" aria-label="{label}">{"".join(parts)}</svg>'


STYLE = """
:root {
  --page: #f7f7f5; --card: #fff; --line: #e2e2dd; --text: #1b1d20; --muted: #5f646b;
  --better: #13795b; --worse: #b4431f; --soft: #f1f1ee;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #111316; --card: #191c20; --line: #2b2f35; --text: #e4e6e9; --muted: #9aa1aa;
    --better: #4fc79d; --worse: #f08a62; --soft: #1f2328;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 1080px; padding: 36px 20px; background: var(--page);
  color: var(--text); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  font-variant-numeric: tabular-nums; -webkit-text-size-adjust: 100%;
}
.eyebrow, footer, small, summary, .notes { color: var(--muted); font-size: 13px; }
.eyebrow { margin: 0; }
h1 {
  margin: 2px 0 12px; font-size: clamp(24px, 4vw, 34px); line-height: 1.15;
  letter-spacing: -0.015em; font-weight: 650; overflow-wrap: anywhere;
}
.about { color: var(--muted); max-width: 76ch; margin: 0 0 14px; font-size: 14px; }
ul { margin: 6px 0 14px; padding-left: 20px; overflow-wrap: anywhere; font-size: 13px; }
summary { cursor: pointer; }
main {
  margin: 24px 0; background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  overflow-x: auto;
}
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { padding: 5px 14px; text-align: right; vertical-align: middle; font-weight: 400; }
th:first-child { text-align: left; font-weight: 550; }
thead th { color: var(--muted); font-size: 13px; overflow-wrap: anywhere; }
tr { border-top: 1px solid var(--line); }
thead tr, tr:not(:has(th)) { border-top: 0; }
.pair .run { display: none; }
.group th {
  padding: 18px 14px 6px; color: var(--muted); font-size: 12px; letter-spacing: 0.06em;
  text-transform: uppercase;
}
.group + tr { border-top-color: var(--muted); }
small { display: block; white-space: nowrap; font-weight: 400; }
.difference { white-space: nowrap; }
.scale { width: 26%; min-width: 150px; }
th.scale span { float: left; }
th.scale span + span { float: right; }
svg { display: block; width: 100%; height: 24px; overflow: visible; color: var(--muted); }
.zero { stroke: var(--muted); stroke-opacity: 0.6; }
.range { stroke: currentColor; stroke-width: 3; stroke-linecap: round; stroke-opacity: 0.45; }
circle { fill: currentColor; }
.better svg, .better .difference { color: var(--better); }
.worse svg, .worse .difference { color: var(--worse); }
tbody tr:not(.group):hover { background: var(--soft); }
@media (max-width: 680px) {
  body { padding: 22px 12px; }
  thead, .run { display: none; }
  tr { display: grid; grid-template-columns: 1fr 1fr 1.5fr; padding: 8px 14px; }
  th, td, th:first-child, .group th { padding: 2px 0; text-align: left; }
  tr.group { padding-top: 18px; }
  tr:not(.group) th { grid-column: 1 / 3; }
  tr.group th { grid-column: 1 / -1; }
  th small { display: inline; margin-left: 8px; }
  [data-name]::before {
    content: attr(data-name); display: block; color: var(--muted); font-size: 12px;
    overflow-wrap: anywhere;
  }
  .difference, .count { text-align: right; grid-column: 3; }
  .count { grid-row: 1; }
  tr:not(:has(th)) .count { grid-row: auto; }
  tr:not(:has(th)) [data-name] { grid-column: 1 / 3; }
  .scale { grid-column: 1 / -1; width: auto; order: 1; }
}
@media print { :root { color-scheme: light; } tr { break-inside: avoid; } }
"""
