"""The tables and the page of `vae3d compare`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vae3d.comparison.results import JSON
from vae3d.errors import ConfigError
from vae3d.files.plain import from_plain, read_json
from vae3d.verification.findings import Finding, of_error


def findings(folder: Path) -> Iterator[Finding]:
    """Read the table that programs read; `checksums.json` has the sums of all files."""
    try:
        from_plain(dict[str, Any], read_json(folder / JSON))
    except (OSError, ConfigError) as error:
        yield of_error(folder / JSON, error)
