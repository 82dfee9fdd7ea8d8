"""Weights on the Hugging Face hub, downloaded to a local folder."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from vae3d.errors import RunError

FILES = ["config.json", "model.safetensors", "README.md"]
"""The only files of a repository that are downloaded: no code, no pickles."""
PREFIX = "hub:"


@dataclass(frozen=True)
class HubName:
    """Weights on the hub: a repository "owner/name", and a branch, a tag or a commit of it.

    `is_explicit` states that the hub was named, with `hub:`.
    """

    repository: str
    revision: str | None = None
    is_explicit: bool = False

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{PREFIX}{self.repository}{revision}"


def hub_name(name: str | Path, revision: str | None = None) -> HubName | None:
    """Return which weights on the hub a name means; None for a local folder.

    `hub:owner/name` and `hub:owner/name@revision` always mean the hub. `owner/name` means it only
    if there is no local folder `owner`: a mistyped run is never asked for on the hub. A `Path` is
    always a local folder.

    Raises:
        RunError: what follows `hub:` is no such name, or a local folder has a `revision`.
    """
    text = name if isinstance(name, str) else ""
    explicit = text.startswith(PREFIX)
    repository, at, own = text.removeprefix(PREFIX).partition("@")
    if explicit and not (is_hub_id(repository) and (not at or is_revision(own))):
        raise RunError(
            f"{name}: must be hub:owner/name or hub:owner/name@revision, the name of a repository "
            "on the Hugging Face hub"
        )
    is_hub = is_hub_id(repository) and (not at or is_revision(own))
    if not explicit and (not is_hub or os.path.lexists(repository.partition("/")[0])):
        if revision is not None:
            raise RunError(
                f"{name}: only a name on the hub has a revision; type hub:owner/name if it is one"
            )
        return None
    return HubName(repository, revision or own or None, explicit)


def is_hub_id(text: str) -> bool:
    """Return whether this can be the name of a repository on the hub, "owner/name"."""
    shaped = re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", text, re.ASCII)
    return bool(shaped) and len(text) <= 200 and not re.search(r"--|\.\.|\.git$", text)


def is_revision(text: str) -> bool:
    """Return whether this can be the name of a branch, a tag or a commit."""
    return bool(re.fullmatch(r"\w[\w./-]{0,99}", text, re.ASCII)) and ".." not in text


def local_folder(name: str | Path, revision: str | None = None) -> Path:
    """Return the folder of the weights of this name, downloaded if it is one of the hub.

    Raises:
        RunError: the package is missing, there is no network, or no such repository or revision.
    """
    on_hub = hub_name(name, revision)
    return Path(name) if on_hub is None else download(on_hub)


def download(name: HubName) -> Path:
    """Return the folder of weights of the hub, downloaded unless they were before.

    Raises:
        RunError: the package is missing, there is no network, or no such repository or revision.
    """
    typed = name if name.is_explicit else name.repository
    no_folder = "" if name.is_explicit else "there is no such folder, and "
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise RunError(
            f"{typed}: {no_folder}downloads from the Hugging Face hub need "
            "pip install 'vae3d[hub]'"
        ) from error
    try:
        folder = snapshot_download(name.repository, revision=name.revision, allow_patterns=FILES)
    except Exception as error:  # of the hub, its HTTP client or the disk, by version
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RunError(
            f"{typed}: {no_folder}the download from the Hugging Face hub failed "
            f"({reason:.200}); check the name, the revision, the network and hf auth login, "
            "or name a local folder"
        ) from error
    return Path(folder)
