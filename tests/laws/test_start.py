"""A training that starts from weights: exactly theirs, and only until its first step."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import run_distributed, tiny_model, tiny_trainer, tiny_training
from tests.laws.starting import EMA, first_batch, rows_of, saved_weights, training, weights_at
from tests.laws.test_resume import assert_equal_states, final_state
from vae3d.autoencoder.start import read_start
from vae3d.autoencoder.vae import CustomVAE
from vae3d.checkpoints.folder import CheckpointFolder
from vae3d.commands.train_run import train
from vae3d.errors import RunError
from vae3d.loss.objective import Objective
from vae3d.model.config import VAEConfig
from vae3d.run.beginning import Asked, Beginning
from vae3d.run.saved import load_config
from vae3d.runtime.distributed import Distributed
from vae3d.runtime.run_folder import RunFolder
from vae3d.values.contract import InputContract


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights with an architecture that is no default, of an MR training."""
    return saved_weights(tmp_path)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two steps from such weights, which are next to it."""
    folder = tmp_path_factory.mktemp("started")
    return train(training(folder, saved_weights(folder), trainer=EMA))


def test_the_first_loss_is_that_of_the_weights(tmp_path: Path, weights: Path) -> None:
    """Loss, L1 and KL of step 0 follow from the weights, the patches and the noise of step 0."""
    config = training(tmp_path, weights, trainer=tiny_trainer(steps=1, portions=1))
    run = train(config)
    model = CustomVAE.from_pretrained(weights).train()
    objective = Objective(config.loss, model.factor)
    with first_batch(run) as (batch, device):
        # With gradients, without which torch rounds differently.
        output = model.to_device(device)(batch.images, batch.generators())
        terms = objective(output, batch.images, batch.inside, 0)
    row = rows_of(run)[0]
    for name, term in {"loss": terms.total, **terms.by_name}.items():
        assert float(row[name]) == float((term.detach() * batch.weights).sum()), name


def test_step_0_has_the_weights_the_architecture_and_their_average(started: Path) -> None:
    weights = started.parent / "weights"
    own = CustomVAE.from_pretrained(weights).state_dict()
    assert_equal_states(weights_at(started, 0), dict(own))
    state = CheckpointFolder(started / "checkpoints").load(0).state["ema"]
    assert_equal_states(state, {"updates": 0, "average": dict(own)})
    saved = load_config(started / "config.yaml")
    assert (saved.init_from, saved.model.latent_channels) == (str(weights), 3)
    assert saved.model == CustomVAE.from_pretrained(weights).config


def test_resuming_needs_no_weights_and_equals_an_undisturbed_training(
    tmp_path: Path, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = tiny_trainer(steps=6, checkpoint_every=50, ema_decay=0.9)
    whole = train(training(tmp_path / "whole", weights, trainer=trainer))
    broken = train(training(tmp_path / "broken", weights, trainer=trainer))
    checkpoints = CheckpointFolder(broken / "checkpoints")
    checkpoints.drop_after(0)
    shutil.move(weights, tmp_path / "elsewhere")
    caplog.clear()
    # Another spelling of the path is no other setting.
    again = train(training(tmp_path / "broken", f"{weights}/", trainer=trainer))
    assert "resumes at step 0" in caplog.text
    assert "starts from" not in caplog.text
    assert_equal_states(final_state(again), final_state(whole))
    one, other = ((run / "weights/latest/config.json").read_text() for run in (whole, again))
    assert one == other
    for other_start in (None, tmp_path / "elsewhere", "hub:owner/name"):
        with pytest.raises(RunError, match=r"belongs to other settings .*init_from: "):
            train(training(tmp_path / "broken", other_start, trainer=trainer))


def test_a_training_that_was_killed_before_step_0_was_saved_starts_again(
    tmp_path: Path, weights: Path
) -> None:
    run = train(training(tmp_path, weights))
    expected = final_state(run)
    shutil.rmtree(run / "checkpoints")
    (run / "status.json").unlink()
    (run / "summary.json").unlink()
    train(training(tmp_path, weights))
    assert_equal_states(final_state(run), expected)
    shutil.rmtree(run / "checkpoints")
    (run / "status.json").unlink()
    (run / "summary.json").unlink()
    shutil.rmtree(weights)
    with pytest.raises(RunError, match="weights: no run here"):
        train(training(tmp_path, weights))


def test_a_run_means_its_best_weights(tmp_path: Path) -> None:
    run = train(tiny_training(tmp_path))
    torch.manual_seed(9)
    CustomVAE(tiny_model()).save_pretrained(run / "weights/best")
    digests = {
        which: json.loads((run / f"weights/{which}/config.json").read_text())["digest"]
        for which in ("best", "latest")
    }
    for name, which in (
        (run, "best"),
        (run / "weights/best", "best"),
        (run / "weights/latest", "latest"),
    ):
        assert read_start(str(name)).ancestors[0].digest == digests[which]
    shutil.rmtree(run / "weights/best")
    assert read_start(str(run)).ancestors[0].digest == digests["latest"]


def test_half_precision_becomes_the_networks_own(tmp_path: Path, weights: Path) -> None:
    model = CustomVAE.from_pretrained(weights).half()
    model.save_pretrained(tmp_path / "half")
    run = train(training(tmp_path, tmp_path / "half"))
    expected = {name: value.float() for name, value in model.state_dict().items()}
    assert_equal_states(weights_at(run, 0), expected)
    assert rows_of(run)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path, weights: Path) -> None:
    model = CustomVAE.from_pretrained(weights)
    next(model.parameters()).data.view(-1)[0] = torch.nan
    model.save_pretrained(tmp_path / "nan")
    with pytest.raises(RunError, match=r"init_from=.*nan: .* holds values that are not finite"):
        train(training(tmp_path, tmp_path / "nan"))


def _train_on_a_rank(rank: int, folder: Path) -> None:
    train(training(folder, folder / "weights"))


@pytest.mark.slow
def test_two_ranks_start_as_one_does(tmp_path: Path, weights: Path) -> None:
    run_distributed(_train_on_a_rank, tmp_path)
    own = CustomVAE.from_pretrained(weights).state_dict()
    assert_equal_states(weights_at(tmp_path / "run", 0), dict(own))
    one = train(training(tmp_path / "one", weights, trainer=tiny_trainer(steps=2, batch_size=4)))
    first, other = rows_of(tmp_path / "run")[0], rows_of(one)[0]
    assert float(first["loss"]) == pytest.approx(float(other["loss"]), rel=1e-5)


class _OthersDiffer(Distributed):
    """A group in which the weights of another rank have another SHA-256."""

    def gather(self, value: Any) -> list[Any]:
        return [value, "0" * 64]


def test_ranks_with_different_weights_are_refused(tmp_path: Path, weights: Path) -> None:
    beginning = Beginning(RunFolder(tmp_path / "run"), Asked(str(weights), VAEConfig()))
    group = _OthersDiffer(0, 2, torch.device("cpu"))
    with pytest.raises(RunError, match="ranks have different weights there"):
        beginning.begin(CustomVAE(beginning.model), True, InputContract(), group)
