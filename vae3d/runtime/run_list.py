"""The runs below a folder and what their files say about them, without importing torch."""

import contextlib
import csv
import difflib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any

from vae3d.errors import ConfigError, RunError
from vae3d.files.lock import is_held
from vae3d.files.plain import MAX_YAML_BYTES, finite_or_none, read_json
from vae3d.files.reading import open_text, read_text
from vae3d.runtime.run_folder import RunFolder

MAX_DEPTH = 4
"""Folders between the one that is searched and a run: a sweep is one more folder."""
MAX_SEARCHED, MAX_NAMED = 200, 6
"""Runs among which a misspelled one is looked for, and those that a message names."""
MAX_METRICS_BYTES = 2**28
"""The size of a metrics.csv up to which a run that is not finished has a best score."""
HINT = "; vae3d runs FOLDER lists the runs of a folder"
"""What a message names where there are no runs to name."""
STATES = ("finished", "interrupted", "failed")
NO_LOCKS = "unknown (no locks here)"
"""A run that did not end as far as its files know, where no lock says whether it lives."""
HIGHER_IS_BETTER = ("psnr", "ssim", "fsc", "fsc_05", "fsc_0143")


@dataclass(frozen=True)
class RunRecord:
    """What is known of a run; None where its files do not say it.

    `state` is one of running, finished, interrupted, failed, killed (its process ended without a
    word), unknown (of an earlier version, or whether it runs cannot be found out: NO_LOCKS) and
    damaged. `changed` is the time (UTC) of its last sign of life, `bytes` the size of the folder.
    """

    name: str
    path: str
    state: str
    step: int | None
    steps: int | None
    best_by: str | None
    best_score: float | None
    data: str
    changed: str
    bytes: int


def find_runs(folder: Path) -> list[RunRecord]:
    """Return the runs in a folder and in the sweeps below it, or the run that it is itself.

    Links are not followed, and folders that cannot be read are left out.
    """
    return [run_record(path, folder) for path in run_folders(folder)]


def run_folders(folder: Path, depth: int = MAX_DEPTH) -> Iterator[Path]:
    """Yield the folders of the runs, sorted by name."""
    if is_run(folder):
        yield folder
        return
    below: list[str] = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        below = sorted(
            entry.name
            for entry in entries
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
        )
    for name in below if depth else []:
        yield from run_folders(folder / name, depth - 1)


def is_run(folder: Path) -> bool:
    """Return whether a folder has the settings of a training and something that it wrote."""
    run = RunFolder(folder)
    written = (run.status, run.metrics, run.checkpoints, run.weights("latest"), run.lock)
    # os.path.lexists raises no error for a name that is too long.
    return os.path.lexists(run.config) and any(map(os.path.lexists, written))


def no_run(path: Path) -> RunError:
    """Return the error for a folder that is no run, with the runs that are near it."""
    return RunError(f"{path}: no run here (config.yaml is missing){runs_near(path) or HINT}")


def runs_near(path: Path) -> str:
    """Return the runs near a folder that is none, for a message; empty if there are none."""
    # os.path.lexists raises no error for a name that is too long.
    near = path if os.path.lexists(path) and any(run_folders(path, 1)) else path.parent
    runs = [*islice(run_folders(near, 2), MAX_SEARCHED)]
    if near.absolute() == Path.cwd() and not runs:
        runs = [*islice(run_folders(Path("runs"), 2), MAX_SEARCHED)]
    if not runs:
        return ""
    names = {run.name: run for run in reversed(runs)}
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    meant = f", did you mean {names[close[0]]}?" if close else ";"
    listed = ", ".join(map(str, runs[:MAX_NAMED]))
    return f"{meant} runs here: {listed}{', ...' if len(runs) > MAX_NAMED else ''}"


def run_record(path: Path, base: Path) -> RunRecord:
    """Return what the files of a run say about it; its name is relative to `base`."""
    run = RunFolder(path)
    status, summary = _table(run.status), _table(run.summary)
    settings = _settings(run.config)
    state = _state(run, status)
    best_by = settings.get("trainer.best_by")
    finished = state == "finished" and summary is not None
    best = (summary or {}).get("best_score") if finished else _best(run.metrics, best_by)
    return RunRecord(
        name=path.relative_to(base).as_posix() if path != base else path.absolute().name,
        path=str(path),
        state=state if settings else "damaged",
        step=_whole((status or summary or {}).get("step", (summary or {}).get("steps"))),
        steps=_whole((status or {}).get("of")),
        best_by=best_by,
        best_score=float(best) if best_by and isinstance(best, int | float) else None,
        data=_data(settings),
        changed=_changed(run),
        bytes=_size(path),
    )


