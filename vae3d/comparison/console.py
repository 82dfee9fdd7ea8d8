"""A comparison in the terminal."""

import logging
from pathlib import Path

from vae3d.comparison.reader import printable
from vae3d.comparison.results import Comparison
from vae3d.logger.console import table
from vae3d.report.result import is_plain
from vae3d.runtime.messages import counted
from vae3d.scoring.scores import difference_text, label_of, score_text, unit_text

log = logging.getLogger(__name__)

MAX_NAMED_CASES = 8


def show(comparison: Comparison, output: Path) -> None:
    """Print the scores of the whole volume and every PSNR; the files hold all scores."""
    for warning in comparison.warnings:
        log.warning(printable(warning))
    for name, values in comparison.differing_facts.items():
        log.info(printable(f"{name}: {', '.join(f'{v} in {run}' for run, v in values.items())}"))
    for note in comparison.notes:
        log.info(printable(note))
    if comparison.partial:
        named = [
            f"{case} ({', '.join(runs)})"
            for case, runs in [*comparison.partial.items()][:MAX_NAMED_CASES]
        ]
        rest = ", ..." if len(comparison.partial) > len(named) else ""
        log.info(
            printable(
                f"not in all runs: {counted(len(comparison.partial))}: {', '.join(named)}{rest}"
            )
        )
    first = comparison.reports[0].name
    rows = []
    for score in comparison.scores:
        if not is_plain(score.name) and score.name.split("/")[0] != "psnr":
            continue
        for mean, d in zip(score.means[1:], score.differences, strict=True):
            rows.append(
                [label_of(score.name), unit_text(score.unit), *(
                    score_text(score.name, score.means[0]), d.run, score_text(score.name, mean),
                    difference_text(score.name, d.mean), d.ends_text(score.name),
                    d.better, d.worse, score.verdict(d))]
            )  # fmt: skip
    columns = [
        "score",
        "unit",
        first,
        "run",
        "mean",
        "difference",
        "95 % interval",
        "better",
        "worse",
        "",
    ]
    table(f"{counted(len(comparison.common))}, against {first}", columns, rows)
    log.info(f"table: {output / 'compare.html'}")
