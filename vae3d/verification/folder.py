"""`verify`: recognise what a folder holds, and check every file in it and below it."""

import logging
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vae3d.errors import DataError
from vae3d.files.checksums import recorded, seal
from vae3d.runtime.registry import load
from vae3d.verification.findings import (
    CHANGED,
    DAMAGED,
    STATES,
    UNKNOWN,
    WHOLE,
    Finding,
    of_sums,
    others,
)

MAX_DEPTH = 50


@dataclass(frozen=True)
class Kind:
    """A kind of folder: the files of which it has at least one, and what checks it."""

    name: str
    marks: tuple[str, ...]
    check: str
    holds_others: bool = True
    """Whether folders inside are looked at as well."""


KINDS = (
    Kind("store", ("store.json", "catalog.sqlite"), "store:findings", holds_others=False),
    Kind(
        "latent folder", ("latents.json", "manifest.csv"), "latents:findings", holds_others=False
    ),
    Kind(
        "checkpoint", ("manifest.json", "state.pt"), "run:checkpoint_findings", holds_others=False
    ),
    Kind(
        "weight folder",
        ("model.safetensors", "config.json"),
        "weights:findings",
        holds_others=False,
    ),
    Kind("report", ("scores.csv",), "report:findings"),
    Kind("run", ("config.yaml",), "run:findings"),
)
OTHER = Kind("other", (), "")


@dataclass
class Verification:
    """What was found in a folder, by its path; `kinds` counts the folders of each kind."""

    folder: Path
    findings: list[Finding] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)

    def of(self, state: str) -> list[Finding]:
        """Return the findings of a state."""
        return [finding for finding in self.findings if finding.state == state]

    @property
    def is_whole(self) -> bool:
        """Whether no file is damaged or was changed."""
        return not (self.of(DAMAGED) or self.of(CHANGED))

    @property
    def counts(self) -> dict[str, int]:
        """The number of files of each state."""
        return {state: len(self.of(state)) for state in STATES}


def verify(folder: Path) -> Verification:
    """Check a store, run, latents, weights or report, or all of them below a folder.

    Raises:
        DataError: there is nothing that vae3d wrote.
    """
    if not folder.is_dir():
        reason = "is no folder" if folder.exists() else "no such folder"
        raise DataError(f"{folder}: {reason}; type vae3d verify FOLDER")
    result = Verification(folder)
    logging.disable(logging.WARNING)  # readers warn of what is listed here
    try:
        for place, kind in recognised(folder, result.findings):
            result.kinds[kind.name] = result.kinds.get(kind.name, 0) + 1
            result.findings += _findings(place, kind)
    finally:
        logging.disable(logging.NOTSET)
    if not result.kinds:
        raise DataError(
            f"{folder}: holds nothing that vae3d wrote: no run, store, latents, weights or report"
        )
    return result


def recognised(
    folder: Path, unread: list[Finding], depth: int = MAX_DEPTH
) -> Iterator[tuple[Path, Kind]]:
    """Yield the folders of a known kind, from the top; links are not followed.

    Folders below it that cannot be listed are added to `unread`.
    """
    kind = kind_of(folder)
    if kind is not OTHER:
        yield folder, kind
    if not kind.holds_others or not depth:
        return
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))
    for name in names:
        # Temporary folders of a process that writes now, or was killed, are no results.
        if name.startswith("."):
            continue
        try:
            yield from recognised(folder / name, unread, depth - 1)
        except PermissionError as error:
            reason = f"cannot be read ({(error.strerror or str(error)).lower()})"
            unread.append(Finding(Path(error.filename or folder / name), DAMAGED, reason))


def kind_of(folder: Path) -> Kind:
    """Return what a folder holds, by its files, and by those that it held when they are gone."""
    with os.scandir(folder) as entries:
        names = {entry.name for entry in entries if entry.is_file()}
    return _marked(names) or _marked(recorded(folder)) or OTHER


def _marked(names: Collection[str]) -> Kind | None:
    return next((kind for kind in KINDS if any(mark in names for mark in kind.marks)), None)


def _findings(folder: Path, kind: Kind) -> list[Finding]:
    check = load(f"vae3d.verification.{kind.check}")
    found: dict[Path, Finding] = {}
    for finding in (*check(folder), *of_sums(folder)):
        # What a file's own reader found says more than that it was changed.
        if finding.path not in found or found[finding.path].state in (WHOLE, UNKNOWN):
            found[finding.path] = finding
    return [*found.values(), *others(folder, {*found})]


def accepted(result: Verification) -> Verification:
    """Record text files that were changed as they are now, and check again."""
    for finding in result.of(CHANGED):
        seal(finding.path.parent, finding.path.name)
    return verify(result.folder)
