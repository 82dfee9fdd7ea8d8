"""What a run records of the weights that it started from."""

import json
import logging
from pathlib import Path

import pytest

from tests.conftest import copied
from tests.laws.starting import EMA, saved_weights, training
from vae3d.autoencoder.vae import CustomVAE
from vae3d.commands.eval import EvalConfig
from vae3d.commands.eval_run import evaluate
from vae3d.commands.train_run import train
from vae3d.evaluation.config import EvaluationConfig
from vae3d.report.facts import fact_lines


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights with an architecture that is no default, of an MR training."""
    return saved_weights(tmp_path)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two steps from such weights, which are next to it."""
    folder = tmp_path_factory.mktemp("started")
    return train(training(folder, saved_weights(folder), trainer=EMA))


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
