"""A number that is not finite never reaches the weights, wherever it is noticed."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import tiny_model, tiny_trainer
from vae3d.data.cases import LoadedCases
from vae3d.data.config import SyntheticConfig
from vae3d.data.loader import PatchLoader
from vae3d.data.patches import PatchDataset
from vae3d.data.phantoms import PhantomSource
from vae3d.errors import NonFiniteError
from vae3d.logger.base import Logger
from vae3d.loss.config import LossConfig
from vae3d.loss.objective import LossTerms, Objective
from vae3d.model.vae import CustomVAE
from vae3d.patching.samplers import RandomPatches
from vae3d.runtime.distributed import Distributed
from vae3d.trainer.checkpoint import CheckpointFolder
from vae3d.trainer.config import OPTIMIZERS
from vae3d.trainer.trainer import Callbacks, Trainer


class PoisonedObjective(Objective):
    """An objective whose loss is not a number in one step."""

    poisoned = -1

    def __call__(self, *arguments: Any) -> LossTerms:
        terms = super().__call__(*arguments)
        if arguments[-1] != self.poisoned:
            return terms
        return LossTerms(terms.total * torch.nan, {**terms.by_name})


def build(folder: Path, poisoned: int, optimizer: str = "adamw") -> Trainer:
    config = SyntheticConfig(shape=(16, 16, 16), count=4, val_fraction=0, test_fraction=0)
    cases = LoadedCases(PhantomSource(config), config)
    sampler = RandomPatches(size=(8, 8, 8), per_volume=4)
    dataset = PatchDataset(cases, cases.survey("train", print), sampler, seed=0)
    torch.manual_seed(0)
    model = CustomVAE(tiny_model())
    objective = PoisonedObjective(LossConfig(), model.factor)
    objective.poisoned = poisoned
    return Trainer(
        model=model,
        objective=objective,
        loader=PatchLoader(dataset, 2, 1, Distributed(), workers=0),
        config=tiny_trainer(optimizer=optimizer),
        distributed=Distributed(),
        checkpoints=CheckpointFolder(folder / "checkpoints"),
        logger=Logger(),
        callbacks=Callbacks(
            validate=lambda step, interrupted: {},
            save_weights=lambda which, step, state: None,
            report_bad_step=lambda step, wrong: None,
            about={},
        ),
        seed=0,
    )


def weights(trainer: Trainer) -> list[Tensor]:
    return [value.clone() for value in trainer.model.state_dict().values()]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_poisoned_step_leaves_the_weights_without_being_asked(
    tmp_path: Path, optimizer: str
) -> None:
    trainer = build(tmp_path, poisoned=2, optimizer=optimizer)
    steps = trainer.loader.steps(0, 5)
    seen = [weights(trainer)]
    for _ in range(5):
        trainer.train_step(next(steps))
        seen.append(weights(trainer))
    moved = [
        any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
        for before, after in itertools.pairwise(seen)
    ]
    assert moved == [True, True, False, True, True]
    assert all(value.isfinite().all() for value in seen[-1])
    with pytest.raises(NonFiniteError, match=r"step 2: loss"):
        trainer._check_finite()


def test_the_loop_stops_at_the_step(tmp_path: Path) -> None:
    trainer = build(tmp_path, poisoned=3)
    with pytest.raises(NonFiniteError, match=r"step 3: loss"):
        trainer.fit()
    assert trainer.checkpoints.steps() == [2]
