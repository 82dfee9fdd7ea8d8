"""The arrays of a store against its catalog, or against the journals of an unfinished one."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from vae3d.errors import DataError
from vae3d.files.checksums import is_sealed
from vae3d.files.links import check_inside
from vae3d.files.lock import is_held
from vae3d.store.catalog import CaseRecord, Catalog, Journal
from vae3d.store.leftovers import journals_of
from vae3d.store.settings import CATALOG, SETTINGS, StoreSettings
from vae3d.verification.findings import UNKNOWN, Finding, of_digest, of_error, unfinished


def findings(folder: Path) -> Iterator[Finding]:
    """Compare every array with its SHA-256 in the catalog and the journals."""
    records: dict[str, CaseRecord] = {}
    try:
        StoreSettings.read(folder)
    except (OSError, DataError) as error:
        yield of_error(folder / SETTINGS, error)
    journals = journals_of(folder)
    is_new = not (folder / CATALOG).exists() and not is_sealed(folder, CATALOG)
    try:
        if not is_new:
            records = _latest(Catalog(folder / CATALOG).records())
        for journal in journals:
            records |= _latest(Journal(journal).records())
    except (OSError, DataError) as error:
        yield of_error(folder / CATALOG, error)
    if is_new or journals:
        is_busy = any(map(is_held, folder.glob("parts/*.lock")))
        yield unfinished(folder, "vae3d prepare", is_busy)
    known = set()
    for record in records.values():
        if record.file:
            path = check_inside(folder, folder / record.file)
            known.add(path)
            yield of_digest(path, record.digest)
    for path in sorted(folder.glob("cases/*/*")):
        if path not in known and not path.name.startswith("."):
            yield Finding(path, UNKNOWN)


def _latest(records: Iterable[CaseRecord]) -> dict[str, CaseRecord]:
    return {record.case_id: record for record in records}
