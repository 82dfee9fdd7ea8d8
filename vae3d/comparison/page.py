"""The HTML page of a comparison, with every paired difference and its interval."""

import base64
import hashlib
import itertools
import math
from collections.abc import Sequence
from html import escape

from vae3d.comparison.comparison import Comparison, Difference, ScoreComparison
from vae3d.comparison.reader import printable
from vae3d.report.result import CONFIDENCE, MIN_INTERVAL_CASES
from vae3d.scoring.scores import label_of, metric_of, score_text, significant, unit_text

MAX_LISTED_CASES = 500
"""Cases that are listed by name if only some runs have them, at most."""


def page(comparison: Comparison) -> str:
    """Return the comparison as one HTML file without scripts or external resources."""
    first, *others = [_text(report.name) for report in comparison.reports]
    names = [escape(printable(report.name)) for report in comparison.reports]
    style = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
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
<h1>{", ".join(others)} against {first}</h1>
<p class="about">Means over the {case_count(len(comparison.common))} that all runs have. A
difference is the score of a run minus that of {first}, paired case by case, with the
{CONFIDENCE:.0%} Student t interval of its mean, within what is possible; of fewer than
{MIN_INTERVAL_CASES} cases the range is shown instead. In the charts, right is better, whether that
means more, less or,
for seams, nearer to 1. Each chart has its own scale. A score is marked better or worse if the
interval of its improvement excludes 0. For runs that do not differ, one interval in
{round(1 / (1 - CONFIDENCE))} excludes 0 by chance.</p>
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
<footer>The numbers are in compare.csv and compare.json, next to this file.</footer>
</body>
</html>
"""


def _text(value: str) -> str:
    """Return a name as HTML text whose direction does not affect its surroundings."""
    return f"<bdi>{escape(printable(value))}</bdi>"


def case_count(cases: int) -> str:
    """Return a number of cases as text: `1 case`, `2 cases`."""
    return "1 case" if cases == 1 else f"{cases} cases"


def _group(name: str) -> str:
    """Return the heading of a score: the whole volume, a region, or a reference."""
    _, region, rest = name.partition("/")
    if region:
        return rest.replace("_", " ")
    return name.partition("@")[1] + name.partition("@")[2] or "whole volume"


def _remarks(comparison: Comparison) -> str:
    """Return the notes and the cases that only some runs have, as lists."""
    notes = "".join(f"<li>{_text(note)}</li>" for note in comparison.notes)
    partial = [
        f"<li>{_text(case)} only in {', '.join(map(_text, names))}</li>"
        for case, names in [*comparison.partial.items()][:MAX_LISTED_CASES]
    ]
    if left := len(comparison.partial) - len(partial):
        partial.append(f"<li>and {case_count(left)} more, in compare.json</li>")
    cases = case_count(len(comparison.partial))
    return (
        f"<ul class=notes>{notes}</ul>"
        * bool(notes)
        + f"<details><summary>{cases} left out, because not all runs have them</summary>"
        f"<ul>{''.join(partial)}</ul></details>" * bool(partial)
    )


def _body(title: str, scores: Sequence[ScoreComparison], comparison: Comparison) -> str:
    rows = "".join(_rows(score, comparison) for score in scores)
    return (
        f'<tbody><tr class="group"><th scope="rowgroup" colspan="7">{escape(title)}</th></tr>\n'
        f"{rows}</tbody>\n"
    )


def _rows(score: ScoreComparison, comparison: Comparison) -> str:
    """Return a table row for each run that is compared with the first."""
    names = [escape(printable(report.name)) for report in comparison.reports]
    ends = [abs(x) for d in score.differences for x in (d.gain.mean, *d.gain.ends)]
    limit = max([end for end in ends if math.isfinite(end)], default=0.0)
    fewer = case_count(score.cases) if score.cases < len(comparison.common) else ""
    about = ", ".join(filter(None, [escape(unit_text(score.unit)), fewer]))
    span = f'rowspan="{len(score.differences)}"'
    heads = (
        f'<th scope="row" {span}>{escape(label_of(metric_of(score.name)))}'
        f"<small>{about}</small></th>"
        f'<td {span} data-name="{names[0]}">{score_text(score.name, score.means[0])}</td>'
    )
    rows = []
    for name, mean, d in zip(names[1:], score.means[1:], score.differences, strict=True):
        verdict = score.verdict(d)
        rows.append(
            f'<tr class="{verdict or "open"}">{heads}'
            f'<td class="run"><bdi>{name}</bdi></td>'
            f'<td data-name="{name}">{score_text(score.name, mean)}</td>'
            f'<td class="difference">{significant(d.mean, "+")} <small>{verdict} '
            f"{d.ends_text}</small></td>"
            f'<td class="scale">{_interval_chart(score, d, limit)}</td>'
            f'<td class="count">{d.better} : {d.worse}</td></tr>\n'
        )
        heads = ""
    return "".join(rows)


def _interval_chart(score: ScoreComparison, difference: Difference, limit: float) -> str:
    """Return an SVG: a dot for the mean gain and a line for its interval, better on the right."""

    def place(value: float) -> str:
        return f"{120 + 112 * (value / limit if limit else 0):.1f}"

    parts = ['<line class="zero" x1="120" x2="120" y1="0" y2="24"/>']
    d = difference.gain
    low, high = d.ends
    if math.isfinite(low) and math.isfinite(high):
        kind = "range thin" if math.isnan(d.low) else "range"
        parts.append(
            f'<line class="{kind}" x1="{place(low)}" x2="{place(high)}" y1="12" y2="12"/>'
        )
    if math.isfinite(d.mean):
        parts.append(f'<circle cx="{place(d.mean)}" cy="12" r="4.5"/>')
    label = escape(f"{label_of(score.name)}: {significant(difference.mean, '+')} {score.unit}")
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
.range.thin { stroke-width: 1; }
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
