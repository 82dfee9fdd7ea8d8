"""The loop: what it logs, what it resumes with, and that only finite numbers reach the weights."""

import copy
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import tiny_model, tiny_trainer
from vae3d.autoencoder.vae import CustomVAE
from vae3d.checkpoints.folder import CheckpointFolder
from vae3d.data.config import SyntheticConfig
from vae3d.data.loaded import LoadedCases
from vae3d.data.phantoms import PhantomSource
from vae3d.errors import CheckpointError, NonFiniteError
from vae3d.loading.loader import PatchLoader
from vae3d.loading.patches import PatchDataset
from vae3d.logger.base import Logger
from vae3d.loss.config import LossConfig
from vae3d.loss.objective import LossTerms, Objective
from vae3d.model.frozen import freeze
from vae3d.patching.samplers import RandomPatches
from vae3d.runtime.distributed import Distributed
from vae3d.trainer import trainer as module
from vae3d.trainer.config import OPTIMIZERS
from vae3d.trainer.optimizer import learning_rate
from vae3d.trainer.trainer import Callbacks, Trainer, total_steps, with_last


class PoisonedObjective(Objective):
    """An objective whose loss is not a number in one step."""

    poisoned = -1

    def __call__(self, *arguments: Any) -> LossTerms:
        terms = super().__call__(*arguments)
        if arguments[3] != self.poisoned:
            return terms
        return LossTerms(terms.total * torch.nan, {**terms.by_name})


