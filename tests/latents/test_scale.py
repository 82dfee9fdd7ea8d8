"""Plain latents whose scale the weights do not know."""

import pytest
import torch

from vae3d.latents.scale import ScaleCheck
from vae3d.values.latent_statistics import LatentStatistics

# Latents of a standard deviation of 12, with channels of 5 and 15.
KNOWN = LatentStatistics(1 / 12, 0.0, [1.0, -1.0], [5.0, 15.0])


def made(scale: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return scale * torch.randn(2, 4, 5, 6, generator=generator)


def warned(caplog: pytest.LogCaptureFixture, stored: float, scaling: str = "none") -> list[str]:
    latent = made(stored)
    check = ScaleCheck(KNOWN, scaling, "runs/a/weights/best")
    restored = latent if scaling == "none" else KNOWN.restored(latent, scaling, axis=0)
    check(latent, restored)
    check(latent, restored)
    return caplog.messages


@pytest.mark.parametrize(
    ("stored", "scaling"), [(12.0, "none"), (5.0, "none"), (1.0, "factor"), (1.0, "channels")]
)
def test_a_scale_that_fits_is_not_reported(
    stored: float, scaling: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert warned(caplog, stored, scaling) == []


def test_normalised_latents_are_reported_once_with_the_way(
    caplog: pytest.LogCaptureFixture,
) -> None:
    (message,) = warned(caplog, 1.0)
    assert "deviation of 0.9" in message
    assert "know 12: scaling=factor statistics=runs/a/weights/best would fit" in message


def test_latents_that_were_not_normalised_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    (message,) = warned(caplog, 12.0, "channels")
    assert "scaling=none would fit" in message


@pytest.mark.parametrize("stored", [120.0, 1e6, 0.0])
def test_a_scale_that_nothing_mends_is_reported(
    stored: float, caplog: pytest.LogCaptureFixture
) -> None:
    (message,) = warned(caplog, stored)
    assert "no scaling= makes them fit" in message


def test_weights_without_statistics_know_no_scale(caplog: pytest.LogCaptureFixture) -> None:
    ScaleCheck(None, "none", "weights")(made(1.0), made(1.0))
    assert caplog.messages == []
