"""`score_row`: a score of a report as a row of text, as the terminal prints it."""

import math

from vae3d.report.result import EvaluationResult
from vae3d.scoring.scores import label_of, score_text, unit_text, worth

COLUMNS = ["metric", "mean", "std", "95 % interval", "unit"]


def score_row(result: EvaluationResult, name: str) -> list[str]:
    """Return the name of a score, its mean, deviation, interval and unit, by COLUMNS.

    Of too few cases for an interval the range is stated. Of a score that is infinite for some
    cases, these are counted, and there is neither mean nor deviation.
    """
    known = len(result.values(name)) > 1 and not result.infinite(name)
    return [
        label_of(name),
        score_text(name, mean_of(result, name)),
        score_text(name, result.spread(name)) if known else "-",
        infinite_text(result, name) or _ends(result, name),
        unit_text(result.unit(name)),
    ]


def mean_of(result: EvaluationResult, name: str) -> float:
    """Return the mean over the cases; NaN if the score is infinite for some of them only."""
    mixed = 0 < result.infinite(name) < len(result.values(name))
    return math.nan if mixed else result.mean(name)


def infinite_text(result: EvaluationResult, name: str) -> str:
    """Return as `3 of 8 identical, others 39.23 to 43.10`; nothing if no case is infinite."""
    values, count = result.values(name), result.infinite(name)
    if not count:
        return ""
    # The PSNR of identical images is infinite, and the best; other infinities are not.
    best = all(worth(name, value) > 0 for value in values if math.isinf(value))
    text = f"{count} of {len(values)} {'identical' if best else 'infinite'}"
    smallest, largest = (score_text(name, end) for end in result.extent(name))
    others = smallest if smallest == largest else f"{smallest} to {largest}"
    return text if count == len(values) else f"{text}, others {others}"


def _ends(result: EvaluationResult, name: str) -> str:
    """Return the interval of a mean, or the range of cases that are too few for one."""
    low, high = result.interval(name)
    if math.isfinite(low):
        return f"[{score_text(name, low)}, {score_text(name, high)}]"
    if len(result.values(name)) < 2:
        return "-"
    return "range " + " to ".join(score_text(name, end) for end in result.extent(name))
