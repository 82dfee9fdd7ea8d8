"""`Preparation`: write every scan of a source into a store, in parallel and resumable."""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

from vae3d.errors import DataError, LockedError, VolumeError
from vae3d.files.atomic import file_digest, sweep, target_of, write_json
from vae3d.files.checksums import is_sealed, seal, sealing
from vae3d.files.links import check_inside, check_no_links, remove_inside
from vae3d.files.lock import locked
from vae3d.runtime.choices import EARLIER
from vae3d.runtime.differences import differences
from vae3d.runtime.memory import GIB, gib
from vae3d.runtime.progress import Progress
from vae3d.scans.source import CaseSource, Stamp
from vae3d.store.arrays import array_file
from vae3d.store.case_writer import RESERVE, CaseWriter
from vae3d.store.catalog import CaseRecord, Catalog, Journal, latest_records, write_catalog
from vae3d.store.leftovers import (
    OWN,
    files_of,
    has_finished,
    journals_of,
    remove_finished,
    remove_unnamed,
    sweep_cases,
    sweep_store,
)
from vae3d.store.settings import CATALOG, SETTINGS, StoreSettings
from vae3d.store.shard import Shard
from vae3d.system.abilities import free_bytes
from vae3d.system.cores import usable_cores
from vae3d.values.value_check import ValueCheck

log = logging.getLogger(__name__)

MIN_LOGGED_BYTES = GIB // 10
"""A smaller estimate of the store's size is not logged."""
MAX_WORKERS = 16
"""Most threads by default: each holds a scan in memory."""
SAMPLE_CASES = 4
"""Cases that are prepared first, to estimate the size of the whole store."""
MIN_UNCHECKED = 16
"""The values of the first cases are checked before the others if at least this number follows."""


