"""A training that starts from weights: exactly theirs, and only until its first step."""

import contextlib
import csv
import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import copied, run_distributed, tiny_model, tiny_trainer, tiny_training, vae3d
from tests.laws.test_resume import assert_equal_states, final_state
from vae3d.autoencoder.start import read_start
from vae3d.autoencoder.vae import CustomVAE
from vae3d.cli.compose import composed
from vae3d.cli.jobs import checked_settings
from vae3d.cli.line import Line
from vae3d.commands import COMMANDS
from vae3d.commands.eval import EvalConfig
from vae3d.commands.eval_run import evaluate
from vae3d.commands.saved import asked, load_config
from vae3d.commands.train import TrainConfig
from vae3d.commands.train_run import Training, train
from vae3d.data.config import SyntheticConfig
from vae3d.errors import ConfigError, RunError, UserError
from vae3d.evaluation.config import EvaluationConfig
from vae3d.loading.patches import Batch
from vae3d.loss.objective import Objective
from vae3d.model.config import NORMS, LevelSpec, VAEConfig
from vae3d.report.facts import fact_lines
from vae3d.runtime.distributed import Distributed, start_distributed
from vae3d.runtime.run_folder import RunFolder
from vae3d.runtime.seeding import seed_global
from vae3d.trainer.beginning import Asked, Beginning, Extras
from vae3d.trainer.checkpoint import CheckpointFolder
from vae3d.values.contract import InputContract
from vae3d.values.intensity import IntensityContract
from vae3d.values.latent_statistics import LatentStatistics

EMA = tiny_trainer(steps=2, ema_decay=0.9)
WIDE = tiny_model(levels=[LevelSpec(4), LevelSpec(12, stride=(2,))])


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights with an architecture that is no default, of an MR training."""
    return saved_weights(tmp_path)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two steps from such weights, which are next to it."""
    folder = tmp_path_factory.mktemp("started")
    return train(training(folder, saved_weights(folder), trainer=EMA))


def saved_weights(folder: Path) -> Path:
    """Write such weights."""
    torch.manual_seed(5)
    model = CustomVAE(tiny_model(latent_channels=3))
    model.contract = InputContract(IntensityContract("percentiles", 0, 99.5, "a.u."), (1, 1, 1))
    model.statistics = LatentStatistics(1.0, 0.0, [0.0, 0.0, 0.0], [1.0, 1.0, 1.0], 3)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    model.save_pretrained(folder / "weights")
    return folder / "weights"


def training(folder: Path, weights: Path | str | None, **changes: Any) -> TrainConfig:
    """A training whose settings name no architecture, as if none was typed."""
    values: dict[str, Any] = {"model": VAEConfig(), "trainer": tiny_trainer(steps=2), **changes}
    return tiny_training(folder, init_from=weights and str(weights), **values)


def by_hand(model: VAEConfig, *keys: str) -> VAEConfig:
    model.typed = frozenset(keys)
    return model


def rows_of(run: Path, split: str = "train") -> list[dict[str, str]]:
    with RunFolder(run).metrics.open() as file:
        return [row for row in csv.DictReader(file) if row["split"] == split]


def weights_at(run: Path, step: int) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = (
        CheckpointFolder(run / "checkpoints").load(step).state["model"]
    )
    return state


@contextlib.contextmanager
def first_batch(run: Path) -> Iterator[tuple[Batch, torch.device]]:
    """The batch of step 0, with the kernels and the seed of a training."""
    config = load_config(run / "config.yaml")
    with start_distributed("cpu") as distributed:
        training = Training(config, None, distributed, Extras())
        model = CustomVAE(training.config.model)
        loader = training._session(training.cases.survey("train"), model).loader
        [micro_batches] = loader.steps(0, 1)
        [batch] = [batch for micro_batch in micro_batches for batch in micro_batch]
        seed_global(config.seed, "step", 0, 0)
        yield batch, distributed.device


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