def _state(run: RunFolder, status: dict[str, Any] | None) -> str:
    if status is None:
        return "damaged" if os.path.lexists(run.status) else "unknown"
    state = status.get("state")
    if state == "running":
        return {True: "running", False: "killed", None: NO_LOCKS}[is_held(run.lock)]
    return state if state in STATES else "damaged"


def _table(path: Path) -> dict[str, Any] | None:
    """Return the table of a JSON file, None if it is missing or damaged."""
    try:
        value = read_json(path)
    except (OSError, ConfigError):
        return None
    return value if isinstance(value, dict) else None


_ENTRY = re.compile(r"^  (\w+): ?(.*(?:\n    .*)*)$", re.MULTILINE)
_GROUP = re.compile(r"^(data|trainer):\n((?:  .*\n?)+)", re.MULTILINE)


def _settings(path: Path) -> dict[str, str]:
    """Return the texts of `data.KEY` and `trainer.KEY` in a config.yaml that vae3d wrote.

    PyYAML would take a second for twenty runs.
    """
    try:
        text = read_text(path, MAX_YAML_BYTES)
    except (OSError, UnicodeError):
        return {}
    return {
        f"{group}.{key}": _scalar(value)
        for group, block in _GROUP.findall(text)
        for key, value in _ENTRY.findall(block)
    }


def _scalar(text: str) -> str:
    """Return the text of a YAML value, which may be quoted and folded."""
    text = " ".join(text.split())
    if text.startswith("'"):
        return text[1:-1].replace("''", "'")
    if text.startswith('"'):
        with contextlib.suppress(ValueError):
            return str(json.loads(text))
    return text


def _data(settings: dict[str, str]) -> str:
    kind = settings.get("data.kind", "")
    places = (settings.get(f"data.{key}", "null") for key in ("list", "root", "dataset"))
    place = next((text for text in places if text != "null"), "")
    return f"{kind} {place}".strip()


def _best(metrics: Path, best_by: str | None) -> float | None:
    """Return the best validation score in a metrics.csv."""
    if best_by is None:
        return None
    try:
        with open_text(metrics, MAX_METRICS_BYTES, errors="replace") as file:
            rows = csv.DictReader(file)
            texts = [row.get(best_by) for row in rows if row.get("split") == "val"]
    except (OSError, csv.Error):
        return None
    scores = [score for score in map(_number, texts) if score is not None]
    choose = max if best_by in HIGHER_IS_BETTER else min
    return choose(scores, default=None)


def _number(text: str | None) -> float | None:
    with contextlib.suppress(ValueError):
        return finite_or_none(float(text)) if text else None
    return None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _changed(run: RunFolder) -> str:
    """Return when the run last wrote a file, in seconds of UTC."""
    times = [0.0]
    for path in (run.path, run.config, run.status, run.metrics, run.summary):
        with contextlib.suppress(OSError):
            times.append(path.lstat().st_mtime)
    return datetime.fromtimestamp(max(times), timezone.utc).isoformat(timespec="seconds")


def _size(folder: Path) -> int:
    """Return the bytes of all files below a folder; links are not followed."""
    total, folders = 0, [os.fspath(folder)]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    with contextlib.suppress(OSError):
                        total += entry.stat(follow_symlinks=False).st_size
    return total


COLUMNS = ("run", "state", "step", "best", "data", "changed (UTC)", "size")


def cells(run: RunRecord) -> tuple[str, ...]:
    """Return a run as the cells of a table with COLUMNS."""
    steps = "" if run.step is None else f"{run.step:,}"
    best = "" if run.best_score is None else f"{run.best_by} {run.best_score:.4g}"
    texts = (
        *(run.name, run.state, f"{steps} of {run.steps:,}" if run.steps else steps),
        *(best, run.data, run.changed[:16].replace("T", " "), size_text(run.bytes)),
    )
    # Names and settings may hold characters that move the cursor.
    return tuple("".join(c if c.isprintable() else "?" for c in text) for text in texts)


def size_text(count: int) -> str:
    """Return a number of bytes in its largest unit: 12 MiB, 3.4 GiB."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.3g} {unit}" if size < 999.5 else f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:,.1f} GiB"


def in_order(runs: list[RunRecord], sort: str) -> list[RunRecord]:
    """Return the runs by `date` (newest first), `score` (best first), `size` or `name`."""

    def score(run: RunRecord) -> tuple[bool, str, float]:
        known = run.best_score is not None
        better = -1 if run.best_by in HIGHER_IS_BETTER else 1
        return not known, run.best_by or "", better * (run.best_score or 0.0)

    if sort == "date":
        return sorted(runs, key=lambda run: run.changed, reverse=True)
    if sort == "size":
        return sorted(runs, key=lambda run: run.bytes, reverse=True)
    return sorted(runs, key=score if sort == "score" else lambda run: run.name)
