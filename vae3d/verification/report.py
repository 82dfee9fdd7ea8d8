"""The scores of a report against its summary, and its pictures."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vae3d.comparison.reader import read_scores
from vae3d.errors import ConfigError, RunError
from vae3d.files.plain import from_plain, read_json
from vae3d.runtime.messages import counted
from vae3d.verification.findings import DAMAGED, Finding, of_error, of_format


def findings(folder: Path) -> Iterator[Finding]:
    """Read scores and summary, and compare the number of cases; verify the pictures."""
    scores, summary = folder / "scores.csv", folder / "summary.json"
    try:
        _, cases = read_scores(scores)
        values = from_plain(dict[str, Any], read_json(summary))
        if values.get("cases") != len(cases):
            reason = f"has {counted(len(cases))}, {summary.name} counts {values.get('cases')}"
            yield Finding(scores, DAMAGED, reason)
    except RunError as error:
        yield of_error(scores, error)
    except (OSError, ConfigError) as error:
        yield of_error(summary, error)
    for path in sorted((*folder.glob("cases/*"), *folder.glob("reconstructions/*"))):
        if path.is_file() and not path.name.startswith("."):
            yield of_format(path)
