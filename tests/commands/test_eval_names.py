"""What training and the modes of an evaluation log into one run has names that say which."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.conftest import tiny_training
from vae3d.commands import eval_run
from vae3d.commands.eval import EvalConfig
from vae3d.commands.train_run import train
from vae3d.evaluation.config import EvaluationConfig
from vae3d.inference.config import InferenceConfig
from vae3d.logger.base import Image, Logger


class Names(Logger):
    """Collects the names that are logged."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def log(self, step: int, scores: Mapping[str, float], split: str = "train") -> None:
        self.found.append(split)

    def log_image(self, step: int, name: str, image: Image) -> None:
        self.found.append(name)

    def log_video(self, step: int, name: str, path: Path) -> None:
        self.found.append(name)

    def log_table(
        self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]
    ) -> None:
        self.found.append(name)

    def log_file(self, name: str, path: Path) -> None:
        self.found.append(name)


def test_modes_do_not_share_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(tiny_training(tmp_path))
    names = {}
    for mode in ("full", "patch"):
        logger = Names()
        monkeypatch.setattr(eval_run, "build_loggers", lambda *_, logger=logger: logger)
        settings = EvaluationConfig(
            metrics=["psnr"], media=["png", "gif"], inference=InferenceConfig(size=[8, 8, 8])
        )
        config = EvalConfig(
            run=str(run), mode=mode, split="all", device="cpu", evaluation=settings
        )
        eval_run.evaluate(config)
        names[mode] = logger.found
        # Scores, a table, the report, and a picture and a video of each case.
        assert len(logger.found) >= 5
        assert all(name.startswith(f"eval_{mode}") for name in logger.found)
    assert not {*names["full"]} & {*names["patch"]}
