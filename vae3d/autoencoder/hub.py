"""Weights on the Hugging Face hub, downloaded to a local folder."""

import re
from pathlib import Path

from vae3d.errors import RunError

FILES = ["config.json", "model.safetensors"]
"""The only files of a repository that are downloaded: no code, no pickles."""


def local_folder(name: str | Path, revision: str | None = None) -> Path:
    """Return the folder of the weights of this name, downloaded if it is "owner/name" on the hub.

    A `Path` is always a local folder.

    Raises:
        RunError: the package is missing, there is no network, or no such repository or revision.
    """
    if not isinstance(name, str) or Path(name).exists() or not is_hub_id(name):
        if revision is not None:
            raise RunError(f"{name}: only a name on the hub (owner/name) has a revision")
        return Path(name)
    return _downloaded(name, revision)


def is_hub_id(text: str) -> bool:
    """Return whether this can be the name of a repository on the hub, "owner/name"."""
    shaped = re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", text, re.ASCII)
    return bool(shaped) and not re.search(r"--|\.\.|\.git$", text)


def _downloaded(name: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise RunError(
            f"{name}: there is no such folder, and downloads from the Hugging Face hub need "
            "pip install 'vae3d[hub]'"
        ) from error
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=FILES))
    except Exception as error:  # of the hub, its HTTP client or the disk, by version
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RunError(
            f"{name}: there is no such folder, and the download from the Hugging Face hub failed "
            f"({reason:.200}); check the name, the revision, the network and hf auth login, "
            "or name a local folder"
        ) from error