class Preparation:
    """Brings one store up to date with its source.

    Each case is written as a file, then as a line of a journal. At the end all journals are merged
    into the catalog. A killed preparation leaves complete files and a journal. The next one
    resumes after them and writes the same store as an uninterrupted preparation.

    With `shard` only one part of the cases is prepared; a later run without shards writes the
    catalog. `workers` is the number of threads; 0 is one for each usable core, up to MAX_WORKERS.
    With `check` the values of the first cases can end the preparation before the others are read.
    """

    def __init__(
        self,
        source: CaseSource,
        settings: StoreSettings,
        folder: Path,
        *,
        progress: Progress,
        shard: Shard | None = None,
        workers: int = 0,
        check: ValueCheck | None = None,
    ) -> None:
        self.source = source
        self.settings = settings
        self.folder = folder
        self.shard = shard or Shard()
        self.workers = workers or min(usable_cores(), MAX_WORKERS)
        self.progress = progress
        self.check = check
        self.parts = folder / "parts"
        self.unnamed: set[str] = set()
        self.writer = CaseWriter(source, settings, folder)
        self.journal = Journal(self.parts / f"{self.shard}.jsonl")

    def run(self) -> None:
        """Prepare the missing cases, and write the catalog if this is not a shard.

        Raises:
            DataError: the folder holds other data, the disk has no room for these, or their values
                do not fit the intensity range.
        """
        if self.is_fresh():
            self._remove_finished()
            return
        try:
            self.parts.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{self.folder}: cannot be written ({error.strerror})") from error
        check_no_links(self.folder)
        with self._lock(self._report_wait):
            # Another process may have prepared it while this one waited.
            if self.is_fresh():
                return
            mine = [i for i in self.order if self.source.case_ids[i] in self.shard]
            self._sweep(mine)
            self._claim()
            marks = self._prepared_marks()
            todo = [i for i in mine if marks.get(self.source.case_ids[i]) != self.stamps[i].mark]
            self.progress.start(len(mine) - len(todo), len(mine))
            try:
                self._prepare(todo)
            finally:
                self.progress.close()
            if self.shard.is_whole:
                self._write_catalog()

    @cached_property
    def order(self) -> list[int]:
        """The cases in the order of their names."""
        return sorted(range(len(self.source.case_ids)), key=self.source.case_ids.__getitem__)

    @cached_property
    def stamps(self) -> list[Stamp]:
        """The stamp of each case; empty for a case whose source does not exist."""
        return [self._stamp(index) for index in range(len(self.source.case_ids))]

    def is_fresh(self) -> bool:
        """Return whether the catalog holds exactly these cases, in their current version."""
        if not self.shard.is_whole or not (self.folder / CATALOG).is_file():
            return False
        self._claim()
        try:
            if not self._holds(Catalog(self.folder / CATALOG)):
                return False
            # A kill may have come before the sums; a store of someone else may be read-only.
            with suppress(OSError):
                if not is_sealed(self.folder, SETTINGS, CATALOG):
                    seal(self.folder, SETTINGS, CATALOG)
            return True
        except DataError as error:
            log.info(f"{error}; its cases are prepared again")
            (self.folder / CATALOG).unlink()
            return False

    def is_readable(self) -> bool:
        """Return whether the store holds exactly these cases; nothing is written to find out."""
        try:
            same = StoreSettings.read(self.folder).identity() == self.settings.identity()
            return same and self._holds(Catalog(self.folder / CATALOG))
        except DataError:
            return False

    def _holds(self, catalog: Catalog) -> bool:
        if len(catalog) != len(self.order) or next(catalog.failures(), None):
            return False
        expected = (
            (self.source.case_ids[i], self.source.splits[i], self.source.rank(i), stamp.mark)
            for i, stamp in ((i, self.stamps[i]) for i in self.order)
        )
        files, named = files_of(self.folder), {*catalog.files()}
        self.unnamed = files - named
        same = all(a == b for a, b in zip(catalog.stamps(), expected, strict=True))
        return same and named <= files

    def verify(self) -> list[str]:
        """Delete the files whose checksum is wrong, and return the names of their cases."""
        damaged = []
        try:
            catalog = Catalog(self.folder / CATALOG)
        except DataError:
            return []  # `run` reports it and prepares all cases again
        for record in catalog.records():
            path = check_inside(self.folder, self.folder / str(record.file))
            if record.file and path.exists() and not _is_whole(path, record):
                remove_inside(self.folder, path)
                damaged.append(record.case_id)
        return damaged

    def _sweep(self, mine: list[int]) -> None:
        """Remove what a kill left: of a part its own files, else all, as all parts are locked."""
        if self.shard.is_whole:
            sweep_store(self.folder)
            return
        case_ids = (self.source.case_ids[index] for index in mine)
        sweep_cases(self.folder, (array_file(name, self.settings.codec) for name in case_ids))
        # The settings belong to all parts, which write them one at a time.
        with locked(self.parts / "settings.lock", self._report_wait):
            sweep(self.folder, of={SETTINGS}, known=OWN)
            self._claim()

    def _remove_finished(self) -> None:
        """Remove what a kill left of a preparation that had written its catalog."""
        if not has_finished(self.folder, self.unnamed):
            return

        def refuse() -> None:
            raise LockedError("")

        # Not if another process is at work, or in a store that this user cannot write.
        with suppress(DataError, LockedError, OSError):
            check_no_links(self.folder)
            self.parts.mkdir(exist_ok=True)
            with self._lock(refuse):
                remove_finished(self.folder, self.unnamed)

    def _stamp(self, index: int) -> Stamp:
        try:
            return self.source.stamp(index)
        except VolumeError:
            return Stamp("", 0)

    def _claim(self) -> None:
        """Write the settings of a new store, or check that an existing store has the same ones."""
        path = self.folder / SETTINGS
        if not path.exists():
            foreign = (e for e in self.folder.iterdir() if not target_of(e, OWN))
            if any(item != self.parts for item in foreign):
                raise DataError(f"{self.folder}: holds files that are no store; name another")
            write_json(path, asdict(self.settings))
        old, new = StoreSettings.read(self.folder).identity(), self.settings.identity()
        if old != new:
            for settings in (old, new):
                # Earlier versions did not name how they read and resampled.
                rules = {key: EARLIER[key] for key in ("resampling", "reader")}
                settings["data"] = {**rules, **settings.pop("source")}
            raise DataError(
                f"{self.folder}: was prepared with other settings "
                f"({'; '.join(differences(old, new))}); type those of the store, "
                "name another data.store=, or data.store=auto for one of its own"
            )

    @contextmanager
    def _lock(self, on_wait: Callable[[], None]) -> Iterator[None]:
        """Lock this part of the store, or all parts if this is no shard; a kill unlocks them."""
        own = self.parts / f"{self.shard}.lock"
        others = self.parts.glob("*.lock") if self.shard.is_whole else []
        with ExitStack() as stack:
            for path in sorted({own, *others}):
                stack.enter_context(locked(path, on_wait))
            yield

    def _report_wait(self) -> None:
        log.info(f"{self.folder}: another process prepares it, waiting")

    def _records(self) -> Iterator[CaseRecord]:
        """Yield all records of the catalog and the journals, older ones first."""
        if (self.folder / CATALOG).is_file():
            yield from Catalog(self.folder / CATALOG).records()
        for path in journals_of(self.folder):
            yield from Journal(path).records()

    def _prepared_marks(self) -> dict[str, str]:
        """Return the mark of each case that has a file; empty for cases to prepare again."""
        files = files_of(self.folder)
        return {
            record.case_id: record.stamp if record.file in files else ""
            for record in self._records()
        }

    def _prepare(self, todo: list[int]) -> None:
        # Spread over all cases: neighbours in the order of names are often of one size.
        sample = todo[:: max(1, len(todo) // SAMPLE_CASES)][:SAMPLE_CASES]
        chosen = set(sample)
        rest = [index for index in todo if index not in chosen]
        records = self._prepare_all(sample)
        if self.check is not None and len(rest) >= MIN_UNCHECKED:
            for record in records:
                self.check.add(record.case_id, record.statistics)
            self.check.refuse()
        if rest:
            self._check_room(records, rest)
            self._prepare_all(rest)

    def _prepare_all(self, indices: list[int]) -> list[CaseRecord]:
        records = []
        with ThreadPoolExecutor(self.workers) as pool:
            for record in self._completed(pool, iter(indices)):
                self.journal.append(record)
                self.progress.advance()
                records.append(record)
        return records

    def _completed(self, pool: ThreadPoolExecutor, indices: Iterator[int]) -> Iterator[CaseRecord]:
        # No more cases in progress than threads, since each holds a volume in memory.
        pending = {pool.submit(self._prepare_case, i) for i in islice(indices, self.workers)}
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
            pending |= {pool.submit(self._prepare_case, i) for i in islice(indices, len(done))}

    def _prepare_case(self, index: int) -> CaseRecord:
        return self.writer.write(index, self.stamps[index].mark)

    def _check_room(self, records: list[CaseRecord], rest: list[int]) -> None:
        """Raise a DataError if the disk is too small, estimated from the first cases."""
        written = {record.case_id: record.num_bytes for record in records if record.error is None}
        sizes = zip(self.source.case_ids, self.stamps, strict=True)
        read = sum(stamp.num_bytes for case_id, stamp in sizes if case_id in written)
        ratio = sum(written.values()) / max(read, 1)
        needed = ratio * sum(self.stamps[i].num_bytes for i in rest)
        free = free_bytes(self.folder)
        if free is None:
            return
        space = (
            f"{self.folder}: {len(rest)} more cases take about {gib(needed)}, {gib(free)} are free"
        )
        if needed + RESERVE > free:
            raise DataError(f"{space}; make room, name another data.store= or use data.codec=zstd")
        if needed > MIN_LOGGED_BYTES:
            log.info(space)

    def _write_catalog(self) -> None:
        """Write the catalog, and delete what it does not name.

        That are partial writes, removed cases and journals.
        """
        latest = latest_records(self._records(), [self.source.case_ids[i] for i in self.order])
        rows = (
            (replace(record, rank=self.source.rank(i)), self.source.splits[i])
            for record, i in zip(latest, self.order, strict=True)
        )
        with sealing(self.folder, SETTINGS, CATALOG):
            write_catalog(self.folder / CATALOG, rows, self.source.split_kind)
            named = Catalog(self.folder / CATALOG).files()
            remove_unnamed(self.folder, files_of(self.folder).difference(named))
            for path in journals_of(self.folder):
                remove_inside(self.folder, path)


def _is_whole(path: Path, record: CaseRecord) -> bool:
    same_size = path.stat().st_size == record.num_bytes
    return same_size and file_digest(path) == record.digest
