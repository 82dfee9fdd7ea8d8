"""The names of the jobs of `vae3d train -m`, and one table of their results."""

import csv
import logging
import re
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from vae3d.files.atomic import atomic_write
from vae3d.files.plain import read_json
from vae3d.files.reading import open_text
from vae3d.files.sole_writer import sole_writer_of_file
from vae3d.logger.console import table
from vae3d.runtime.run_folder import RunFolder

log = logging.getLogger(__name__)


def job_name(name: str, arguments: list[str]) -> str:
    """Return the run's name, in a sweep `name/<settings of this job>`, so that a job resumes."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return name
    changed = [o for o in HydraConfig.get().overrides.task if o not in arguments]
    label = ",".join(changed) or f"job_{HydraConfig.get().job.num}"
    return f"{name}/{re.sub(r'[^-+=.,()A-Za-z0-9_]', '_', label)}"


def best_score(folder: Path) -> float | None:
    """Return the best score of a run, which a sweeper such as Optuna optimises."""
    score: float | None = _summary(folder).get("best_score")
    return score


def summarise(folders: list[Path]) -> None:
    """Print the runs of a sweep, best first, and write `sweep.csv` next to them."""
    rows = [{"run": folder.name, **_settings(folder.name), **_last(folder)} for folder in folders]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    by = _summary(folders[0]).get("best_by", "psnr")
    better = -1 if by in ("psnr", "ssim") else 1
    rows.sort(key=lambda row: better * float(row.get(by) or "nan"))
    path = folders[0].parent / "sweep.csv"
    with (
        sole_writer_of_file(path),
        atomic_write(path) as temporary,
        temporary.open("w", newline="") as file,
    ):
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    printed = [column for column in columns if column != "run"]
    table("sweep", printed, [[_printed(row.get(c, "")) for c in printed] for row in rows])
    log.info(f"sweep: {path}")


def _printed(value: str) -> str:
    """Return a number with four significant digits; whole numbers and other text as they are."""
    try:
        number = float(value)
    except ValueError:
        return value
    return value if re.fullmatch(r"[-+]?\d+", value) else f"{number:.4g}"


def _settings(label: str) -> dict[str, str]:
    parts = [part.split("=", 1) for part in re.split(r",(?=[^,=]+=)", label)]
    return {part[0]: part[1] for part in parts if len(part) == 2}


def _last(folder: Path) -> dict[str, str]:
    """Return the steps, the size and the validation scores of a run at its best step."""
    summary = _summary(folder)
    results: dict[str, str] = {
        key: str(summary[key]) for key in ("steps", "parameters") if key in summary
    }
    metrics = RunFolder(folder).metrics
    if not metrics.exists():
        return results
    with open_text(metrics) as file:
        rows = [row for row in csv.DictReader(file) if row.get("split") == "val"]
    at_best = [row for row in rows if row["step"] == str(summary.get("best_step"))]
    scores = (at_best or rows or [{}])[-1]
    omitted = ("epoch", "split", "step")
    return {**results, **{k: v for k, v in scores.items() if v and k not in omitted}}


def _summary(folder: Path) -> dict[str, Any]:
    path = RunFolder(folder).summary
    return dict(read_json(path)) if path.exists() else {}
