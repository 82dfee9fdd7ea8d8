"""What commands print for the one who typed them: what is usually next, and what was chosen."""

import logging
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.commands.decoding import decoded, encoded
from tests.conftest import vae3d
from vae3d.commands.eval import EvalConfig
from vae3d.commands.eval_run import evaluate
from vae3d.commands.info import InfoConfig
from vae3d.commands.info_run import info
from vae3d.data.config import CTConfig
from vae3d.evaluation.config import EvaluationConfig
from vae3d.inference.config import InferenceConfig


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "vae3d")
    return caplog


def next_of(messages: list[str]) -> list[str]:
    """The words of the command that is printed last."""
    return shlex.split(messages[-1].removeprefix("next: vae3d "))


def test_decoded_scans_can_be_looked_at(run: Path, log: pytest.LogCaptureFixture) -> None:
    decoded(run, encoded(run))
    words = next_of(log.messages)
    assert words == ["inspect", "data=ct", f"data.root={run.parent / 'decoded'}"]
    done = vae3d(*words, "count=1", "patching.size=[8]", cwd=run.parent)
    assert done.returncode == 0, done.stderr


def test_a_model_is_trained_next_and_a_run_evaluated(
    run: Path, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["vae3d info", "size=[16]", "model=tiny", "model.norm=rms"])
    info(InfoConfig(size=[16], measure=False))
    assert next_of(log.messages) == ["train", "model=tiny", "model.norm=rms"]
    info(InfoConfig(run=str(run), size=[16], measure=False))
    assert next_of(log.messages) == ["eval", f"run={run}"]


@pytest.mark.parametrize(("size", "said"), [(None, "patches of 64 x 64 x 64 voxels"), ([8], "")])
def test_a_size_that_nobody_chose_is_printed(
    size: Any, said: str, run: Path, scan_folder: Path, log: pytest.LogCaptureFixture
) -> None:
    """Weights alone do not state the size of the training's patches."""
    shutil.copytree(run / "weights/best", run.parent / "alone")
    settings = EvaluationConfig(
        media=[], report=False, metrics=["psnr"], inference=InferenceConfig(size=size)
    )
    data = CTConfig(root=str(scan_folder), store=None, include=["0*"])
    for name in ("alone", "run"):
        log.clear()
        evaluate(
            EvalConfig(
                run=str(run.parent / name),
                mode="patch",
                split="all",
                data=data,
                device="cpu",
                evaluation=settings,
                output=str(run.parent / f"report_{name}"),
            )
        )
        printed = [line for line in log.messages if line.startswith("patches of")]
        assert len(printed) == (name == "alone" and bool(said))
        assert all(line.startswith(said) for line in printed)
