"""What a probe prints and writes: a table of its scores, and all of them as JSON or CSV."""

import csv
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vae3d.errors import ConfigError
from vae3d.files.atomic import atomic_write, write_json
from vae3d.files.plain import finite_or_none
from vae3d.logger.console import table
from vae3d.probing.config import ProbeConfig
from vae3d.probing.probe import ProbeResult, ProbeRow
from vae3d.probing.scores import CLASS_SCORES, NUMBER_SCORES
from vae3d.report.result import spread

SUFFIXES = (".json", ".csv")


def check_output(path: Path | None) -> None:
    """Raise a ConfigError if the results cannot be written to a file of this name."""
    if path is not None and path.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"output={path}: must end in {' or '.join(SUFFIXES)}, such as probe.json (all "
            "results) or probe.csv (a row per fold)"
        )


def show(result: ProbeResult, config: ProbeConfig) -> None:
    """Print the mean and the deviation of the scores over all folds."""
    names = _names(result)
    rows = [
        [row.name, row.values or "-", *(_cell(_values(row, name)) for name in names)]
        for row in result.rows
    ]
    title = f"{result.subjects.title}, {config.folds} folds x {config.repeats}"
    table(title, ["features", "values", *names.values()], rows)


def write(path: Path, result: ProbeResult, config: ProbeConfig) -> None:
    """Write all results as JSON, or a row per fold as CSV."""
    if path.suffix.lower() == ".json":
        write_json(path, summary(result, config))
        return
    names = _names(result)
    with atomic_write(path) as new, new.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["features", "values", "repeat", "fold", *names, "strength"])
        for row in result.rows:
            for place, scores in enumerate(row.folds):
                where = divmod(place, config.folds)
                cells = [scores.get(name, "") for name in (*names, "strength")]
                writer.writerow([row.name, row.values, *where, *cells])


def summary(result: ProbeResult, config: ProbeConfig) -> dict[str, Any]:
    """Return all results as JSON values."""
    subjects, names = result.subjects, _names(result)
    return {
        "label": subjects.column,
        "classes": subjects.classes,
        "cases": [latent.name for latent in subjects.latents],
        "groups": subjects.num_groups,
        "groups_of": subjects.group_source,
        "settings": {
            name: getattr(config, name)
            for name in ("summaries", "grid", "folds", "repeats", "strength", "seed")
        },
        "rows": [
            {
                "features": row.name,
                "values": row.values,
                **{name: _statistics(_values(row, name)) for name in names},
                "strengths": [scores["strength"] for scores in row.folds if "strength" in scores],
            }
            for row in result.rows
        ],
    }


def _names(result: ProbeResult) -> dict[str, str]:
    return CLASS_SCORES if result.subjects.classes else NUMBER_SCORES


def _values(row: ProbeRow, name: str) -> list[float]:
    """Return a score of the folds that have it: a fold without a class has no area of it."""
    return [scores[name] for scores in row.folds if math.isfinite(scores[name])]


def _statistics(values: Sequence[float]) -> dict[str, Any]:
    return {
        "mean": finite_or_none(_mean(values)),
        "std": finite_or_none(spread(values)),
        "folds": [*values],
    }


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else math.nan


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "-"
    return f"{_mean(values):.3f} \N{PLUS-MINUS SIGN} {spread(values):.3f}"
