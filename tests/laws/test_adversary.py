"""What holds for a training holds with an adversary: resume, ranks, lanes, padding, overflow."""

import copy
import itertools
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.conftest import run_distributed, tiny_model, tiny_trainer, tiny_training
from tests.laws import test_stored_latents as stored
from tests.laws.test_accumulation import LOSS, MixedPhantoms, assert_same, config
from tests.laws.test_resume import assert_equal_states, final_state
from tests.trainer.test_trainer import build, rows_of
from vae3d.adversary import player
from vae3d.adversary.config import AdversarySpec
from vae3d.adversary.player import Adversary, NoAdversary
from vae3d.commands.train_run import train
from vae3d.data.config import SyntheticConfig
from vae3d.errors import ConfigError, NonFiniteError, RunError
from vae3d.loading.patches import Batch
from vae3d.loss.config import EquivarianceSpec, LossConfig
from vae3d.model.frozen import trained_parameters
from vae3d.run.config import TrainConfig
from vae3d.runtime.run_folder import RunFolder
from vae3d.trainer.trainer import Trainer

# All that a step may depend on.
EVERYTHING = {
    "weight": 0.5, "adaptive": True, "feature_matching": 0.2, "spectral_norm": True, "lr": 1e-2,
}  # fmt: skip
PHASES = {**EVERYTHING, "start_step": 3, "ramp_steps": 2, "stop_step": 8}


def adversary(**changes: Any) -> AdversarySpec:
    return AdversarySpec(**{"weight": 0.5, "levels": 1, "channels": 4, "lr": 1e-2, **changes})


def loss_of(**changes: Any) -> LossConfig:
    return LossConfig(kl_weight=1e-2, adversary=adversary(**changes))


def with_adversary(settings: TrainConfig, **changes: Any) -> TrainConfig:
    return replace(settings, loss=replace(LOSS, adversary=adversary(**changes)))


def second_player(trainer: Trainer) -> Adversary:
    assert isinstance(trainer.adversary, Adversary)
    return trainer.adversary


def players(trainer: Trainer) -> dict[str, Tensor]:
    """A copy of the weights of both players, and of what the adversary remembers."""
    own = second_player(trainer)
    states = {
        **{f"vae.{name}": value for name, value in trainer.model.state_dict().items()},
        **{f"adversary.{k}": v for k, v in own.discriminator.state_dict().items()},
        "ratio": own.ratio,
        "accuracy": own.accuracy,
    }
    return {name: value.clone() for name, value in states.items()}


def saved_players(folder: Path) -> dict[str, Tensor]:
    state = final_state(folder)
    own = state["adversary"]
    return {**state["model"], **own["discriminator"], "accuracy": own["accuracy"]}


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = config(tmp_path_factory.mktemp("once"), 8, 1)
    return train(with_adversary(settings, **EVERYTHING))


def assert_same_players(first: Path, second: Path) -> None:
    assert_same(saved_players(first), saved_players(second))
    ratios = [float(final_state(folder)["adversary"]["ratio"]) for folder in (first, second)]
    assert ratios[0] > 0
    assert ratios[0] == pytest.approx(ratios[1], rel=1e-3)


@pytest.mark.parametrize(("batch_size", "accumulation"), [(4, 2), (2, 4)])
def test_accumulation(once: Path, tmp_path: Path, batch_size: int, accumulation: int) -> None:
    settings = config(tmp_path, batch_size, accumulation)
    assert_same_players(once, train(with_adversary(settings, **EVERYTHING)))


def test_two_ranks_are_one_with_the_doubled_batch(once: Path, tmp_path: Path) -> None:
    run_distributed(_train_half, tmp_path)
    assert_same_players(once, tmp_path / "run")


def _train_half(rank: int, folder: Path) -> None:
    train(with_adversary(config(folder, 2, 2), **EVERYTHING))


@pytest.mark.slow
def test_two_ranks_without_portions_are_the_same(once: Path, tmp_path: Path) -> None:
    run_distributed(_train_half_whole, tmp_path)
    assert_same_players(once, tmp_path / "run")


