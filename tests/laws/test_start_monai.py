"""A training that starts from MONAI's own network computes MONAI's losses."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tests.conftest import tiny_trainer
from tests.laws.starting import first_batch, rows_of, training
from tests.model.test_monai import build
from vae3d.autoencoder.monai import from_monai
from vae3d.commands.train_run import train
from vae3d.loss.config import LossConfig
from vae3d.model.gaussian import draw_noise


@pytest.mark.extras
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("kind", ["plain", "bottleneck", "both"])
def test_the_first_losses_are_monais(tmp_path: Path, kind: str, reduction: str) -> None:
    """L1 and KL of the first batch equal those of MONAI's network on the same noise.

    MONAI's VAE tutorials add up the KL divergence of all latent elements of a case, and take the
    mean over the batch. That is `loss.kl_reduction=sum`; the default `mean` is the same sum
    divided by the number of latent elements of the case.
    """
    theirs = build(kind, 3)
    from_monai(theirs.state_dict(), norm_groups=4).save_pretrained(tmp_path / "weights")
    config = training(
        tmp_path,
        tmp_path / "weights",
        trainer=tiny_trainer(steps=1, portions=1),
        loss=LossConfig(kl_reduction=reduction),
    )
    run = train(config)
    with first_batch(run) as (batch, _), torch.no_grad():
        mean, sigma = theirs.encode(batch.images)
        noise = draw_noise(mean.shape, batch.generators())
        reconstruction = theirs.decode(mean + noise * sigma)
        l1 = F.l1_loss(reconstruction, batch.images)
        # As in MONAI's tutorials: 0.5 * sum(mu^2 + sigma^2 - log(sigma^2) - 1).
        elements = [1, 2, 3, 4]
        divergence = 0.5 * torch.sum(mean**2 + sigma**2 - torch.log(sigma**2) - 1, dim=elements)
        kl = divergence.sum() / len(divergence)
    if reduction == "mean":
        kl = kl / mean[0].numel()
    row = rows_of(run)[0]
    assert float(row["l1"]) == pytest.approx(l1.item(), abs=1e-5)
    tolerance = {"rel": 1e-5} if reduction == "sum" else {"abs": 1e-5}
    assert float(row["kl"]) == pytest.approx(kl.item(), **tolerance)
