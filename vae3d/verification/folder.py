"""`verify`: recognise what a folder holds, and check every file in it and below it."""

import logging
import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vae3d.errors import DataError
from vae3d.files.checksums import CHECKSUMS, accept, recorded
from vae3d.files.unfinished import FINISHED, UNFINISHED
from vae3d.runtime.registry import load
from vae3d.verification.findings import (
    CHANGED,
    FAULTS,
    IS_MISSING,
    STATES,
    TEXT,
    UNKNOWN,
    WHOLE,
    Finding,
    by_folder,
    of_error,
    of_sums,
    others,
)

MAX_DEPTH = 50


@dataclass(frozen=True)
class Kind:
    """A kind of folder: the files of which it has at least one, and what checks it.

    Without a `check` these are its checksums alone.
    """

    name: str
    marks: tuple[str, ...]
    check: str = ""
    holds_others: bool = True
    """Whether folders inside are looked at as well."""
    hidden: tuple[str, ...] = ()
    """The ends of names of hidden files that mark it as well."""

    def is_marked_by(self, names: Collection[str]) -> bool:
        """Return whether a folder with files of these names is of this kind."""
        hidden = (name for name in names if name.startswith("."))
        return any(mark in names for mark in self.marks) or any(
            name.endswith(self.hidden) for name in hidden
        )


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
    Kind("comparison", ("compare.json", "compare.csv", "compare.html"), "comparison:findings"),
    Kind("export", ("export.json",)),
    Kind("feature network", ("features.json",), "features:findings"),
    Kind("inspection", ("montage.png",)),
    Kind("output folder", (), "outputs:findings", hidden=(FINISHED, UNFINISHED)),
)
OTHER = Kind("other", ())


@dataclass
class Verification:
    """What was found in a folder and in the `places` of a known kind in it."""

    folder: Path
    findings: list[Finding] = field(default_factory=list)
    places: list[tuple[Path, Kind]] = field(default_factory=list)

    @property
    def kinds(self) -> dict[str, int]:
        """The number of folders of each kind."""
        return {**Counter(kind.name for _, kind in self.places)}

    def of(self, state: str) -> list[Finding]:
        """Return the findings of a state."""
        return [finding for finding in self.findings if finding.state == state]

    @property
    def is_whole(self) -> bool:
        """Whether no file is damaged, missing or unreadable, or was changed."""
        return not any(self.of(state) for state in FAULTS)

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
            result.places.append((place, kind))
            result.findings += by_folder(place, _findings(place, kind))
    except PermissionError as error:
        reason = f"cannot be read ({error.strerror}); ask for the right to read it"
        raise DataError(f"{folder}: {reason}") from error
    finally:
        logging.disable(logging.NOTSET)
    if not result.places:
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
            unread.append(of_error(Path(error.filename or folder / name), error))


def kind_of(folder: Path) -> Kind:
    """Return what a folder holds, by its files, and by those that it held when they are gone."""
    with os.scandir(folder) as entries:
        names = {entry.name for entry in entries if entry.is_file()}
    return _marked(names) or _marked(recorded(folder)) or OTHER


def _marked(names: Collection[str]) -> Kind | None:
    return next((kind for kind in KINDS if kind.is_marked_by(names)), None)


def _findings(folder: Path, kind: Kind) -> list[Finding]:
    own = load(f"vae3d.verification.{kind.check}")(folder) if kind.check else iter(())
    found: dict[Path, Finding] = {}
    for finding in (*_until_error(folder, own), *_until_error(folder, of_sums(folder))):
        # What a file's own reader found says more than that it was changed.
        if finding.path not in found or found[finding.path].state in (WHOLE, UNKNOWN):
            found[finding.path] = finding
    return [*found.values(), *_until_error(folder, others(folder, {*found}))]


def _until_error(folder: Path, findings: Iterator[Finding]) -> Iterator[Finding]:
    """Yield the findings; an error that ends them is one itself."""
    try:
        yield from findings
    except OSError as error:
        yield of_error(Path(error.filename or folder), error)
    except DataError as error:  # a record names a file elsewhere, or a link
        yield of_error(folder / CHECKSUMS, error)


def accepted(result: Verification) -> Verification:
    """Record text files that were changed or removed as they are now, and check again.

    A file by which its folder is known cannot be removed.

    Raises:
        DataError: the record cannot be written.
    """
    edited = {finding.path for finding in result.of(CHANGED)}
    removed = {finding.path for finding in result.findings if finding.reason == IS_MISSING}
    for place, kind in result.places:
        gone = {place / name for name in recorded(place) if name not in kind.marks} & removed
        names = [
            path.relative_to(place).as_posix()
            for path in {path for path in edited if path.parent == place} | gone
            if path.suffix in TEXT
        ]
        if names:
            accept(place, *sorted(names))
    return verify(result.folder)
