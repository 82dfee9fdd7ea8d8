"""The arrays of a store against its catalog."""

from collections.abc import Iterator
from pathlib import Path

from vae3d.errors import DataError
from vae3d.files.links import check_inside
from vae3d.store.catalog import Catalog
from vae3d.store.settings import CATALOG, SETTINGS, StoreSettings
from vae3d.verification.findings import DAMAGED, UNKNOWN, Finding, of_digest


def findings(folder: Path) -> Iterator[Finding]:
    """Compare every array with its SHA-256 in the catalog."""
    known = set()
    try:
        StoreSettings.read(folder)
    except DataError as error:
        yield Finding(folder / SETTINGS, DAMAGED, reason_of(error, folder / SETTINGS))
    try:
        for record in Catalog(folder / CATALOG).records():
            if record.file:
                path = check_inside(folder, folder / record.file)
                known.add(path)
                yield of_digest(path, record.digest)
    except DataError as error:
        yield Finding(folder / CATALOG, DAMAGED, reason_of(error, folder / CATALOG))
    for path in sorted(folder.glob("cases/*/*")):
        if path not in known and not path.name.startswith("."):
            yield Finding(path, UNKNOWN)


def reason_of(error: Exception, path: Path) -> str:
    """Return the message of an error without the path at its start."""
    return " ".join(str(error).split()).removeprefix(f"{path}: ")