class Notes(Logger):
    """A logger that remembers."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, str, dict[str, float]]] = []

    def log(self, step: int, scores: Mapping[str, float], split: str = "train") -> None:
        self.rows.append((step, split, dict(scores)))

    def column(self, name: str, split: str = "train") -> list[float]:
        return [scores[name] for _, of, scores in self.rows if of == split]


def build(
    folder: Path,
    poisoned: int = -1,
    optimizer: str = "adamw",
    loss: LossConfig | None = None,
    validate: Callable[[int], dict[str, float]] = lambda step: {},
    report_bad_step: Callable[[int, list[str]], None] = lambda step, wrong: None,
    **changes: Any,
) -> Trainer:
    config = SyntheticConfig(shape=(16, 16, 16), count=4, val_fraction=0, test_fraction=0)
    cases = LoadedCases(PhantomSource(config), config)
    sampler = RandomPatches(size=(8, 8, 8), per_volume=4)
    dataset = PatchDataset(cases, cases.survey("train"), sampler, seed=0)
    settings = tiny_trainer(optimizer=optimizer, **changes)
    torch.manual_seed(0)
    model = CustomVAE(tiny_model())
    freeze(model, settings.train)
    objective = PoisonedObjective(loss or LossConfig(), model.factor)
    objective.poisoned = poisoned
    return Trainer(
        model=model,
        objective=objective,
        loader=PatchLoader(
            dataset, settings.batch_size, settings.accumulation, Distributed(), workers=0
        ),
        config=settings,
        distributed=Distributed(),
        checkpoints=CheckpointFolder(folder / "checkpoints"),
        logger=Notes(),
        callbacks=Callbacks(
            validate=lambda step, interrupted: validate(step),
            save_weights=lambda which, step, state: None,
            report_bad_step=report_bad_step,
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


def test_a_step_that_is_skipped_is_reported_once(tmp_path: Path) -> None:
    bad_steps: list[tuple[int, list[str]]] = []
    trainer = build(
        tmp_path,
        poisoned=3,
        report_bad_step=lambda step, wrong: bad_steps.append((step, wrong)),
        max_nonfinite=1,
        steps=8,
        log_every=3,
    )
    trainer.fit()
    assert bad_steps == [(3, ["loss", "grad_norm"])]
    assert trainer.state.skipped == 0
    assert trainer.checkpoints.steps()[-1] == 8


def rows_of(trainer: Trainer) -> Notes:
    assert isinstance(trainer.logger, Notes)
    return trainer.logger


def test_what_is_logged_belongs_to_the_step_that_was_taken(tmp_path: Path) -> None:
    """16 patches in steps of 2 x 3 are 3 steps an epoch."""
    scores = {"psnr": 20.0}
    trainer = build(
        tmp_path,
        loss=LossConfig(kl_weight=0.4, kl_warmup_steps=4),
        validate=lambda step: scores,
        accumulation=3,
        steps=8,
        warmup_steps=2,
        log_every=2,
        val_every=4,
        lr=1e-3,
    )
    trainer.fit()
    notes = rows_of(trainer)
    assert [(step, split) for step, split, _ in notes.rows] == [
        (2, "train"), (4, "train"), (4, "val"), (6, "train"), (8, "train"), (8, "val"),
    ]  # fmt: skip
    assert notes.column("epoch") == [0, 1, 2, 2]
    assert notes.column("epoch", "val") == [1, 2]
    assert notes.column("psnr", "val") == [20.0, 20.0]
    # The step before the count: steps 1, 3, 5 and 7 began with these weights and rates.
    assert notes.column("kl_weight") == pytest.approx([0.1, 0.3, 0.4, 0.4])
    rates = [learning_rate(step, 8, 1e-3, 2, trainer.config.min_lr_ratio) for step in (1, 3, 5, 7)]
    assert notes.column("lr") == rates
    for name in ("loss", "l1", "kl", "grad_norm"):
        assert all(value > 0 for value in notes.column(name))
    for row, weight in zip(notes.rows[:2], (0.1, 0.3), strict=True):
        found = row[2]
        assert found["loss"] == pytest.approx(found["l1"] + weight * found["kl"], rel=1e-5)


def test_voxels_per_second_are_counted_without_the_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that only reading patches (a second a step) and validating (100 s) moves on."""
    now = [50.0]

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return now[0]

    def validate(step: int) -> dict[str, float]:
        now[0] += 100
        return {"psnr": 1.0}

    monkeypatch.setattr(module, "time", Clock)
    trainer = build(tmp_path, validate=validate, steps=6, log_every=2, val_every=3)
    whole = Trainer.train_step

    def train_step(self: Trainer, micro_batches: Any) -> dict[str, Tensor]:
        now[0] += 1
        return whole(self, micro_batches)

    monkeypatch.setattr(Trainer, "train_step", train_step)
    trainer.fit()
    # Two steps of two patches of 8^3 in two seconds.
    assert rows_of(trainer).column("voxels_per_second") == pytest.approx([2 * 8**3] * 3)


def test_a_resumed_optimizer_has_the_settings_of_now(tmp_path: Path) -> None:
    before = build(tmp_path, steps=2, lr=1e-3, weight_decay=0.5)
    before.fit()
    state = before.state_dict()
    trainer = build(tmp_path, steps=4, lr=1e-2, weight_decay=0.25)
    trainer.resume(state)
    groups = trainer.optimizer.param_groups
    assert [group["weight_decay"] for group in groups] == [0.25, 0.0]
    assert [group["lr"] for group in groups] == [1e-2, 1e-2]
    held, restored = (t.optimizer.state_dict()["state"] for t in (before, trainer))
    assert all(torch.equal(held[key]["exp_avg"], restored[key]["exp_avg"]) for key in held)
    assert trainer.state.step == 2
    for key, other in (("num_patches", 17), ("patches_per_step", 3)):
        wrong = {**state, "sampler": {**state["sampler"], key: other}}
        with pytest.raises(CheckpointError, match=rf"had {key}={other}, now it is"):
            build(tmp_path, steps=4).resume(wrong)
    wrong = {**state, "optimizer": {**state["optimizer"], "state": {0: held[0]}}}
    with pytest.raises(CheckpointError, match="lacks or does not fit"):
        build(tmp_path, steps=4).resume(wrong)


