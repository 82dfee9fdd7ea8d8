"""Weights on the Hugging Face hub, as a folder on this disk."""

import re
from pathlib import Path

from vae3d.errors import RunError

FILES = ["config.json", "model.safetensors"]
"""Nothing else of a repository is fetched: no code, no pickles."""


def local_folder(name: str | Path, revision: str | None = None) -> Path:
    """Where the weights of this name lie: a folder, or what the hub gave of "owner/name".

    A `Path` is always a folder.

    Raises:
        RunError: the package is missing, there is no network, or no such repository or revision.
    """
    if not isinstance(name, str) or Path(name).exists() or not is_hub_id(name):
        if revision is not None:
            raise RunError(f"{name}: only a name on the hub (owner/name) has a revision")
        return Path(name)
    return _downloaded(name, revision)


def is_hub_id(text: str) -> bool:
    """Whether this can be the name of somebody's repository on the hub."""
    shaped = re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", text, re.ASCII)
    return bool(shaped) and not re.search(r"--|\.\.|\.git$", text)


def _downloaded(name: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise RunError(
            f"{name}: there is no such folder, and to ask the Hugging Face hub for it needs "
            "pip install 'vae3d[hub]'"
        ) from error
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=FILES))
    except Exception as error:  # its own, its HTTP client's and the disk's, by its version
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RunError(
            f"{name}: there is no such folder, and the Hugging Face hub does not give it "
            f"({reason:.200}); check the name, the revision, the network and hf auth login, "
            "or name a local folder"
        ) from error
