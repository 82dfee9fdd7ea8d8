"""Which cases an evaluation scores, and what a reader of its scores must know of them."""

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vae3d.data.cases import Cases
from vae3d.data.config import DataConfig
from vae3d.data.run_cases import RunCases
from vae3d.errors import DataError
from vae3d.files.paths import user_path
from vae3d.runtime.messages import counted
from vae3d.values.identity import ScanIdentity
from vae3d.values.splits import Splits

log = logging.getLogger(__name__)

NEW = "new"
"""The split of cases that the run does not know, among cases of the run."""
MAX_NAMED = 5
"""Cases that a note names."""


def adopt_splits(cases: Cases, record: RunCases) -> bool:
    """Give each case the split that it had in the run; return whether one of them is the run's.

    How the path to the data is written, where data and run were moved, and which cases were added
    or removed does not matter. Cases that the run does not know become NEW. If it knows none of
    them, they keep their own splits.
    """
    own: dict[int, str] = {}
    drawn = cases.split_of()
    for index in drawn:
        found = record.find(cases.case_id(index), cases.identity(index))
        if found is not None:
            own[index] = found.split
    if not own:
        return False
    for index, split in drawn.items():
        # Runs of earlier versions do not record their test cases.
        unknown = split if split == "test" and not record.has_tests else NEW
        own.setdefault(index, unknown)
    splits: Splits = {
        name: np.array(sorted(i for i in own if own[i] == name), np.int64)
        for name in ("train", "val", "test", NEW)
    }
    cases.splits = splits
    return True


def check_place(data: DataConfig, trained: DataConfig, run: Path) -> None:
    """Print the paths that the settings of `run` name, which may come from anybody.

    A relative path is looked up in the working folder, wherever the training ran.

    Raises:
        DataError: the scans are not where they were.
    """
    for key in ("list", "root", "store"):
        path = getattr(data, key, None)
        if not path or path == "auto" or path != getattr(trained, key, None):
            continue
        log.info(f"data.{key}={path}, of the settings of {run}")
        if key != "store" and not user_path(path).exists():
            raise DataError(
                f"data.{key}: no {user_path(path).absolute()}, which is data.{key}={path} of the "
                f"settings of {run}; type data.{key}= with the place where the scans are now"
            )


def choose(cases: Cases, split: str, own: bool) -> list[int]:
    """Return the numbers of the usable cases of `split`; `own` states whether they are the run's.

    Raises:
        DataError: there are none.
    """
    present = [name for name, members in cases.splits.items() if members.size]
    if split == "auto" and own:
        names = [name for name in present if name in ("test", "val")][-1:]
        if not names:
            raise DataError(
                "the run has no test and no validation cases; split=all scores the cases that it "
                "was trained on, a training with data.fold=K/N or a list holds some out"
            )
        if names == ["val"]:
            log.warning("the run has no test cases: its validation cases are scored")
    else:
        names = present if split in ("auto", "all") else [split]
    indices = sorted(index for name in names for index in cases.survey(name).tolist())
    if not indices:
        raise DataError(f"split={split} holds no case; use split=all to score every case")
    return indices


def notes_on(
    record: RunCases, scored: Iterable[tuple[str, ScanIdentity | None]], namesakes: bool
) -> list[str]:
    """Return sentences on scored cases that the run was trained on, or that only seem to be its.

    `namesakes` asks for those with the name of a case of the run and other voxels.
    """
    groups: dict[str, list[str]] = {"train": [], "val": [], "namesake": [], "moved": []}
    cases = [*scored]
    for case_id, identity in cases:
        found = record.find(case_id, identity)
        if found is not None and found.split in groups:
            groups[found.split].append(case_id)
        elif namesakes and record.is_namesake(case_id, identity):
            groups["namesake"].append(case_id)
        if found is not None and identity is not None and found.is_elsewhere(identity):
            groups["moved"].append(case_id)
    total = len(cases)
    of, were = f"of {counted(total)}", "was" if total == 1 else "were"
    sentences = {
        "train": f"{len(groups['train'])} {of} {were} trained on",
        "val": f"{len(groups['val'])} {of} {were} used to choose the best weights",
        "namesake": "same name as a case of the run, other voxels: "
        f"{len(groups['namesake'])} {of}",
        "moved": "same voxels as in the run, at another place or spacing: "
        f"{len(groups['moved'])} {of}",
    }
    notes = [f"{sentences[kind]} ({_names(ids)})" for kind, ids in groups.items() if ids]
    if notes and not record.has_voxels:
        notes.append("the run records the names of its cases only: cases are known by name")
    return notes


def _names(case_ids: list[str]) -> str:
    more = len(case_ids) - MAX_NAMED
    return ", ".join(case_ids[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