def _train_half_whole(rank: int, folder: Path) -> None:
    settings = config(folder, 2, 2)
    settings = replace(settings, trainer=replace(settings.trainer, portions=1))
    train(with_adversary(settings, **EVERYTHING))


def test_lanes_change_no_bit(tmp_path: Path) -> None:
    after, norms = [], []
    for lanes in (1, 4):
        trainer = build(
            tmp_path / str(lanes), loss=loss_of(**EVERYTHING), steps=4, val_every=None,
            batch_size=4, portions=4, threads_per_portion=1, lanes=lanes,
        )  # fmt: skip
        trainer.fit()
        after.append(players(trainer))
        norms.append(rows_of(trainer).column("discriminator_grad_norm"))
    assert equal(*after)
    assert norms[0] == norms[1]


def test_it_resumes_bit_identically_from_every_step(tmp_path: Path) -> None:
    """Before, at and after the first step, within the ramp, and after the last step."""
    settings = tiny_training(
        tmp_path,
        loss=loss_of(**PHASES),
        model=tiny_model(dropout=0.1),
        trainer=tiny_trainer(ema_decay=0.9, checkpoint_every=1, keep_checkpoints=20, val_every=2),
    )
    folder = train(settings)
    kept = ("best_before_adversary", "best_with_adversary", "best")
    files = ("metrics.csv", *(f"weights/{name}/model.safetensors" for name in kept))
    state, expected = final_state(folder), [(folder / name).read_bytes() for name in files]
    for step in (9, 8, 6, 4, 3, 2):
        for later in range(step + 1, 11):
            shutil.rmtree(folder / f"checkpoints/step_{later:08d}")
        train(settings)
        assert [(folder / name).read_bytes() for name in files] == expected, step
        assert_equal_states(final_state(folder), state)


def test_until_it_starts_and_without_weight_nothing_is_different(tmp_path: Path) -> None:
    trainers = {}
    for name, spec in (
        ("none", {"weight": 0.0, **{k: v for k, v in PHASES.items() if k != "weight"}}),
        ("later", PHASES),
        ("stopped", {"start_step": 0, "stop_step": 1, "weight": 1e-30}),
    ):
        trainer = build(tmp_path / name, loss=loss_of(**spec), steps=4)
        steps = trainer.loader.steps(0, 4)
        trainers[name] = trainer
        for _ in range(3):
            trainer.train_step(next(steps))
    assert "adversary" not in trainers["none"].state_dict()
    weights = {name: t.model.state_dict() for name, t in trainers.items()}
    assert equal(weights["none"], weights["later"])
    assert_same(weights["none"], weights["stopped"])
    later = trainers["later"]
    assert later.state.step == 3
    first = players(later)
    later.train_step(next(later.loader.steps(3, 4)))
    changed = {
        name for name, value in players(later).items() if not torch.equal(value, first[name])
    }
    assert any(name.startswith("adversary.") for name in changed)


def one_batch(trainer: Trainer) -> Batch:
    (batch,) = next(iter(next(trainer.loader.steps(0, 1))))
    return replace(batch, inside=[(8, 8, 8), (6, 8, 5)])


