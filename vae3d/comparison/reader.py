"""`Report`: the report of an evaluation, read from disk and validated."""

import csv
import itertools
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vae3d.errors import ConfigError, RunError
from vae3d.files.checksums import warn_if_changed
from vae3d.files.links import check_no_links
from vae3d.files.paths import resolved, user_path
from vae3d.files.plain import from_plain, read_json
from vae3d.files.reading import open_text
from vae3d.report.facts import fact_lines
from vae3d.report.result import CASE_COLUMNS, IDENTITY_COLUMNS, CaseScore
from vae3d.runtime.run_folder import RunFolder
from vae3d.runtime.run_list import HINT, runs_near
from vae3d.runtime.shell import quoted
from vae3d.values.identity import ScanIdentity
from vae3d.values.intensity import current_units

MAX_SCORES_BYTES = 2**26
"""Size of a `scores.csv`, at most."""


@dataclass(frozen=True)
class Report:
    """The report in `folder`. `name` is unique among compared reports; `run` is as typed.

    `facts` are those of `fact_lines`; reports of earlier versions have fewer or none.
    """

    name: str
    run: str
    folder: Path
    cases: dict[str, CaseScore]
    protocol: dict[str, Any]
    facts: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def again(self) -> str:
        """The command that creates this report."""
        return evaluation_of(self.run, str(self.protocol.get("mode")))


def named_runs(runs: Sequence[str]) -> list[str]:
    """Return a short unique name for each run: the fewest last folders of its path that suffice.

    A run that is a link has the name of the link, which the user chose.

    Raises:
        ConfigError: fewer than two runs, or the same run twice.
    """
    if len(runs) < 2:
        raise ConfigError(
            f"run must name two or more run folders, got {[*runs]}: vae3d compare runs/a runs/b"
        )
    places = [resolved(user_path(run)) for run in runs]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise ConfigError(f"run names {runs[number]} twice")
    # Without `..` a path may lead elsewhere, if it goes through a link.
    typed = [Path(os.path.abspath(user_path(run))) for run in runs]  # noqa: PTH100 - keeps links
    paths = [
        path if resolved(path) == place else place
        for path, place in zip(typed, places, strict=True)
    ]
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len({*names}) == len(names):
            break
    return names


def read_report(run: str, mode: str, name: str) -> Report:
    """Read the report of a run and mode; `run` may also be the folder of a report itself.

    Raises:
        RunError: the report does not exist, or its files are damaged.
    """
    folder = _report_folder(run, mode)
    check_no_links(folder)
    for file in ("scores.csv", "summary.json"):
        warn_if_changed(folder / file)
    columns, cases = read_scores(folder / "scores.csv")
    again = f"evaluate again: {evaluation_of(run, mode)}"
    path = folder / "summary.json"
    try:
        summary = from_plain(dict[str, Any], read_json(path))
        protocol = from_plain(dict[str, Any], summary.get("protocol"), "protocol")
        protocol = current_units(protocol)
        names = from_plain(dict[str, str], protocol.get("scores"), "protocol.scores")
        from_plain(dict[str, Any], protocol.get("regions", {}), "protocol.regions")
    except FileNotFoundError:
        raise RunError(f"{path}: is missing; {again}") from None
    except ConfigError as error:
        raise RunError(f"{path}: {error}; {again}") from error
    if [*names] != columns or summary.get("cases") != len(cases):
        raise RunError(f"{folder}: scores.csv and summary.json do not match; {again}")
    facts, warnings = _facts(summary)
    return Report(name, run, folder, cases, protocol, facts, warnings)


def _facts(summary: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Return the facts and the warnings of a `summary.json`, none where they are damaged."""
    warnings = summary.get("warnings")
    sentences = [w for w in warnings if isinstance(w, str)] if isinstance(warnings, list) else []
    try:
        return fact_lines(summary), sentences
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}, sentences


def _report_folder(run: str, mode: str) -> Path:
    """Return the folder of a report.

    Raises:
        RunError: it does not exist.
    """
    path = user_path(run)
    for folder in (path, RunFolder(path).report(mode)):
        if (folder / "scores.csv").is_file():
            return folder
    if not path.is_dir():
        raise RunError(
            f"run={run}: no run here, and no report with a scores.csv{runs_near(path) or HINT}"
        )
    if not RunFolder(path).config.is_file():
        raise RunError(
            f"{run}: is neither a run folder nor a report with a scores.csv; run= must name run "
            "folders, for example runs/vae3d"
        )
    raise RunError(
        f"{run}: has no report of mode={mode}; create it with: {evaluation_of(run, mode)}"
    )


def evaluation_of(run: str, mode: str) -> str:
    """Return the command that creates the report of a run."""
    return f"vae3d eval {quoted(f'run={run}')} mode={mode}"


def read_scores(path: Path) -> tuple[list[str], dict[str, CaseScore]]:
    """Read the names of the scores and the cases of a `scores.csv`.

    Raises:
        RunError: the file is damaged; the message names the line.
    """
    try:
        with open_text(path, MAX_SCORES_BYTES) as file:
            columns, cases = _parse_scores([*file], path)
    except UnicodeDecodeError as error:
        raise RunError(f"{path}: is not UTF-8 text ({error.reason})") from error
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error
    if not cases:
        raise RunError(f"{path}: has no cases")
    return columns, cases


def _parse_scores(lines: Sequence[str], path: Path) -> tuple[list[str], dict[str, CaseScore]]:
    comments = len([*itertools.takewhile(lambda line: line.startswith("# "), lines)])
    # A truncated number would pass as a number.
    if lines and not lines[-1].endswith(("\n", "\r")):
        raise RunError(f"{path}, line {len(lines)}: is truncated")
    rows = csv.reader(lines[comments:])
    cases: dict[str, CaseScore] = {}
    try:
        columns = next(rows, [])
        if tuple(columns[:3]) != CASE_COLUMNS or len({*columns}) < len(columns):
            raise ValueError("must be case_id,low,high and the names of the scores")
        start = 5 if tuple(columns[3:5]) == IDENTITY_COLUMNS else 3
        for cells in filter(None, rows):
            case = _case(columns, cells, start)
            if case.case_id in cases:
                raise ValueError(f"case {printable(case.case_id)} appears twice")
            cases[case.case_id] = case
    except (ValueError, csv.Error) as error:
        raise RunError(f"{path}, line {comments + rows.line_num}: {error}") from error
    return columns[start:], cases


def _case(columns: Sequence[str], cells: Sequence[str], start: int) -> CaseScore:
    """Return the case of a row. Scores begin in column `start`; an empty cell is no score."""
    if len(cells) != len(columns):
        raise ValueError(f"has {len(cells)} cells, the header has {len(columns)}")
    low, high = map(_number, columns[1:3], cells[1:3])
    scores = {
        name: _number(name, cell)
        for name, cell in zip(columns[start:], cells[start:], strict=True)
        if cell
    }
    known = start > 3 and cells[3]
    identity = ScanIdentity(cells[3], cells[4]) if known else None
    return CaseScore(cells[0], low, high, scores, identity)


def _number(name: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise ValueError(f"{printable(name)} must be a number, got {printable(cell[:40])!r}")
    return value


def printable(text: str) -> str:
    """Return the text with unprintable characters replaced by `?`.

    Names from files could otherwise move the cursor or reverse the direction of the line.
    """
    return "".join(c if c.isprintable() else "?" for c in text)
