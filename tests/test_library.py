"""train_3d and eval_3d on any torch Dataset, and torchrun from the command line."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tests.conftest import ROOT, tiny_model, tiny_trainer
from vae3d import CustomVAE, VAEConfig, eval_3d, train_3d
from vae3d.errors import ConfigError, DataError
from vae3d.evaluation.config import EvaluationConfig


class Blobs(Dataset[Any]):
    """Images in [0, 1] of one shape, bare or in a dict."""

    def __init__(self, shape: tuple[int, ...], key: str | None = None, count: int = 5) -> None:
        self.shape, self.key, self.count = shape, key, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor | dict[str, Tensor]:
        image = torch.rand(self.shape, generator=torch.Generator().manual_seed(index))
        return {self.key: image} if self.key else image


def test_defaults_work() -> None:
    assert CustomVAE()(torch.zeros(1, 1, 8, 8, 8)).reconstruction.shape == (1, 1, 8, 8, 8)
    flat = CustomVAE(VAEConfig(spatial_dims=2))
    assert flat(torch.zeros(1, 1, 9, 8)).reconstruction.shape == (1, 1, 9, 8)


@pytest.mark.parametrize("patching", [None, "full", "random_parts"])
@pytest.mark.parametrize(("shape", "key"), [((1, 9, 8, 10), None), ((1, 17, 12), "image")])
def test_any_dataset(
    tmp_path: Path, patching: str | None, shape: tuple[int, ...], key: str | None
) -> None:
    model = train_3d(
        Blobs(shape, key),
        tmp_path / "run",
        model=tiny_model(len(shape) - 1),
        patching=patching,
        patch_options={"size": (8,)} if patching else None,
        window=(0.0, 1.0),
        trainer=tiny_trainer(steps=2, val_every=2),
    )
    assert model(torch.zeros(1, *shape)).reconstruction.shape == (1, *shape)
    quiet = EvaluationConfig(media=[])
    for mode in ("full", "patch"):
        result = eval_3d(
            tmp_path / "run", Blobs(shape, key, 3), mode=mode, window=(0.0, 1.0), evaluation=quiet
        )
        assert len(result.cases) == 3
        assert 0 < result.mean("psnr") < 40


def test_another_window_than_that_of_the_training_is_refused(tmp_path: Path) -> None:
    """Without a window that of the training is used; the default of `train_3d` is a window too."""
    run, data = tmp_path / "run", Blobs((1, 8, 8, 8))
    train_3d(
        data,
        run,
        model=tiny_model(),
        window=(0.0, 1.0),
        trainer=tiny_trainer(steps=1, val_every=1),
    )
    quiet = EvaluationConfig(media=[], report=False)
    result = eval_3d(run, data, evaluation=quiet)
    assert {(case.low, case.high) for case in result.cases} == {(0.0, 1.0)}
    assert (run / "report/full/scores.csv").exists()
    for window in ((-1.0, 1.0), (0.0, 2.0)):
        with pytest.raises(ConfigError, match=r"trained with data\.window=\[0, 1\] a\.u\."):
            eval_3d(run, data, window=window, evaluation=quiet)
    wide = eval_3d(run, data, window=(0.0, 2.0), evaluation=quiet, allow=["window"])
    assert {(case.low, case.high) for case in wide.cases} == {(0.0, 2.0)}
    assert len([*run.glob("report/full-custom-*")]) == 1
    eval_3d(run, _Brighter(), evaluation=quiet)
    assert len([*run.glob("report/full-custom-*")]) == 2


class _Brighter(Blobs):
    def __init__(self) -> None:
        super().__init__((1, 8, 8, 8))

    def __getitem__(self, index: int) -> Tensor:
        item = super().__getitem__(index + 50)
        assert isinstance(item, Tensor)
        return item


def test_wrong_datasets_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"outside data\.window"):
        train_3d(_Scaled(), tmp_path / "a", model=tiny_model(), trainer=tiny_trainer())
    with pytest.raises(DataError, match="neither image nor volume"):
        train_3d(Blobs((1, 8, 8, 8), key="x"), tmp_path / "b", trainer=tiny_trainer())
    with pytest.raises(ConfigError, match="patching must be"):
        train_3d(Blobs((1, 8, 8, 8)), tmp_path / "c", patching="some")
    with pytest.raises(ConfigError, match=r"model\.in_channels"):
        train_3d(Blobs((2, 8, 8, 8)), tmp_path / "d", model=tiny_model(), trainer=tiny_trainer())


class _Scaled(Blobs):
    def __init__(self) -> None:
        super().__init__((1, 8, 8, 8))

    def __getitem__(self, index: int) -> Tensor:
        item = super().__getitem__(index)
        assert isinstance(item, Tensor)
        return item * 255


def test_torchrun(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone",
         "--nproc-per-node", "2", "-m", "vae3d", "train", "trainer=debug", "model=tiny",
         "data.shape=[16,16,16]",
         "data.count=5", "evaluation.media=[]"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/vae3d/summary.json").exists()
    assert done.stderr.count("trained 8 steps") == 1
