"""The HTML page of a comparison, with every paired difference and its interval."""

import base64
import hashlib
import itertools
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from vae3d.comparison.pictures import changed_cases
from vae3d.comparison.reader import printable
from vae3d.comparison.results import Comparison, Difference, ScoreComparison
from vae3d.comparison.spectra import spectrum_charts
from vae3d.comparison.style import STYLE
from vae3d.files.atomic import write_text
from vae3d.files.checksums import sealing
from vae3d.report.result import CONFIDENCE, MIN_INTERVAL_CASES
from vae3d.runtime.messages import counted
from vae3d.scoring.scores import difference_text, label_of, metric_of, score_text, unit_text

REFERENCES = {
    "": "whole volume",
    "scan": "on disk: against the scan, on its own grid",
    "floor": "floor: clipping and resampling alone",
}
"""Headings of the scores of the whole volume, by reference."""
NAME_SPACE = ' xmlns="http://www.w3.org/2000/svg"'
MAX_LISTED_CASES = 500
"""Cases that are listed by name if only some runs have them, at most."""


def write(comparison: Comparison, folder: Path) -> None:
    """Write the tables and the page of a comparison, with their checksums."""
    with sealing(folder, "compare.*"):
        comparison.write(folder)
        write_text(folder / "compare.html", page(comparison))


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
style-src 'sha256-{style}'; img-src data:; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{", ".join(names[1:])} against {names[0]}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<p class="eyebrow">Comparison of {len(comparison.reports)} runs</p>
<h1>{", ".join(others)} against {first}</h1>
{"".join(f'<p class="warning">{_text(w)}</p>' for w in comparison.warnings)}
<p class="about">Means over the {counted(len(comparison.common))} that all runs have. A
difference is the score of a run minus that of {first}, paired case by case, with the
{100 * CONFIDENCE:.0f} % Student t interval of its mean, within what is possible; of fewer than
{MIN_INTERVAL_CASES} cases the range is shown instead. In the charts, right is better, whether that
means more, less or,
for seams, power and the staircase, nearer to 1. Each chart has its own scale. A score is marked
better or worse if the interval of its improvement excludes 0. For runs that do not differ, one
interval in {round(1 / (1 - CONFIDENCE))} excludes 0 by chance.</p>
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
{_spectra(comparison)}
{_pictures(comparison)}
{_facts(comparison)}
<footer>The numbers are in compare.csv and compare.json, next to this file.</footer>
</body>
</html>
"""


def _text(value: str) -> str:
    """Return a name as HTML text whose direction does not affect its surroundings."""
    return f"<bdi>{escape(printable(value))}</bdi>"


def _group(name: str) -> str:
    """Return the heading of a score: the whole volume, a region, or a reference."""
    _, region, rest = name.partition("/")
    if region:
        return rest.replace("_", " ")
    reference = name.partition("@")[2]
    return REFERENCES.get(reference, reference.replace("_", " "))


def _remarks(comparison: Comparison) -> str:
    """Return the notes and the cases that only some runs have, as lists."""
    notes = "".join(f"<li>{_text(note)}</li>" for note in comparison.notes)
    partial = [
        f"<li>{_text(case)} only in {', '.join(map(_text, names))}</li>"
        for case, names in [*comparison.partial.items()][:MAX_LISTED_CASES]
    ]
    if left := len(comparison.partial) - len(partial):
        partial.append(f"<li>and {counted(left)} more, in compare.json</li>")
    cases = counted(len(comparison.partial))
    return (
        f"<ul class=notes>{notes}</ul>"
        * bool(notes)
        + f"<details><summary>{cases} left out, because not all runs have them</summary>"
        f"<ul>{''.join(partial)}</ul></details>" * bool(partial)
    )


def _facts(comparison: Comparison) -> str:
    """Return a table of what was evaluated; values that all runs share are muted."""
    if not comparison.facts:
        return ""
    heads = "".join(f'<th scope="col">{_text(r.name)}</th>' for r in comparison.reports)
    rows = "".join(
        f'<tr class="{"same" if len({*values.values()}) == 1 else "differs"}">'
        f'<th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{_text(value)}</td>" for value in values.values())
        + "</tr>\n"
        for name, values in comparison.facts.items()
    )
    return (
        '<h2>Runs</h2>\n<div class="facts"><table><thead><tr><td></td>'
        f"{heads}</tr></thead><tbody>\n{rows}</tbody></table></div>"
    )


def _spectra(comparison: Comparison) -> str:
    """Return the charts of power and correlation over frequency, if two runs have them."""
    # In an HTML page an SVG needs no name space, which would look like an address.
    charts = "".join(
        f"<figure><figcaption>{title}</figcaption>{svg.replace(NAME_SPACE, '')}</figure>"
        for title, svg in spectrum_charts(comparison)
    )
    return f'<h2>Sharpness</h2>\n<div class="pictures spectra">{charts}</div>\n' * bool(charts)


def _pictures(comparison: Comparison) -> str:
    """Return the pictures of the cases that changed most, a column for each run."""
    parts = []
    for case in changed_cases(comparison):
        figures = "".join(
            f"<figure><figcaption>{_text(name)}: {case.label} "
            f'{score_text(case.score, value)}</figcaption><img src="{source}" alt="Original, '
            f'reconstruction and difference of {escape(printable(case.name))}"></figure>'
            for name, value, source in case.runs
        )
        title = f"{case.title}: {_text(case.name)}"
        parts.append(f'<h2>{title}</h2>\n<div class="pictures">{figures}</div>\n')
    if parts:
        parts.append('<p class="about">Each picture has its own scale of the difference.</p>\n')
    return "".join(parts)


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
    fewer = counted(score.cases) if score.cases < len(comparison.common) else ""
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
            f'<td class="difference">{difference_text(score.name, d.mean)} <small>{verdict} '
            f"{d.ends_text(score.name)}</small></td>"
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
    change = difference_text(score.name, difference.mean)
    label = escape(f"{label_of(score.name)}: {change} {score.unit}")
    return f'<svg viewBox="0 0 240 24" role="img" aria-label="{label}">{"".join(parts)}</svg>'
