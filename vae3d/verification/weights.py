"""Tensors against the description of their weights."""

from collections.abc import Iterator
from pathlib import Path

from vae3d.autoencoder.description import CONFIG_FILE, read_description
from vae3d.autoencoder.weights import TENSOR_FILE
from vae3d.errors import RunError
from vae3d.verification.findings import DAMAGED, Finding, of_digest
from vae3d.verification.store import reason_of


def findings(folder: Path) -> Iterator[Finding]:
    """Compare the tensors with the SHA-256 in `config.json`."""
    path = folder / CONFIG_FILE
    try:
        digest = read_description(folder).digest
    except RunError as error:
        yield Finding(path, DAMAGED, reason_of(error, path))
        return
    yield of_digest(folder / TENSOR_FILE, digest)