def test_tensors_that_do_not_fit_are_listed_and_left_out_only_when_asked(
    tmp_path: Path, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = by_hand(VAEConfig(latent_channels=5), "latent_channels")
    config = training(tmp_path, weights, model=model)
    with pytest.raises(RunError) as refused:
        train(config)
    own = CustomVAE.from_pretrained(weights)
    other = CustomVAE(replace(own.config, latent_channels=5)).state_dict()
    misfits = {n for n, value in own.state_dict().items() if value.shape != other[n].shape}
    message = str(refused.value)
    assert misfits
    assert f"{len(misfits)} tensors do not fit" in message
    assert "init_strict=false" in message
    assert all(f"{name} (" in message for name in misfits)
    assert not (tmp_path / "run").exists()

    run = train(replace(config, init_strict=False, model=model))
    assert caplog.text.count(f"{len(misfits)} tensors of {weights} are left out") == 1
    seed_global(config.seed, "model")
    fresh = CustomVAE(replace(own.config, latent_channels=5)).state_dict()
    for name, value in weights_at(run, 0).items():
        expected = fresh if name in misfits else own.state_dict()
        assert torch.equal(value, expected[name]), name
    record = json.loads((run / "start.json").read_text())
    assert {*record["left_out"]} == misfits


def test_missing_and_additional_tensors_are_named(tmp_path: Path, weights: Path) -> None:
    wide = replace(WIDE, levels=[*WIDE.levels, LevelSpec(8, stride=(2,))], norm="batch")
    config = training(tmp_path, weights, model=wide)
    config.typed = frozenset({"model"})
    with pytest.raises(RunError) as refused:
        train(config)
    message = str(refused.value)
    assert "(missing)" in message
    assert "12 x 4 x 3 x 3 x 3 instead of" in message or "instead of 12 x 4 x" in message
    config = training(tmp_path, weights, model=VAEConfig(levels=[LevelSpec(4)], patch=(2,)))
    config.typed = frozenset({"model"})
    with pytest.raises(RunError, match=r"\(not in the architecture\)"):
        train(config)
    strange = VAEConfig(levels=[LevelSpec(10)], patch=(4,), latent_channels=7, norm="batch")
    config = training(tmp_path, weights, model=strange, init_strict=False)
    config.typed = frozenset({"model"})
    with pytest.raises(RunError, match=r"tensors do not fit .*architecture") as refused:
        train(config)
    assert "init_strict" not in str(refused.value)


def test_a_typed_key_replaces_one_of_the_weights(tmp_path: Path, weights: Path) -> None:
    levels = [LevelSpec(16), LevelSpec(4, stride=(2,))]
    model = by_hand(VAEConfig(levels=levels, dropout=0.1), "levels.1.channels", "dropout")
    config = training(tmp_path, weights, model=model, init_strict=False)
    run = train(config)
    saved = load_config(run / "config.yaml").model
    assert [level.channels for level in saved.levels] == [4, 4]
    assert (saved.dropout, saved.latent_channels) == (0.1, 3)
    train(config)  # the same command again
    missing = by_hand(VAEConfig(levels=[*levels, LevelSpec(8)]), "levels.2.channels")
    with pytest.raises(ConfigError, match=r"model\.levels\.2\.channels is not in"):
        train(training(tmp_path / "b", weights, model=missing))


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


def test_other_axes_and_channels_are_one_line_before_any_work(
    tmp_path: Path, weights: Path
) -> None:
    flat = SyntheticConfig(shape=(16, 16), count=6, store=str(tmp_path / "store"))
    with pytest.raises(ConfigError, match="these weights are for 3D data, these are 2D"):
        train(training(tmp_path, weights, data=flat))
    CustomVAE(tiny_model(in_channels=2)).save_pretrained(tmp_path / "two")
    data = SyntheticConfig(shape=(16, 16, 16), count=6, store=str(tmp_path / "store"))
    with pytest.raises(ConfigError, match=r"images of 2 channels, these data have 1; .*in_chan"):
        train(training(tmp_path, tmp_path / "two", data=data))
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "run").exists()


def test_the_new_data_decide_and_a_difference_is_printed_once(
    tmp_path: Path, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = train(training(tmp_path, weights))
    change = "percentiles [0, 99.5] -> window [-1000, 1000] HU"
    assert caplog.text.count(change) == 1
    record = json.loads((run / "start.json").read_text())
    assert record["changes"][0] == change
    saved = json.loads((run / "weights/latest/config.json").read_text())
    assert saved["contracts"][0]["intensity"]["kind"] == "window"
    assert saved["latents"] is not None
    assert saved["latents"]["latents_mean"] != [0.0, 0.0, 0.0]


def test_the_origin_is_chained_without_private_names(tmp_path: Path, weights: Path) -> None:
    (weights / "README.md").write_text("---\nlicense: cc-by-4.0\n---\nlicense: mit\n")
    first = train(training(tmp_path / "a", weights))
    run = train(training(tmp_path / "b", first))
    latest = run / "weights/latest"
    model = CustomVAE.from_pretrained(latest)
    assert model.origin
    one, other = model.origin.started_from
    digests = [json.loads((place / "config.json").read_text())["digest"]
               for place in (first / "weights/latest", weights)]  # fmt: skip
    assert [one.digest, other.digest] == digests
    assert (one.by, one.step, one.licence) == ("vae3d train", 2, "")
    assert (other.hub, other.licence) == ("", "cc-by-4.0")
    card = (latest / "README.md").read_text()
    assert "Started from: other weights (SHA-256" in card
    assert "which started from other weights (licence cc-by-4.0, SHA-256" in card
    for path in latest.iterdir():
        assert bytes(tmp_path) not in path.read_bytes()
    model.save_pretrained(tmp_path / "copy")
    assert CustomVAE.from_pretrained(tmp_path / "copy").origin == model.origin
    assert (tmp_path / "copy/README.md").read_text() == card


def _train_on_a_rank(rank: int, folder: Path) -> None:
    train(training(folder, folder / "weights"))


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


def test_what_is_no_weights_is_named(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "text").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="text: is a file, not a folder of weights; vae3d import"):
        train(training(tmp_path, tmp_path / "text"))
    for name in (tmp_path / "nowhere", tmp_path / "empty", "x" * 300):
        with pytest.raises(RunError, match="no run here"):
            train(training(tmp_path, name))
    (weights / "config.json").write_text("{}")
    with pytest.raises(UserError, match="not a description of vae3d weights"):
        train(training(tmp_path, weights))
    assert not (tmp_path / "run").exists()


