"""Laws 4 and 5: how a step is cut into micro-batches and ranks does not change it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.conftest import run_distributed, tiny_model, tiny_trainer, tiny_training
from vae3d.autoencoder.vae import CustomVAE
from vae3d.checkpoints.folder import CheckpointFolder
from vae3d.commands.train_run import train
from vae3d.data.config import SyntheticConfig
from vae3d.data.phantoms import PhantomSource
from vae3d.loss.config import LossConfig
from vae3d.patching.samplers import RandomPatches, WholeVolume
from vae3d.run.config import TrainConfig
from vae3d.runtime.run_folder import RunFolder
from vae3d.scans.volume import Volume

LOSS = LossConfig(terms={"l1": 1.0, "ssim": 0.5}, kl_weight=1e-2, free_bits=0.01)
# 4 cases x 5 patches in steps of 8: the last step of an epoch holds 4.
PATCHING = RandomPatches(size=(8,), per_volume=5)
# And 2 to validate, one for each rank.
DATA = SyntheticConfig(shape=(16, 16, 16), count=6, val_fraction=0.3, test_fraction=0.0)


def config(folder: Path, batch_size: int, accumulation: int, **changes: object) -> TrainConfig:
    # SGD, since Adam turns a rounding error of a vanishing gradient into a whole step.
    trainer = tiny_trainer(
        steps=6, batch_size=batch_size, accumulation=accumulation, optimizer="sgd", lr=1e-2
    )
    return tiny_training(
        folder,
        **{
            "data": DATA,
            "model": tiny_model(dropout=0.1),
            "loss": LOSS,
            "patching": PATCHING,
            "trainer": trainer,
            **changes,
        },
    )


def weights_after(folder: Path) -> dict[str, Tensor]:
    checkpoints = CheckpointFolder(folder / "checkpoints")
    model: dict[str, Tensor] = checkpoints.load(checkpoints.steps()[-1]).state["model"]
    return model


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    # Six steps of 1e-2 along gradients of norm 1 at most, which are sums over 8 patches of 8^3
    # voxels: added in another order, as in `rounding`.
    atol = 6 * 1e-2 * 8 * 8**3 * torch.finfo(torch.float32).eps
    for name, weight in first.items():
        torch.testing.assert_close(second[name], weight, atol=atol, rtol=0)


def latents_of(folder: Path) -> dict[str, object]:
    """What the validation found for the weights of the last step."""
    found = CustomVAE.from_pretrained(RunFolder(folder).weights("latest")).statistics
    assert found is not None
    return vars(found)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(config(tmp_path_factory.mktemp("once"), 8, 1))


@pytest.fixture(scope="module")
def at_once(once: Path) -> dict[str, Tensor]:
    return weights_after(once)


@pytest.mark.parametrize(("batch_size", "accumulation"), [(4, 2), (2, 4), (3, 3)])
def test_accumulation(
    at_once: dict[str, Tensor], tmp_path: Path, batch_size: int, accumulation: int
) -> None:
    if batch_size * accumulation != 8:
        at_once = weights_after(train(config(tmp_path / "once", 9, 1)))
    assert_same(at_once, weights_after(train(config(tmp_path, batch_size, accumulation))))


def test_whole_volumes_of_different_shape(tmp_path: Path) -> None:
    """A volume's loss does not depend on the shapes it shares a batch with."""
    outcome = []
    for batch_size, accumulation in ((4, 1), (1, 4)):
        settings = config(
            tmp_path / str(batch_size), batch_size, accumulation, patching=WholeVolume()
        )
        outcome.append(weights_after(train(settings, MixedPhantoms())))
    assert_same(*outcome)


def test_two_ranks_are_one_with_the_doubled_batch(
    once: Path, at_once: dict[str, Tensor], tmp_path: Path
) -> None:
    run_distributed(_train_half, tmp_path)
    assert_same(at_once, weights_after(tmp_path / "run"))
    both = latents_of(tmp_path / "run")
    assert both["cases"] == 2, "one for each rank"
    for name, value in latents_of(once).items():
        assert both[name] == pytest.approx(value, abs=1e-5, rel=1e-4), name


def _train_half(rank: int, folder: Path) -> None:
    train(config(folder, 2, 2))


@pytest.mark.slow
def test_two_ranks_without_portions_are_the_same(
    at_once: dict[str, Tensor], tmp_path: Path
) -> None:
    run_distributed(_train_half_whole, tmp_path)
    assert_same(at_once, weights_after(tmp_path / "run"))


def _train_half_whole(rank: int, folder: Path) -> None:
    settings = config(folder, 4, 1)
    train(replace(settings, trainer=replace(settings.trainer, portions=1)))


class MixedPhantoms(PhantomSource):
    """Phantoms of two shapes, one of them odd."""

    def __init__(self) -> None:
        super().__init__(SyntheticConfig(count=6))

    def read(self, index: int) -> Volume:
        self.shape = (9, 12, 8) if index % 2 else (8, 8, 8)
        return super().read(index)
