"""One set of latent statistics is the one to use, wherever statistics are named."""

import json
import logging
import re
from pathlib import Path

import pytest

from tests.commands.decoding import forget_statistics
from tests.conftest import copied, tiny_training
from vae3d import LatentDataset
from vae3d.autoencoder.vae import CustomVAE
from vae3d.commands.encode import EncodeConfig
from vae3d.commands.encode_run import encode
from vae3d.commands.eval import EvalConfig
from vae3d.commands.eval_run import evaluate
from vae3d.commands.train_run import train
from vae3d.evaluation.config import EvaluationConfig


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tiny_training(tmp_path_factory.mktemp("scaling")))


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return copied(trained, tmp_path)


def encoded(run: Path, name: str = "latents") -> Path:
    return encode(EncodeConfig(run=str(run), output=str(run.parent / name), device="cpu"))


def test_card_page_latents_and_terminal_name_the_same_factor(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    weights = run / "weights/best"
    own = CustomVAE.from_pretrained(weights).statistics
    assert own is not None
    number = f"scaling_factor {own.scaling_factor:.6g}"
    of = f"from {own.cases} validation case"
    card = (weights / "README.md").read_text()
    assert re.search(rf"{re.escape(number)}, {of}.*: the ones to use", card)
    latents = encoded(run)
    assert re.search(
        rf"{re.escape(number)}, {of}.*: the ones to use \(for comparison", caplog.text
    )
    saved = json.loads((latents / "statistics.json").read_text())
    assert saved["scaling_factor"] == own.scaling_factor
    assert saved["of"].endswith("the ones to use")
    there = saved["of_this_folder"]
    assert there["cases"] == len(LatentDataset(latents).entries) != own.cases
    assert there["of"].endswith("for comparison only")
    assert there["scaling_factor"] != own.scaling_factor
    assert LatentDataset(latents).statistics == own
    caplog.clear()
    settings = EvaluationConfig(metrics=["psnr"], media=[])
    result = evaluate(EvalConfig(run=str(run), split="all", device="cpu", evaluation=settings))
    assert f"Scaling: {own.text}" in caplog.text
    summary = json.loads((run / "report/full/summary.json").read_text())
    assert summary["scaling"]["scaling_factor"] == own.scaling_factor
    assert summary["latents"]["of"] == f"{len(result.cases)} cases of this report"
    text = (run / "report/full/index.html").read_text()
    page = json.loads(re.findall(r'id="data">(.*?)</script>', text, re.DOTALL)[0])
    assert page["run"]["facts"]["Scaling"] == own.text
    assert page["run"]["latent_statistics"]["scaling_factor"] == own.scaling_factor


def test_weights_without_statistics_leave_those_of_the_latents(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    forget_statistics(run)
    latents = encoded(run)
    saved = json.loads((latents / "statistics.json").read_text())
    assert saved["of"] == f"the {saved['cases']} latents of this folder: the ones to use"
    assert f"scaling_factor {saved['scaling_factor']:.6g}, from the" in caplog.text
    assert LatentDataset(latents).statistics.scaling_factor == saved["scaling_factor"]


def test_a_folder_of_an_earlier_version_keeps_its_factors(run: Path) -> None:
    path = encoded(run) / "statistics.json"
    earlier = json.loads(path.read_text())["of_this_folder"]
    del earlier["of"]
    path.write_text(json.dumps(earlier))
    before = LatentDataset(path.parent).statistics
    for _ in range(2):
        assert LatentDataset(encoded(run)).statistics == before
