"""Every command that reads scans reports values that do not fit, once for all of them."""

import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from vae3d.commands.encode import EncodeConfig
from vae3d.commands.encode_run import encode
from vae3d.commands.eval import EvalConfig
from vae3d.commands.eval_run import evaluate
from vae3d.commands.inspect import InspectConfig
from vae3d.commands.inspect_run import inspect
from vae3d.commands.prepare import PrepareConfig
from vae3d.commands.prepare_run import prepare
from vae3d.commands.reconstruct import ReconstructConfig
from vae3d.commands.reconstruct_run import reconstruct
from vae3d.commands.train_run import train
from vae3d.data.config import CTConfig, MRIConfig
from vae3d.errors import ConfigError, DataError
from vae3d.evaluation.config import EvaluationConfig
from vae3d.model.config import LevelSpec, VAEConfig
from vae3d.patching.config import RandomPatchesConfig, WholeVolumeConfig
from vae3d.run.config import TrainConfig
from vae3d.trainer.config import TrainerConfig

COUNT, TRAINED = 5, 3
REFUSED = r"of \d scans?( \(\w+\))? uses? 0\.0\d+ % of the window: are these Hounsfield units\?"


def write_scans(folder: Path, count: int = COUNT, scaled: bool = True) -> Path:
    """Write CT in HU, or scaled to [0, 1]."""
    folder.mkdir(parents=True)
    for number in range(count):
        voxels = np.random.default_rng(number).uniform(-1000, 1000, (8, 8, 8))
        if scaled:
            voxels = (voxels + 1000) / 2000
        image = nib.Nifti1Image(voxels.astype(np.float32), np.eye(4))
        nib.save(image, folder / f"c{number}.nii.gz")
    return folder