def chosen(*words: str) -> Asked:
    line = Line.of(COMMANDS["train"], ["init_from=runs/x", *words])
    line.check()
    return asked(checked_settings(line)[0])


def test_only_what_is_typed_replaces_the_architecture_of_the_weights() -> None:
    base = tiny_model(latent_channels=3)
    assert chosen().architecture(base) == base
    # An experiment is a recipe: its architecture is not typed.
    assert chosen("+experiment=ct_patches", "data.root=x").architecture(base) == base
    assert chosen("model=base").architecture(base) == composed("train", "model=base").model
    assert chosen("model=small").architecture(base) == VAEConfig()
    # A key with the value of its default is typed too.
    assert chosen("model.latent_channels=4").architecture(base) == tiny_model(latent_channels=4)
    levels = chosen("model.levels.1.channels=6", "model.attention.window=4").architecture(base)
    assert [level.channels for level in levels.levels] == [4, 6]
    assert levels.attention.window == (4,)


def test_a_sweep_over_weights(tmp_path: Path, weights: Path) -> None:
    CustomVAE(tiny_model()).save_pretrained(tmp_path / "other")
    small = ("trainer=debug", "trainer.steps=1", "data.shape=[16,16,16]", "data.count=4")
    done = vae3d(
        "train", "-m", "init_from=weights,other", "name=sweep", *small, "evaluation.media=[]",
        "patching.size=[8]", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name, channels in (("weights", 3), ("other", 4)):
        config = load_config(tmp_path / f"runs/sweep/init_from={name}/config.yaml")
        assert (config.init_from, config.model.latent_channels) == (name, channels)
    with (tmp_path / "runs/sweep/sweep.csv").open() as file:
        assert {row["init_from"] for row in csv.DictReader(file)} == {"weights", "other"}


def test_weights_of_a_plugin_name_it(tmp_path: Path, weights: Path) -> None:
    config = json.loads((weights / "config.json").read_text())
    config["architecture"]["norm"] = "their_norm"
    config["plugins"] = ["their_plugin"]
    (weights / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match=r"add plugins=\[their_plugin\]"):
        train(training(tmp_path, weights))


def test_weights_of_a_registered_norm_train(tmp_path: Path) -> None:
    @NORMS.register("test_start_norm")
    def norm(spatial_dims: int, channels: int, groups: int) -> torch.nn.Module:
        return torch.nn.GroupNorm(1, channels)

    try:
        CustomVAE(tiny_model(norm="test_start_norm")).save_pretrained(tmp_path / "weights")
        run = train(training(tmp_path, tmp_path / "weights", plugins=[__name__]))
        assert load_config(run / "config.yaml").model.norm == "test_start_norm"
    finally:
        NORMS.remove("test_start_norm")


def test_weights_of_format_1_train(tmp_path: Path, weights: Path) -> None:
    config = json.loads((weights / "config.json").read_text())
    digest = config["digest"]
    old = {"format_version": 1, "architecture": config["architecture"]}
    (weights / "config.json").write_text(json.dumps(old))
    run = train(training(tmp_path, weights))
    [ancestor] = json.loads((run / "start.json").read_text())["started_from"]
    assert ancestor["digest"] == digest
    assert json.loads((run / "start.json").read_text())["changes"] == []


def test_a_lost_record_does_not_stop_a_run(
    started: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = copied(started, tmp_path)
    config = training(tmp_path, tmp_path / "weights", trainer=EMA)
    for content in (None, "[", '{"started_from": [{"digest": "x"}]}', "{}"):
        (run / "start.json").unlink(missing_ok=True)
        if content is not None:
            (run / "start.json").write_text(content)
        caplog.clear()
        train(config)
        assert "start.json: cannot be read" in caplog.text


def test_the_report_states_the_start(started: Path, tmp_path: Path) -> None:
    quiet = EvaluationConfig(media=[], report=False)
    config = EvalConfig(
        run=str(started), split="all", evaluation=quiet, output=str(tmp_path / "report")
    )
    digest = json.loads((started / "start.json").read_text())["started_from"][0]["digest"]
    assert fact_lines(evaluate(config).facts)["Started from"] == (
        f"{started.parent / 'weights'}: other weights (SHA-256 {digest[:12]})"
    )
