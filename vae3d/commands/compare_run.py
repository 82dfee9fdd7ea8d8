"""`vae3d compare`: the scores of two or more runs, paired case by case."""

import logging
import math
from pathlib import Path

from vae3d.commands.compare import CompareConfig
from vae3d.errors import ConfigError
from vae3d.logger.console import table
from vae3d.report.comparison import Comparison, compare_reports
from vae3d.report.comparison_page import page
from vae3d.report.reader import named_runs, printable, read_report, shown
from vae3d.report.result import is_plain
from vae3d.runtime.files import write_text
from vae3d.values.naming import file_stem

log = logging.getLogger(__name__)

MOST_NAMED = 8


def compare(config: CompareConfig) -> Comparison:
    """Compares the runs with the first one; the files lie beside its scores, or in `output`.

    Raises:
        UserError: a report is missing or damaged, or they cannot be compared.
    """
    names = named_runs(config.run)
    reports = [
        read_report(run, config.mode, name) for run, name in zip(config.run, names, strict=True)
    ]
    found = compare_reports(reports)
    output = Path(config.output or reports[0].folder / folder_name(names)).expanduser()
    try:
        found.write(output)
        write_text(output / "compare.html", page(found))
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise ConfigError(
            f"{output}: cannot be written ({error.strerror}); choose another output="
        ) from error
    show(found, output)
    return found


def folder_name(names: list[str]) -> str:
    """`compare_b_c` for runs a, b and c."""
    return file_stem(f"compare_{'_'.join(names[1:])}")


def show(found: Comparison, output: Path) -> None:
    """The scores of the whole volume and every PSNR; all others are in the files."""
    for note in found.notes:
        log.info(printable(note))
    if found.partial:
        named = [
            f"{case} ({', '.join(runs)})" for case, runs in [*found.partial.items()][:MOST_NAMED]
        ]
        rest = ", ..." if len(found.partial) > len(named) else ""
        log.info(
            printable(f"{len(found.partial)} cases are not in all runs: {', '.join(named)}{rest}")
        )
    first = found.reports[0].name
    rows = []
    for score in found.scores:
        if not is_plain(score.name) and score.name.split("/")[0] != "psnr":
            continue
        for mean, d in zip(score.means[1:], score.differences, strict=True):
            ends = f"[{shown(d.low, '+')}, {shown(d.high, '+')}]" if math.isfinite(d.low) else "-"
            rows.append(
                [score.name, score.unit, shown(score.means[0]), d.run, shown(mean),
                 shown(d.mean, "+"), ends, d.better, d.worse, score.verdict(d)]
            )  # fmt: skip
    columns = ["score", "unit", first, "run", "mean", "difference", "95 %", "better", "worse", ""]
    table(f"{len(found.common)} cases, against {first}", columns, rows)
    log.info(f"table: {output / 'compare.html'}")
