"""Weights that are exported."""

from pathlib import Path
from typing import Any

import pytest

from tests.exchange.test_to_monai import model_of
from vae3d.autoencoder.vae import CustomVAE
from vae3d.values.contract import InputContract
from vae3d.values.intensity import IntensityContract
from vae3d.values.latent_statistics import LatentStatistics

CT = InputContract(IntensityContract("window", -1000, 400, "HU"), (2.0, 1.0, 1.0))
STATISTICS = LatentStatistics(0.5, 0.1, [0.0, 0.1, 0.2], [1.0, 2.0, 2.0], 3)


def saved(folder: Path, contract: InputContract = CT, **changes: Any) -> CustomVAE:
    """Random weights of MONAI's architecture, with changes, in a folder."""
    model = model_of(changes)
    model.contract = contract
    model.statistics = STATISTICS if model.config.latent_channels == 3 else None
    model.save_pretrained(folder)
    return model


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    saved(tmp_path / "weights")
    return tmp_path / "weights"
