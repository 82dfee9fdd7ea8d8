"""Tensors against the description of their weights."""

from collections.abc import Iterator
from pathlib import Path

from vae3d.autoencoder.description import CONFIG_FILE, read_description
from vae3d.autoencoder.weights import TENSOR_FILE
from vae3d.errors import RunError
from vae3d.files.checksums import CHECKSUMS
from vae3d.verification.findings import UNKNOWN, Finding, of_digest, of_error


def findings(folder: Path) -> Iterator[Finding]:
    """Compare the tensors with the SHA-256 in `config.json`."""
    path = folder / CONFIG_FILE
    try:
        digest = read_description(folder).digest
    except RunError as error:
        yield of_error(path, error)
        return
    yield of_digest(folder / TENSOR_FILE, digest)
    if not (folder / CHECKSUMS).exists():
        rest = f"{TENSOR_FILE} is compared with {CONFIG_FILE}" if digest else "nothing is compared"
        yield Finding(
            path,
            UNKNOWN,
            f"there is no {CHECKSUMS}, as in weights of the hub and of earlier versions: {rest}, "
            f"and a change of {CONFIG_FILE} itself is not noticed",
        )