def training(folder: Path, root: Path, **data: object) -> TrainConfig:
    return TrainConfig(
        name="run",
        runs_dir=str(folder),
        data=CTConfig(root=str(root), **{"store": None, **data}),  # type: ignore[arg-type]
        model=VAEConfig(in_channels=1, latent_channels=2, levels=[LevelSpec(channels=4)]),
        patching=WholeVolumeConfig(),
        trainer=TrainerConfig(steps=1, batch_size=1, device="cpu"),
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run on CT in HU, and scans in [0, 1]."""
    folder = tmp_path_factory.mktemp("value_checks")
    train(training(folder, write_scans(folder / "hu", scaled=False)))
    write_scans(folder / "unit")
    return folder


def eval_unit(made: Path, check: str, store: str | None) -> None:
    config = EvalConfig(
        run=str(made / "run"),
        output="scores",
        split="all",
        device="cpu",
        data=CTConfig(root=str(made / "unit"), store=store, check=check),
        evaluation=EvaluationConfig(metrics=["mae"], media=[], report=False, latents=False),
    )
    evaluate(config)


def encode_unit(made: Path, check: str, store: str | None) -> None:
    data = CTConfig(root=str(made / "unit"), store=store, check=check)
    encode(EncodeConfig(run=str(made / "run"), device="cpu", data=data))


def reconstruct_unit(made: Path, check: str, store: str | None) -> None:
    del store
    root = str(made / "unit")
    reconstruct(ReconstructConfig(run=str(made / "run"), device="cpu", input=root, check=check))


def train_unit(made: Path, check: str, store: str | None) -> None:
    train(training(Path("runs"), made / "unit", store=store, check=check))


def prepare_unit(made: Path, check: str, store: str | None) -> None:
    del store
    prepare(PrepareConfig(data=CTConfig(root=str(made / "unit"), store="store", check=check)))


REFUSING = [train_unit, prepare_unit, eval_unit, encode_unit, reconstruct_unit]


@pytest.mark.parametrize("store", [None, "store"])
@pytest.mark.parametrize("command", REFUSING)
def test_values_that_cannot_be_right_are_refused(
    made: Path,
    command: Callable[[Path, str, str | None], None],
    store: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(DataError, match=REFUSED) as caught:
        command(made, "auto", store)
    fixed = command not in (train_unit, prepare_unit)
    assert ("that of the weights" in str(caught.value)) is fixed
    assert not [*Path().rglob("*.csv"), *Path().rglob("*.safetensors"), *Path().rglob("*.nii.gz")]
    with caplog.at_level(logging.WARNING):
        caplog.clear()
        command(made, "warn", store)
    assert sum("Hounsfield" in message for message in caplog.messages) == 1
    assert any(f"{n} of {n} scans use" in caplog.text for n in (COUNT, TRAINED))


@pytest.mark.parametrize("command", REFUSING)
def test_off_says_nothing(
    made: Path,
    command: Callable[[Path, str, str | None], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        command(made, "off", None)
    assert "Hounsfield" not in caplog.text


@pytest.mark.parametrize("check", ["auto", "fail", "off"])
def test_inspect_shows_and_only_warns(
    made: Path, check: str, caplog: pytest.LogCaptureFixture
) -> None:
    patching = RandomPatchesConfig(size=(4, 4, 4))
    data = CTConfig(root=str(made / "unit"), check=check)
    with caplog.at_level(logging.WARNING):
        assert (inspect(InspectConfig(data=data, patching=patching)) / "cases.csv").exists()
    assert ("5 of 5 scans use" in caplog.text) is (check != "off")


@pytest.mark.parametrize("check", ["auto", "fail"])
@pytest.mark.parametrize("store", [None, "store"])
def test_a_resumed_training_only_warns(
    made: Path, store: str | None, check: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = training(Path("runs"), made / "unit", store=store, check="off")
    train(config)
    longer = replace(
        config,
        data=replace(config.data, check=check),  # type: ignore[call-arg]
        trainer=replace(config.trainer, steps=2),
    )
    shutil.rmtree("store", ignore_errors=True)
    with caplog.at_level(logging.WARNING):
        train(longer)
    assert "are these Hounsfield units?" in caplog.text


def test_resumed_latents_and_scans_only_warn(made: Path, caplog: pytest.LogCaptureFixture) -> None:
    encode_unit(made, "off", None)
    next(Path("latents").glob("cases/*/*")).unlink()
    reconstruct_unit(made, "off", None)
    next(Path("reconstructed").glob("*.nii.gz")).unlink()
    with caplog.at_level(logging.WARNING):
        encode_unit(made, "auto", None)
        reconstruct(
            ReconstructConfig(
                run=str(made / "run"), device="cpu", input=str(made / "unit"), existing="skip"
            )
        )
    assert sum("1 of 1 scan" in message for message in caplog.messages) == 2


def test_a_long_preparation_ends_early(tmp_path: Path) -> None:
    data = CTConfig(root=str(write_scans(tmp_path / "many", count=40)), store="store")
    with pytest.raises(DataError, match="4 of 4 scans use"):
        prepare(PrepareConfig(data=data))
    assert len([*Path("store").rglob("c*.b2nd")]) < 10


def test_fractions_are_refused_for_new_settings_and_kept_for_old_runs(
    made: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = MRIConfig(root=str(made / "unit"), store=None, percentiles=(0.0, 1.0))
    config = replace(training(Path("runs"), made), data=data)
    for command in (
        lambda: train(config),
        lambda: prepare(PrepareConfig(data=data)),
    ):
        with pytest.raises(ConfigError, match=r"in percent.*did you mean \[0, 100\]\?"):
            command()
    assert not Path("runs/run/config.yaml").exists()
    # Runs of earlier versions have such percentiles.
    train(replace(config, data=replace(data, check="off")))
    with caplog.at_level(logging.WARNING):
        train(replace(config, trainer=replace(config.trainer, steps=2)))
    assert "in percent" in caplog.text
    evaluation = EvaluationConfig(metrics=["mae"], media=[], report=False, latents=False)
    evaluate(EvalConfig(run="runs/run", split="train", device="cpu", evaluation=evaluation))
    encode(EncodeConfig(run="runs/run", device="cpu"))
