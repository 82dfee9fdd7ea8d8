"""Folders of feature networks with random weights."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.features.networks import random_heads, random_state
from vae3d.features.file import Source, features_of, write_features

Folder = Callable[..., Path]


@pytest.fixture(scope="session")
def features_folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Writes the folder of a network, as `vae3d import kind=features` does."""

    def write(name: str, *, heads: bool = False, seed: int = 0) -> Path:
        folder = tmp_path_factory.mktemp(name)
        weights = random_heads(name) if heads else None
        source = Source("0" * 64)
        write_features(features_of(random_state(name, seed), name, weights, source), folder)
        return folder

    return write