@pytest.mark.parametrize("equivariance", [0.0, 0.5])
def test_a_step_has_the_gradients_of_the_whole_objective(
    tmp_path: Path, equivariance: float
) -> None:
    """Against one backward pass through network and discriminator, and through each alone."""
    spec = {"adaptive": True, "feature_matching": 0.3, "weight": 0.7}
    loss = replace(loss_of(**spec), equivariance=EquivarianceSpec(weight=equivariance))
    trainer = build(tmp_path, loss=loss, portions=1)
    own = second_player(trainer)
    own.ratio = torch.tensor(2.5)
    batch = one_batch(trainer)
    own.begin(0)
    total, part = trainer.loss(trainer.model, batch, 0)
    parameters = trained_parameters(trainer.model)
    found = torch.autograd.grad(total, parameters)

    output = trainer.model(batch.images, batch.generators())
    terms = (trainer.objective(output, batch.images, batch.inside, 0).total * batch.weights).sum()
    # All terms but the adversarial one, as a training without an adversary has them.
    others, _ = replace(trainer.loss, adversary=NoAdversary())(trainer.model, batch, 0)
    assert (float(others.detach()) > float(terms.detach()) + 1e-3) == (equivariance > 0)
    term = torch.zeros(())
    for n, size in enumerate(batch.inside):
        box = (slice(n, n + 1), slice(None), *(slice(0, s) for s in size))
        real, fake = (
            own.discriminator(batch.images[box]),
            own.discriminator(output.reconstruction[box]),
        )
        distances = [
            (a.detach() - b).abs().mean() for a, b in zip(real[:-1], fake[:-1], strict=True)
        ]
        value = -fake[-1].mean() + 0.3 * torch.stack(distances).mean()
        term = term + batch.weights[n] * value
    expected = torch.autograd.grad(others + 0.7 * 2.5 * term, parameters, retain_graph=True)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-3)
    assert float(part.losses["loss"]) == pytest.approx(
        float((others + 1.75 * term).detach()), rel=1e-5
    )
    last = trainer.model.decoder.head.weight
    for layer, value in zip(part.last_layer, (terms, term), strict=True):
        (gradient,) = torch.autograd.grad(value, last, retain_graph=True)
        torch.testing.assert_close(layer, gradient, atol=1e-6, rtol=1e-3)
    own.add(part)
    own.exchange()
    norms = [float(torch.linalg.vector_norm(layer)) for layer in part.last_layer]
    own.end(part.losses, torch.tensor(True))
    assert float(own.ratio) == pytest.approx(norms[0] / norms[1], rel=1e-3)


def test_the_last_ratio_is_that_of_the_step_before(tmp_path: Path) -> None:
    trainer = build(tmp_path, loss=loss_of(adaptive=True, ramp_steps=4, weight=0.5), steps=6)
    ratios = [0.0]
    for step, micro_batches in enumerate(trainer.loader.steps(0, 6)):
        scores = trainer.train_step(micro_batches)
        assert float(scores["adversary_weight"]) == pytest.approx(
            0.5 * min(1, step / 4) * ratios[-1]
        )
        ratios.append(float(second_player(trainer).ratio))
    assert len({*ratios}) == 7


def test_scores_add_up(tmp_path: Path) -> None:
    trainer = build(tmp_path, loss=loss_of(feature_matching=0.3, r1=0.1), steps=4)
    trainer.fit()
    rows = rows_of(trainer)
    columns = loss_of(feature_matching=0.3, r1=0.1).columns
    for _, _, row in rows.rows:
        assert {*columns} <= {*row}
        terms = row["l1"] + row["kl_weight"] * row["kl"]
        term = row["adversarial"] + 0.3 * row["feature_matching"]
        assert row["loss"] == pytest.approx(terms + row["adversary_weight"] * term, rel=1e-4)
        assert 0 <= row["real_accuracy"] <= 1
        assert 0 <= row["fake_accuracy"] <= 1
        assert row["discriminator_grad_norm"] > 0
    assert not [name for name in LossConfig().columns if "adversar" in name]


