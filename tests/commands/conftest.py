"""Runs that several modules test: one on scans, and one with all that commands make of it."""

import shutil
from pathlib import Path

import pytest

from tests.commands.decoding import scans_of
from tests.conftest import copied, tiny_trainer, tiny_training
from vae3d.commands.compare import CompareConfig
from vae3d.commands.compare_run import compare
from vae3d.commands.decode import DecodeConfig
from vae3d.commands.decode_run import decode
from vae3d.commands.encode import EncodeConfig
from vae3d.commands.encode_run import encode
from vae3d.commands.eval import EvalConfig
from vae3d.commands.eval_run import evaluate
from vae3d.commands.inspect import InspectConfig
from vae3d.commands.inspect_run import inspect
from vae3d.commands.train_run import train
from vae3d.data.build import open_cases
from vae3d.data.config import CTConfig, SyntheticConfig
from vae3d.evaluation.config import EvaluationConfig
from vae3d.logger.console import ProgressBar


@pytest.fixture
def scan_folder(tmp_path: Path) -> Path:
    return scans_of(tmp_path / "scans")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    root = str(scans_of(folder / "scans"))
    data = CTConfig(root=root, store=None, val_fraction=0.4, test_fraction=0.0)
    return train(tiny_training(folder, data=data))


@pytest.fixture
def run(trained: Path, tmp_path: Path, scan_folder: Path) -> Path:
    return copied(trained, tmp_path)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with a report, its latents and a store."""
    folder = tmp_path_factory.mktemp("made")
    run = train(tiny_training(folder, trainer=tiny_trainer(steps=2, val_every=2)))
    scores = EvaluationConfig(media=["png"], report=False)
    evaluate(EvalConfig(run=str(run), device="cpu", evaluation=scores))
    encode(EncodeConfig(run=str(run), output=str(folder / "latents"), device="cpu"))
    shutil.copytree(run, folder / "other")
    compare(CompareConfig(run=[str(run), str(folder / "other")]))
    decode(DecodeConfig(run=str(run), input=str(folder / "latents"), device="cpu",
                        output=str(folder / "decoded")))  # fmt: skip
    shutil.rmtree(folder / "other")
    data = SyntheticConfig(shape=(16, 16, 16), count=4, store=str(folder / "store"))
    open_cases(data, ProgressBar("prepare", shown=False))
    inspect(InspectConfig(data=data, output=str(folder / "look"), count=2))
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "made")
    return tmp_path / "made"