def test_decay_is_for_what_has_more_than_one_axis(tmp_path: Path) -> None:
    trainer = build(tmp_path, weight_decay=0.25)
    decayed, others = trainer.optimizer.param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.25, 0.0)
    assert {p.dim() > 1 for p in decayed["params"]} == {True}
    assert {p.dim() for p in others["params"]} == {1}
    assert sum(len(g["params"]) for g in (decayed, others)) == len([*trainer.model.parameters()])


@pytest.mark.parametrize(
    ("scores", "patience", "last"),
    [
        ([1.0, 2.0, 3.0, 4.0, 5.0], 1, 5),
        ([3.0, 2.0, 4.0, 4.0, 1.0, 9.0], 2, 5),
        ([3.0, 2.0, 4.0], 1, 2),
        ([3.0, 1.0, 1.0, 1.0, 1.0], None, 5),
    ],
)
def test_training_ends_when_no_score_is_better(
    tmp_path: Path, scores: list[float], patience: int | None, last: int
) -> None:
    """A score a step; an equal one is no better."""
    trainer = build(
        tmp_path,
        validate=lambda step: {"psnr": scores[step - 1]},
        steps=min(len(scores), 5),
        val_every=1,
        patience=patience,
    )
    trainer.fit()
    assert trainer.state.step == last
    assert trainer.checkpoints.steps()[-1] == last


def test_a_smaller_error_is_better(tmp_path: Path) -> None:
    scores = {1: 0.3, 2: 0.1, 3: 0.2, 4: 0.1}
    trainer = build(
        tmp_path,
        validate=lambda step: {"mae": scores[step], "psnr": float(step)},
        steps=4,
        val_every=1,
        keep_best=3,
        best_by="mae",
    )
    trainer.fit()
    assert trainer.state.best == [(-0.1, 2), (-0.1, 4), (-0.2, 3)]
    assert trainer.state.best_steps == [2, 4, 3]
    assert trainer.state.stale == 2
    assert (trainer.checkpoints.path / "best").read_text() == "step_00000002"


def test_epochs_are_whole_and_steps_are_as_many_as_asked_for(tmp_path: Path) -> None:
    trainer = build(tmp_path, steps=7)
    assert trainer.total_steps == 7
    assert total_steps(tiny_trainer(epochs=3), trainer.loader) == 24


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_last_one_is_known(count: int) -> None:
    expected = [(number, number == count - 1) for number in range(count)]
    assert [*with_last(range(count))] == expected


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_moments_of_another_memory_format_stay_with_their_weights(
    tmp_path: Path, optimizer: str
) -> None:
    """A run moves between a CPU and a GPU, and norms over groups are contiguous on one of them."""
    before = build(tmp_path, steps=2, optimizer=optimizer)
    before.fit()
    state = copy.deepcopy(before.state_dict())
    for held in state["optimizer"]["state"].values():
        held.update({k: v.contiguous() for k, v in held.items() if isinstance(v, Tensor)})
    after = build(tmp_path, steps=4, optimizer=optimizer)
    after.resume(state)
    formats = set()
    for weight, held in after.optimizer.state.items():
        formats.add(weight.is_contiguous())
        assert all(v.stride() == weight.stride() for v in held.values() if v.dim())
    assert formats == {True, False}
    for trainer in (before, after):
        trainer.train_step(next(trainer.loader.steps(2, 3)))
    pairs = zip(weights(before), weights(after), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_a_precision_may_change_to_one_with_a_scale(tmp_path: Path) -> None:
    trainer = build(tmp_path)
    state = trainer.state_dict()
    assert state["scaler"] == {}
    trainer.precision.scaler = torch.amp.GradScaler("cpu", enabled=True)
    trainer.resume(state)
    assert trainer.precision.scaler.get_scale() == 2.0**16
    scaled = trainer.state_dict()
    assert scaled["scaler"]
    build(tmp_path).resume(scaled)
