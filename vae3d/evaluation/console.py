"""What an evaluation prints and logs of its scores."""

import logging
from pathlib import Path

from vae3d.logger.base import Logger
from vae3d.logger.console import table
from vae3d.report.facts import fact_lines
from vae3d.report.result import EvaluationResult
from vae3d.report.rows import COLUMNS, score_row
from vae3d.runtime.messages import counted

log = logging.getLogger(__name__)


def log_scores(logger: Logger, result: EvaluationResult) -> None:
    """Log the scores of every case, and their means."""
    rows = [[c.case_id, *(c.scores.get(n) for n in result.names)] for c in result.cases]
    logger.log_table("cases", ["case", *result.names], rows)
    logger.log(0, result.in_shares().means)


def show(result: EvaluationResult, output: Path) -> None:
    """Print what was evaluated, the means, and the paths of scores and pictures."""
    references = [name for name in result.names if name.startswith("psnr@")]
    rows = [score_row(result, name) for name in (*result.means, *references)]
    for name, value in fact_lines(result.facts).items():
        log.info(f"{name}: {value}")
    title = f"{counted(len(result.cases))}, mode={result.protocol['mode']}"
    table(title, COLUMNS, rows)
    log.info(f"scores: {output / 'scores.csv'}")
    for name, path in (("pictures", output / "cases"), ("report", output / "index.html")):
        if path.exists():
            log.info(f"{name}: {path}")
