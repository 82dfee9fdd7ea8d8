"""`RunCases`: the cases of a training, with their splits, as its run folder records them."""

import contextlib
import csv
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

from vae3d.autoencoder.description import SplitRecord
from vae3d.data.cases import Cases
from vae3d.errors import DataError, LockedError, RunError
from vae3d.files.atomic import atomic_write
from vae3d.files.checksums import CHECKSUMS, sealing, warn_if_changed
from vae3d.files.reading import open_text, reason_of
from vae3d.files.sole_writer import lock_of, sole_writer_of_file
from vae3d.values.identity import ScanIdentity

log = logging.getLogger(__name__)

HOW = "data.fold=K/N holds out one part of N, a list with a column split any cases"
EMPTY = {
    "val": f"no validation cases: the best weights cannot be chosen; {HOW}",
    "test": f"no test cases: vae3d eval will have no held-out cases to score; {HOW}",
}


@dataclass(frozen=True)
class RunCase:
    """One case of a run; `voxels`, `geometry` and `stamp` are empty where they are not known.

    `voxels` and `geometry` are those of its `ScanIdentity`. `stamp` is that of its file.
    """

    case_id: str
    split: str
    voxels: str = ""
    geometry: str = ""
    stamp: str = ""

    def is_elsewhere(self, identity: ScanIdentity) -> bool:
        """Return whether a scan has these voxels at another place or spacing."""
        known = bool(self.voxels and self.geometry)
        return known and self.voxels == identity.voxels and self.geometry != identity.geometry


def listed(cases: Cases) -> Iterator[RunCase]:
    """Yield all cases of a training, test cases too, as far as they are known without reading."""
    for index, split in sorted(cases.split_of().items()):
        identity = cases.identity(index)
        voxels, geometry = (identity.voxels, identity.geometry) if identity else ("", "")
        # A stamp stands for a scan that has not been read.
        stamp = "" if identity else cases.stamp(index)
        yield RunCase(cases.case_id(index), split, voxels, geometry, stamp)


def split_record(cases: Cases) -> SplitRecord:
    """Return how the cases are divided, for the weights."""
    rule = cases.split_rule
    kind = "list" if cases.is_listed else rule.kind or cases.split_kind
    return SplitRecord(kind, rule.val_fraction, rule.test_fraction, cases.config.fold)


def check_splits(cases: Cases, resumes: bool) -> None:
    """Report empty splits, doubtful geometry, and a scan that is there several times.

    Raises:
        DataError: a list has one scan in two splits; where a training resumes it is a warning.
    """
    config = cases.config
    for name, asked in (("val", config.val_fraction), ("test", config.test_fraction)):
        if not cases.splits[name].size and asked:
            log.warning(EMPTY[name])
    for line in cases.findings():
        log.warning(line)
    split = cases.split_of()
    copies = [[(cases.case_id(i), split[i]) for i in group] for group in cases.copies()]
    apart = [group for group in copies if len({name for _, name in group}) > 1]
    if apart:
        (first, a), (other, b) = apart[0][0], next(c for c in apart[0] if c[1] != apart[0][0][1])
        reason = (
            f"one scan is in two splits ({len(apart)} scans; the first: {first} in {a} and "
            f"{other} in {b}); keep one of them, or give both the same split"
        )
        if cases.is_listed and not resumes:
            raise DataError(reason)
        log.warning(reason)
    elif copies:
        names = " = ".join(case_id for case_id, _ in copies[0])
        log.info(f"{len(copies)} scans are there several times, in one split each ({names}, ...)")


class RunCases:
    """The recorded cases of a run, found by what they hold, else by name."""

    def __init__(self, cases: Iterable[RunCase]) -> None:
        self.cases = list(cases)
        self._by_id = {case.case_id: case for case in self.cases}
        self._by_voxels: dict[str, list[RunCase]] = {}
        for case in self.cases:
            if case.voxels:
                self._by_voxels.setdefault(case.voxels, []).append(case)

    @classmethod
    def read(cls, path: Path) -> "RunCases":
        """Read the record of a run; it is empty if there is none.

        Raises:
            RunError: the file is damaged.
        """
        names = [field.name for field in fields(RunCase)]
        warn_if_changed(path)
        try:
            with open_text(path) as file:
                rows = csv.DictReader(file)
                return cls(RunCase(**{k: v for k, v in row.items() if k in names}) for row in rows)
        except FileNotFoundError:
            return cls(())
        except (OSError, ValueError, TypeError, csv.Error) as error:
            raise RunError(
                f"{path}: cannot be read ({reason_of(error)}); remove it to go by names"
            ) from error

    def write(self, path: Path) -> None:
        """Write the record as CSV."""
        with (
            atomic_write(path) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([field.name for field in fields(RunCase)])
            writer.writerows(map(astuple, self.cases))

    def complete(self, path: Path, cases: Cases, read: Mapping[str, ScanIdentity | None]) -> None:
        """Write the `completed` record to the run at `path`, if it says more than this one.

        A run of someone else may be read-only, or in use: its record can wait. A lock file is left
        by a kill.
        """
        complete = self.completed(cases, read)
        if complete.cases != self.cases or lock_of(path).exists():
            with (
                contextlib.suppress(OSError, DataError, LockedError),
                sole_writer_of_file(path, [CHECKSUMS]),
                sealing(path.parent, path.name),
            ):
                complete.write(path)

    @property
    def has_tests(self) -> bool:
        """Whether test cases are recorded; earlier versions recorded none."""
        return any(case.split == "test" for case in self.cases)

    @property
    def has_voxels(self) -> bool:
        """Whether the record knows what its cases hold; earlier versions recorded names only."""
        return bool(self._by_voxels)

    def find(self, case_id: str, identity: ScanIdentity | None) -> RunCase | None:
        """Return the case of the run that is this scan.

        A scan is known by its voxels, whatever it is called. By its name it is known only where
        the voxels of one of the two are not known.
        """
        named = self._by_id.get(case_id)
        if identity is not None:
            same = self._by_voxels.get(identity.voxels, [])
            if same:
                return named if named in same else same[0]
            if named is not None and named.voxels:
                return None
        return named

    def completed(self, cases: Cases, read: Mapping[str, ScanIdentity | None]) -> "RunCases":
        """Return the record with the identities of cases that the training listed unread.

        `read` has those of the cases by name. One counts if its file still has the recorded stamp.
        """
        stamps = {cases.case_id(i): cases.stamp(i) for i in cases.split_of()}

        def complete(case: RunCase) -> RunCase:
            identity = read.get(case.case_id)
            if not case.stamp or identity is None or stamps.get(case.case_id) != case.stamp:
                return case
            return replace(case, voxels=identity.voxels, geometry=identity.geometry, stamp="")

        return RunCases(map(complete, self.cases))

    def is_namesake(self, case_id: str, identity: ScanIdentity | None) -> bool:
        """Return whether a case of the run has this name and holds other voxels."""
        return case_id in self._by_id and self.find(case_id, identity) is None
