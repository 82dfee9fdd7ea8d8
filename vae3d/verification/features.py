"""Tensors of a feature network against `features.json`."""

from collections.abc import Iterator
from pathlib import Path

from vae3d.errors import RunError
from vae3d.features.file import FEATURES_FILE, TENSOR_FILE, read_facts
from vae3d.verification.findings import Finding, of_digest, of_error


def findings(folder: Path) -> Iterator[Finding]:
    """Compare the tensors with the SHA-256 in `features.json`."""
    try:
        digest = read_facts(folder).get("digest")
    except RunError as error:
        yield of_error(folder / FEATURES_FILE, error)
        return
    yield of_digest(folder / TENSOR_FILE, str(digest))
