"""What an evaluation prints and logs of its scores."""

import logging
import math
from pathlib import Path

from vae3d.logger.base import Logger
from vae3d.logger.console import table
from vae3d.report.result import EvaluationResult
from vae3d.scoring.scores import label_of, score_text, unit_text

log = logging.getLogger(__name__)


def log_scores(logger: Logger, result: EvaluationResult) -> None:
    """Log the scores of every case, and their means."""
    rows = [[c.case_id, *(c.scores.get(n) for n in result.names)] for c in result.cases]
    # Train and the modes of eval may log into one run: names tell them apart.
    mode = result.protocol["mode"]
    logger.log_table(f"eval_{mode}_cases", ["case", *result.names], rows)
    logger.log(0, result.means, f"eval_{mode}")


def show(result: EvaluationResult, output: Path, facts: dict[str, str] | None = None) -> None:
    """Print what was evaluated (`facts`), the means, and the paths of scores and pictures."""
    references = [name for name in result.names if name.startswith("psnr@")]
    rows = [
        [
            label_of(name),
            score_text(name, result.mean(name)),
            score_text(name, result.spread(name)) if len(result.values(name)) > 1 else "-",
            _ends(result, name),
            unit_text(result.unit(name)),
        ]
        for name in (*result.means, *references)
    ]
    cases = "1 case" if len(result.cases) == 1 else f"{len(result.cases)} cases"
    for name, value in (facts or {}).items():
        log.info(f"{name}: {value}")
    title = f"{cases}, mode={result.protocol['mode']}"
    table(title, ["metric", "mean", "std", "95 % interval", "unit"], rows)
    log.info(f"scores: {output / 'scores.csv'}")
    for name, path in (("pictures", output / "cases"), ("report", output / "index.html")):
        if path.exists():
            log.info(f"{name}: {path}")


def _ends(result: EvaluationResult, name: str) -> str:
    """Return the interval of a mean, or the range of cases that are too few for one."""
    low, high = result.interval(name)
    if math.isfinite(low):
        return f"[{score_text(name, low)}, {score_text(name, high)}]"
    if len(result.values(name)) < 2:
        return "-"
    return "range " + " to ".join(score_text(name, end) for end in result.extent(name))
