"""`vae3d compare`: the scores of two or more runs, paired case by case."""

import logging
from pathlib import Path

from vae3d.commands.compare import CompareConfig
from vae3d.comparison.comparison import compare_reports
from vae3d.comparison.page import page
from vae3d.comparison.reader import named_runs, printable, read_report
from vae3d.comparison.results import Comparison
from vae3d.errors import ConfigError
from vae3d.logger.console import table
from vae3d.report.result import is_plain
from vae3d.runtime.files import write_text
from vae3d.runtime.messages import counted
from vae3d.runtime.paths import user_path
from vae3d.scoring.scores import difference_text, label_of, score_text, unit_text
from vae3d.values.naming import file_stem

log = logging.getLogger(__name__)

MAX_NAMED_CASES = 8


def compare(config: CompareConfig) -> Comparison:
    """Compare the runs with the first one; write the tables next to its scores, or to `output`.

    Raises:
        UserError: a report is missing or damaged, or they cannot be compared.
    """
    names = named_runs(config.run)
    reports = [
        read_report(run, config.mode, name) for run, name in zip(config.run, names, strict=True)
    ]
    comparison = compare_reports(reports)
    # `compare_b_c` for runs a, b and c.
    name = file_stem(f"compare_{'_'.join(names[1:])}")
    output = user_path(config.output or reports[0].folder / name)
    try:
        comparison.write(output)
        write_text(output / "compare.html", page(comparison))
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise ConfigError(
            f"{output}: cannot be written ({error.strerror}); choose another output="
        ) from error
    show(comparison, output)
    return comparison


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
