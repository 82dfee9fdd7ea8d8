"""`Catalog`: the table of a store's cases, read row by row for any number of cases."""

import contextlib
import hashlib
import json
import math
import os
import re
import sqlite3
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae3d.errors import DataError, UserError
from vae3d.files.atomic import atomic_write
from vae3d.files.checksums import CHECKSUMS, is_changed
from vae3d.files.links import check_inside, open_own
from vae3d.files.plain import from_plain
from vae3d.files.reading import check_regular, lines_of, open_regular, reason_of
from vae3d.runtime.choices import SPLITS
from vae3d.scans.volume import SourceGeometry
from vae3d.store.arrays import check_file
from vae3d.store.record_checks import checked_record, checked_statistics, shape_of
from vae3d.values.geometry_findings import FindingCounter, FindingSummary
from vae3d.values.identity import ScanIdentity
from vae3d.values.splits import SplitRule, Splits, case_rank
from vae3d.values.voxel_statistics import VoxelStatistics

FORMAT = 2
READABLE = (1, 2)
"""Format 1 has no identities, and its splits are drawn by count."""
_SCHEMA = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE cases (
    number INTEGER PRIMARY KEY, case_id TEXT NOT NULL, split TEXT, rank INTEGER NOT NULL,
    stamp TEXT NOT NULL, file TEXT, shape TEXT, error TEXT, voxels TEXT, geometry TEXT
);
CREATE TABLE records (number INTEGER PRIMARY KEY, record TEXT NOT NULL);
"""
_RECORD = "SELECT record FROM records WHERE number = ?"
MAX_ERROR = 500
"""Letters of a case's error that are shown."""
_WRONG = (AttributeError, KeyError, TypeError, ValueError)
"""What values of another type raise, or missing ones."""
_PLAIN_TABLE = re.compile(r"CREATE TABLE (about|cases|records) \([\w\s,]+\)")
"""A view, a trigger or a computed column would make SQLite run what the file says, without end."""