@pytest.mark.parametrize("who", ["vae", "discriminator"])
@pytest.mark.parametrize("scaled", [False, True])
def test_a_step_that_is_not_finite_moves_neither_player(
    tmp_path: Path, who: str, scaled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a scale, as in float16, too."""
    trainer = build(
        tmp_path, loss=loss_of(adaptive=True), poisoned=2 if who == "vae" else -1, steps=5
    )
    if scaled:
        trainer.precision.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8, enabled=True)
    if who == "discriminator":
        whole = Adversary.joined

        def poisoned(self: Adversary, *arguments: Any) -> Any:
            total, part = whole(self, *arguments)
            if trainer.state.step != 2:
                return total, part
            return total, replace(part, gradients=[g * torch.nan for g in part.gradients])

        monkeypatch.setattr(Adversary, "joined", poisoned)
    seen = [players(trainer)]
    for micro_batches in trainer.loader.steps(0, 5):
        trainer.train_step(micro_batches)
        seen.append(players(trainer))
    for step, (before, after) in enumerate(itertools.pairwise(seen)):
        moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
        if step == 2:
            assert not moved
            continue
        assert any(name.startswith("vae.") for name in moved)
        assert any(name.startswith("adversary.") for name in moved)
    assert all(value.isfinite().all() for value in seen[-1].values())
    with pytest.raises(NonFiniteError, match=r"step 2: .*grad_norm"):
        trainer._check_finite()


def test_a_scale_changes_a_step_by_rounding_alone(tmp_path: Path) -> None:
    after = []
    for scale in (None, 2.0**10):
        trainer = build(
            tmp_path / str(scale), loss=loss_of(**EVERYTHING), optimizer="sgd", steps=3
        )
        if scale:
            trainer.precision.scaler = torch.amp.GradScaler("cpu", init_scale=scale, enabled=True)
        trainer.fit()
        after.append(players(trainer))
    assert_same(*after)


def test_half_precision_trains_both_players(tmp_path: Path) -> None:
    rows = []
    for precision in ("fp32", "bf16"):
        trainer = build(
            tmp_path / precision, loss=loss_of(**EVERYTHING), precision=precision, steps=3
        )
        before = players(trainer)
        trainer.fit()
        after = players(trainer)
        for name, value in after.items():
            assert value.isfinite().all(), name
        moved = [n for n, v in after.items() if not torch.equal(v, before[n])]
        assert len(moved) > 0.9 * len(after)
        rows.append(rows_of(trainer).rows)
    for (_, _, one), (_, _, half) in zip(*rows, strict=True):
        assert half["discriminator"] == pytest.approx(one["discriminator"], abs=0.05)
        assert half["loss"] == pytest.approx(one["loss"], abs=0.1)


def test_gradients_of_both_players_are_clipped(tmp_path: Path) -> None:
    trainer = build(
        tmp_path, loss=loss_of(), optimizer="sgd", clip_norm=1e-3, steps=1, warmup_steps=0
    )
    before = players(trainer)
    scores = trainer.train_step(next(trainer.loader.steps(0, 1)))
    assert float(scores["discriminator_grad_norm"]) > 1e-3
    moved = [v - before[n] for n, v in players(trainer).items() if n.startswith("adversary.")]
    change = torch.linalg.vector_norm(torch.cat([value.flatten() for value in moved]))
    # Nesterov's first step is (1 + 0.9) times the gradient.
    assert float(change) == pytest.approx(1e-2 * 1.9 * 1e-3, rel=1e-2)


def test_its_optimizer_has_its_own_rate_and_betas(tmp_path: Path) -> None:
    loss = loss_of(lr=3e-3, beta1=0.3, beta2=0.8)
    trainer = build(tmp_path, loss=loss, steps=4, lr=1e-4, warmup_steps=3, weight_decay=0.5)
    own = second_player(trainer).optimizer
    rates = []
    for micro_batches in trainer.loader.steps(0, 4):
        trainer.train_step(micro_batches)
        rates.append(own.param_groups[0]["lr"])
    assert rates[0] == 3e-3
    assert rates == sorted(rates, reverse=True)
    for group in own.param_groups:
        assert (group["betas"], group["weight_decay"]) == ((0.3, 0.8), 0.0)
    counts = [int(values["step"]) for values in own.state.values()]
    assert counts == [4] * len([*second_player(trainer).discriminator.parameters()])


@pytest.mark.parametrize("patterns", [["decoder.*"], ["encoder.*"]])
def test_frozen_parts_stay_and_the_average_is_of_the_vae(
    tmp_path: Path, patterns: list[str]
) -> None:
    trainer = build(
        tmp_path, loss=loss_of(), train=patterns, ema_decay=0.5, weight_decay=0.5, steps=3
    )
    before = copy.deepcopy(trainer.model.state_dict())
    trainer.fit()
    side = patterns[0].removesuffix("*")
    for name, value in trainer.model.state_dict().items():
        assert name.startswith(side) or torch.equal(value, before[name])
    assert trainer.ema.average.keys() == before.keys()
    assert all(p.grad is None for p in trainer.model.parameters())
    assert all(p.grad is None for p in second_player(trainer).discriminator.parameters())


def test_a_decoder_of_stored_latents_has_the_same_adversary(tmp_path: Path) -> None:
    run = train(stored.training(tmp_path / "first", None, steps=1, train=["decoder.head.*"]))
    encode = stored.EncodeConfig(run=str(run), output=str(tmp_path / "latents"), device="cpu")
    folder = stored.encode(encode)
    after, rows = [], []
    for name, latents in (("scans", None), ("latents", folder)):
        settings = stored.training(tmp_path / name, latents, stored.WholeVolumeConfig(), steps=3)
        found = train(replace(settings, loss=loss_of(adaptive=True)))
        after.append(saved_players(found))
        rows.append(np.genfromtxt(found / "metrics.csv", delimiter=",", names=True))
    assert_same(*after)
    for name in ("loss", "adversarial", "discriminator"):
        np.testing.assert_allclose(rows[0][name], rows[1][name], rtol=1e-3, atol=1e-5)


def test_whole_volumes_of_different_size_are_judged_without_their_padding(tmp_path: Path) -> None:
    """A volume thinner than a patch: the padding of its patches is in no gradient."""
    outcome = []
    for batch_size, accumulation in ((4, 1), (1, 4)):
        settings = config(tmp_path / str(batch_size), batch_size, accumulation)
        settings = replace(settings, patching=replace(settings.patching, size=(12,)))
        outcome.append(train(with_adversary(settings, **EVERYTHING), MixedPhantoms()))
    assert_same_players(*outcome)


def test_each_phase_has_its_best_weights(tmp_path: Path) -> None:
    """And early stopping waits for the last phase."""
    scores = {n: float(s) for n, s in enumerate([9, 8, 1, 2, 7, 4, 5, 6, 3, 1], start=1)}
    saved: list[tuple[str, int]] = []
    trainer = build(
        tmp_path,
        loss=loss_of(start_step=2, ramp_steps=2, stop_step=7),
        validate=lambda step: {"psnr": scores[step]},
        steps=10, val_every=1, patience=2,
    )  # fmt: skip
    keep = lambda which, step, state: saved.append((which, step))  # noqa: E731
    trainer.callbacks = replace(trainer.callbacks, save_weights=keep)
    trainer.fit()
    latest: dict[str, int] = dict(saved)
    assert latest == {
        "latest": 10, "best": 8, "best_before_adversary": 1, "best_with_adversary": 5
    }  # fmt: skip
    assert trainer.state.best == [(6.0, 8)]
    assert trainer.state.step == 10
    assert trainer.state.stale == 2


def test_a_discriminator_that_has_won_is_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(player, "WINDOW", 1)
    for won, expected in ((0.0, 1), (2.0, 0)):
        monkeypatch.setattr(player, "WON", won - 1e-3)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            trainer = build(tmp_path / str(won), loss=loss_of(), steps=4)
            trainer.fit()
            resumed = build(tmp_path / str(won), loss=loss_of(), steps=6)
            resumed.resume(trainer.state_dict())
            resumed.fit()
        messages = [r.getMessage() for r in caplog.records if "has won" in r.getMessage()]
        assert len(messages) == expected
        assert all("loss.adversary.lr" in message for message in messages)


def test_slices_of_volumes(tmp_path: Path) -> None:
    after = []
    for lanes in (1, 2):
        trainer = build(
            tmp_path / str(lanes), loss=loss_of(planes=True, r1=1.0, feature_matching=1.0),
            steps=3, portions=2, threads_per_portion=1, lanes=lanes,
        )  # fmt: skip
        trainer.fit()
        after.append(players(trainer))
    assert equal(*after)
    assert {v.dim() for n, v in after[0].items() if n.startswith("adversary.")} == {1, 4}


def test_an_adversary_that_never_plays_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for start, expected in ((9, 0), (10, 1)):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            build(tmp_path / str(start), loss=loss_of(start_step=start), steps=10)
        messages = [message for message in caplog.messages if "never plays" in message]
        assert len(messages) == expected
        assert all("start_step=10 is not reached in 10 steps" in m for m in messages)


def test_its_accuracy_is_averaged(tmp_path: Path) -> None:
    own = second_player(build(tmp_path, loss=loss_of()))
    for _ in range(200):
        own.begin(0)
        both = {"real_accuracy": torch.tensor(1.0), "fake_accuracy": torch.tensor(0.5)}
        own.end(both, torch.tensor(True))
    assert own.accuracy.tolist() == pytest.approx([1 - 0.98**200, 0.5 * (1 - 0.98**200)], rel=1e-4)
    before = own.accuracy
    own.end(both, torch.tensor(False))
    assert torch.equal(own.accuracy, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": ["encoder.*"]}, r"decoder\.head, which trainer\.train leaves out"),
        ({"compile": True, "portions": 1}, r"needs trainer\.compile=false"),
    ],
)
def test_an_adaptive_weight_needs_the_last_layer(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    settings = tiny_training(tmp_path, loss=loss_of(adaptive=True), trainer=tiny_trainer(**change))
    with pytest.raises(ConfigError, match=message):
        train(settings)
    assert not (tmp_path / "run/config.yaml").exists()


def test_a_run_keeps_its_adversary(tmp_path: Path) -> None:
    settings = tiny_training(tmp_path, trainer=tiny_trainer(steps=2))
    folder = train(settings)
    # A run of an earlier version, whose settings have no adversary, is one without.
    lines = (folder / "config.yaml").read_text().splitlines()
    first = lines.index("  adversary:")
    end = next(n for n in range(first + 1, len(lines)) if not lines[n].startswith("    "))
    (folder / "config.yaml").write_text("\n".join([*lines[:first], *lines[end:]]))
    with pytest.raises(RunError, match=r"loss\.adversary\.weight: 0\.0 -> 0\.5"):
        train(replace(settings, loss=loss_of()))
    train(replace(settings, trainer=tiny_trainer(steps=4)))
    assert final_state(folder)["train"]["step"] == 4
    assert load_file(RunFolder(folder).weights("latest") / "model.safetensors")


def test_when_it_plays() -> None:
    spec = adversary(weight=0.4, start_step=10, ramp_steps=4, stop_step=20)
    weights = {step: spec.weight_at(step) for step in (0, 9, 10, 11, 14, 19, 20, 99)}
    assert weights == pytest.approx({0: 0, 9: 0, 10: 0, 11: 0.1, 14: 0.4, 19: 0.4, 20: 0, 99: 0})
    assert [step for step in range(30) if spec.plays(step)] == [*range(10, 20)]
    phases = {step: spec.phase(step) for step in (0, 10, 11, 14, 15, 20, 21)}
    assert [*phases.values()] == ["before", "before", "ramp", "ramp", "with", "with", "after"]
    assert adversary(weight=0.4).weight_at(0) == 0.4
    assert adversary(weight=0.4).phase(1) == "with"
    assert not adversary(weight=0.0).plays(5)
    assert adversary(weight=0.0, start_step=3).kept_as(2) == ["best"]
    with pytest.raises(ConfigError, match=r"stop_step must be above start_step \(10\), got 10"):
        adversary(start_step=10, stop_step=10)


def test_2d_images(tmp_path: Path) -> None:
    data = SyntheticConfig(shape=(16, 16), count=6)
    settings = tiny_training(
        tmp_path, data=data, model=tiny_model(2), loss=loss_of(**EVERYTHING),
        trainer=tiny_trainer(steps=3),
    )  # fmt: skip
    flat = replace(settings, loss=loss_of(planes=True))
    with pytest.raises(ConfigError, match=r"planes=true judges slices .* these data are 2D"):
        train(flat)
    assert not (tmp_path / "run/config.yaml").exists()
    own = final_state(train(settings))["adversary"]["discriminator"]
    assert {value.dim() for name, value in own.items() if name.endswith("weight")} >= {4}