@dataclass(frozen=True)
class CaseRecord:
    """One case of a store: its source, its file, its grid and the statistics of its voxels.

    A case that could not be prepared has an `error`; `file` and all attributes after it keep their
    defaults. `stamp` changes when the source changes. `shape` is (D, H, W) or (H, W), `affine`
    maps its indices to RAS millimetres. `digest` is that of the stored file, `sums` that of its
    own checksums, None if it has none. `box` is the corner
    and the size of the foreground. `identity` is that of the source, None in format 1. `rank`
    assigns the case to a split; None is the hash of its id.
    """

    case_id: str
    source: str
    stamp: str
    error: str | None = None
    file: str | None = None
    num_bytes: int = 0
    digest: str = ""
    dtype: str = ""
    channels: int = 0
    shape: tuple[int, ...] = ()
    affine: tuple[tuple[float, ...], ...] = ()
    geometry: SourceGeometry | None = None
    statistics: VoxelStatistics | None = None
    box: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    identity: ScanIdentity | None = None
    rank: int | None = None
    sums: int | None = None

    @property
    def decoded_bytes(self) -> int:
        """The size of its voxels in memory, in bytes."""
        if not self.dtype:
            return 0
        return self.channels * math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def to_json(self) -> str:
        """Return the record as one line of JSON."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        values["geometry"] = self.geometry and self.geometry.describe()
        values["statistics"] = self.statistics and asdict(self.statistics)
        values["identity"] = self.identity and asdict(self.identity)
        return json.dumps(values, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "CaseRecord":
        """Return the record of a line.

        Raises:
            ValueError: the line is no complete record.
        """
        try:
            return cls(**checked_record(json.loads(text)))
        except (AttributeError, KeyError, TypeError, RecursionError, UserError) as error:
            raise ValueError(f"no record of a case: {reason_of(error)}") from error


class Catalog:
    """An SQLite file with one row for each case, in the order of their names.

    What is read for all cases is in a narrow table. The full records are in another table, of
    which single rows are read. Each process opens its own connection, since an SQLite connection
    must not be used after a fork.

    Raises:
        DataError: missing, damaged, or of another version; `vae3d prepare` writes it again.
    """

    def __init__(self, path: Path) -> None:
        self.path = check_inside(path.parent, path)
        self._connection: tuple[int, sqlite3.Connection] | None = None
        try:
            check_regular(path)
        except FileNotFoundError:
            raise DataError(f"{path.parent}: no store here ({path.name} is missing)") from None
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error
        if is_changed(path):
            raise DataError(f"{path}: damaged (its SHA-256 is not that of {CHECKSUMS})")
        with self._as_damage():
            about = dict(self._rows("SELECT key, value FROM about"))
            self.format = int(about.get("format", 0))
            if self.format not in READABLE:
                raise DataError(f"{path}: format {self.format} is not {FORMAT}")
            self.fingerprint = from_plain(str, about["fingerprint"], "fingerprint")
            self.split_kind = str(about.get("split_kind", "count"))
            findings = json.loads(about.get("findings", "[]"))
            self.findings = from_plain(list[FindingSummary], findings, "findings")

    def __len__(self) -> int:
        """Return the number of cases, including those that could not be prepared."""
        return int(next(self._rows("SELECT COUNT(*) FROM cases"))[0])

    def record(self, number: int) -> CaseRecord:
        """Return the record of one case."""
        return self._record(self._one(_RECORD, number)[0])

    def records(self) -> Iterator[CaseRecord]:
        """Return all records, read one at a time."""
        rows = self._rows("SELECT record FROM records ORDER BY number")
        return (self._record(text) for (text,) in rows)

    def statistics(self, number: int) -> VoxelStatistics | None:
        """Return the statistics of a case alone, in a third of the time of its `record`."""
        return self._statistics(self._one(_RECORD, number)[0])

    def all_statistics(self) -> Iterator[tuple[str, VoxelStatistics | None]]:
        """Return the name and the statistics of every case, read one at a time."""
        query = """
            SELECT case_id, record FROM cases JOIN records USING (number) ORDER BY number
        """
        return ((case_id, self._statistics(text)) for case_id, text in self._rows(query))

    def _statistics(self, text: str) -> VoxelStatistics | None:
        with self._as_damage():
            return checked_statistics(json.loads(text)["statistics"])

    def _record(self, text: str) -> CaseRecord:
        try:
            return CaseRecord.from_json(text)
        except ValueError as error:
            raise DataError(f"{self.path}: damaged ({error})") from error

    def case_id(self, number: int) -> str:
        """Return the name of a case."""
        return str(self._one("SELECT case_id FROM cases WHERE number = ?", number)[0])

    def shapes(self, numbers: NDArray[np.int64]) -> Iterator[tuple[int, ...]]:
        """Yield the shapes of these cases in one pass; `numbers` must be in ascending order."""
        wanted = iter(numbers.tolist())
        row = next(wanted, None)
        for number, shape in self._rows("SELECT number, shape FROM cases ORDER BY number"):
            if number == row:
                with self._as_damage():
                    sides = shape_of(shape)
                yield sides
                row = next(wanted, None)

    def files(self) -> Iterator[str]:
        """Return the files of all prepared cases, relative to the store."""
        rows = self._rows("SELECT case_id, file FROM cases WHERE file IS NOT NULL")
        return (self._checked_file(case_id, file) for case_id, file in rows)

    def _checked_file(self, case_id: str, file: str) -> str:
        try:
            check_file(case_id, file)
        except (AttributeError, TypeError, ValueError) as error:
            raise DataError(f"{self.path}: damaged ({error})") from error
        return file

    def stamps(self) -> Iterator[tuple[str, str | None, int, str]]:
        """Return name, split, rank and stamp of every case."""
        return self._rows("SELECT case_id, split, rank, stamp FROM cases ORDER BY number")

    def ranks(self) -> Iterator[int]:
        """Return the rank of every case, by which a rule assigns its split."""
        with self._as_damage():
            yield from (int(n) for (n,) in self._rows("SELECT rank FROM cases ORDER BY number"))

    def identity(self, number: int) -> ScanIdentity | None:
        """Return the identity of a case; None in format 1, and if it could not be prepared."""
        if self.format == 1:
            return None
        query = "SELECT voxels, geometry FROM cases WHERE number = ?"
        voxels, geometry = self._one(query, number)
        return ScanIdentity(voxels, geometry) if voxels else None

    def copies(self) -> list[list[int]]:
        """Return the numbers of the cases of each scan that is there several times."""
        if self.format == 1:
            return []
        query = """
            SELECT group_concat(number) FROM (SELECT number, voxels FROM cases ORDER BY number)
            WHERE voxels IS NOT NULL GROUP BY voxels HAVING COUNT(*) > 1
        """
        with self._as_damage():
            return sorted(sorted(map(int, text.split(","))) for (text,) in self._rows(query))

    def failures(self) -> Iterator[tuple[int, str, str]]:
        """Yield number, source and reason of each case that could not be prepared."""
        query = "SELECT number FROM cases WHERE error IS NOT NULL ORDER BY number"
        for (number,) in self._rows(query):
            record = self.record(number)
            yield number, record.source, str(record.error)[:MAX_ERROR]

    @property
    def is_listed(self) -> bool:
        """Whether a list assigned the splits."""
        query = "SELECT EXISTS (SELECT 1 FROM cases WHERE split IS NOT NULL)"
        return bool(next(self._rows(query))[0])

    def split(self, rule: SplitRule) -> Splits:
        """Return the splits that the list assigned, or else those of the rule."""
        if not self.is_listed:
            return rule.draw(self.ranks(), self.split_kind)
        query = "SELECT number FROM cases WHERE split = ? ORDER BY number"
        return {
            name: np.fromiter((n for (n,) in self._rows(query, name)), np.int64) for name in SPLITS
        }

    def _one(self, query: str, *values: Any) -> Any:
        """Return the one row of a query."""
        row = next(self._rows(query, *values), None)
        if row is None:
            raise DataError(f"{self.path}: damaged (case {values} is missing)")
        return row

    @contextlib.contextmanager
    def _as_damage(self) -> Iterator[None]:
        """Convert the errors of values of other types, or that are missing, to a DataError."""
        try:
            yield
        except DataError:
            raise
        except (*_WRONG, RecursionError, UserError) as error:
            raise DataError(f"{self.path}: damaged ({reason_of(error)})") from error

    def _rows(self, query: str, *values: Any) -> Iterator[Any]:
        try:
            yield from self._connect().execute(query, values)
        except sqlite3.Error as error:
            raise DataError(f"{self.path}: damaged ({error})") from error

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None or self._connection[0] != os.getpid():
            # Immutable, so that SQLite takes no lock: locks are slow or broken on network file
            # systems. check_same_thread=False: threads that read ahead use the connection too.
            uri = f"{self.path.resolve().as_uri()}?mode=ro&immutable=1"
            connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
            weakref.finalize(self, connection.close)
            connection.execute("PRAGMA trusted_schema=OFF")
            for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_master"):
                if not (_PLAIN_TABLE.fullmatch(sql) if sql else kind == "index"):
                    raise sqlite3.DatabaseError(f"{kind} {name!a:.40} does not belong there")
            self._connection = os.getpid(), connection
        return self._connection[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_connection": None}


def write_catalog(
    path: Path, rows: Iterable[tuple[CaseRecord, str | None]], split_kind: str = "hash"
) -> None:
    """Write records with their splits as a catalog, whole or not at all.

    `rows` must be in the order of the names. `split_kind` is that of a rule that names none. The
    fingerprint is a hash of all names, splits and
    voxel digests.
    """
    fingerprint, doubts = hashlib.sha256(), FindingCounter()
    with atomic_write(path) as temporary, contextlib.ExitStack() as stack:
        # The file is this process's own, and not every file system has locks.
        uri = f"{temporary.resolve().as_uri()}?nolock=1"
        connection = stack.enter_context(contextlib.closing(sqlite3.connect(uri, uri=True)))
        # `atomic_write` flushes and renames the finished file: SQLite needs no journal.
        connection.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; {_SCHEMA}")
        with connection:
            for number, (record, split) in enumerate(rows):
                row = (
                    number,
                    record.case_id,
                    split,
                    case_rank(record.case_id) if record.rank is None else record.rank,
                    record.stamp,
                    record.file,
                    "x".join(map(str, record.shape)) or None,
                    record.error,
                    record.identity.voxels if record.identity else None,
                    record.identity.geometry if record.identity else None,
                )
                connection.execute(f"INSERT INTO cases VALUES ({', '.join('?' * len(row))})", row)
                connection.execute("INSERT INTO records VALUES (?, ?)", (number, record.to_json()))
                voxels = record.statistics.digest if record.statistics else record.error
                fingerprint.update(json.dumps([record.case_id, split, voxels]).encode())
                if record.geometry:
                    doubts.add(record.case_id, record.geometry.findings)
            about = {
                "format": str(FORMAT),
                "fingerprint": fingerprint.hexdigest(),
                "split_kind": split_kind,
                "findings": json.dumps([asdict(summary) for summary in doubts.summaries]),
            }
            connection.executemany("INSERT INTO about VALUES (?, ?)", about.items())


@dataclass(frozen=True)
class Journal:
    """Records as lines of a file, in the order in which they were appended."""

    path: Path

    def append(self, record: CaseRecord) -> None:
        """Append one line; if a kill cut off the last one, start on a new line."""
        with open_own(self.path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - 1, 0))
            cut_off = size > 0 and file.read(1) != b"\n"
            file.write(b"\n" * cut_off + record.to_json().encode() + b"\n")

    def records(self) -> Iterator[CaseRecord]:
        """Yield the complete records; lines that were cut off are skipped."""
        with open_regular(self.path) as file:
            for line in lines_of(file, self.path):
                with contextlib.suppress(ValueError):
                    yield CaseRecord.from_json(line.decode(errors="replace"))


def latest_records(records: Iterable[CaseRecord], case_ids: Iterable[str]) -> Iterator[CaseRecord]:
    """Yield the newest record of each of these cases; newer records follow older ones.

    They are sorted in a temporary file, since there may be millions.
    """
    # The empty name is a private database on disk, which is deleted when it is closed.
    with contextlib.closing(sqlite3.connect("")) as database:
        database.execute("CREATE TABLE latest (case_id TEXT PRIMARY KEY, record TEXT)")
        lines = ((record.case_id, record.to_json()) for record in records)
        database.executemany("INSERT OR REPLACE INTO latest VALUES (?, ?)", lines)
        query = "SELECT record FROM latest WHERE case_id = ?"
        for case_id in case_ids:
            (text,) = database.execute(query, (case_id,)).fetchone()
            yield CaseRecord.from_json(text)
