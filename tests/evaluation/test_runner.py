"""Volumes where the memory of the device is used by others."""

import logging

import pytest
import torch

from tests.conftest import assert_same_output, tiny_model
from vae3d.autoencoder.vae import CustomVAE
from vae3d.inference import runner as module
from vae3d.inference.runner import ModelRunner
from vae3d.model.gaussian import DiagonalGaussian
from vae3d.runtime.memory import Memory
from vae3d.runtime.precision import Precision

CPU = torch.device("cpu")


class Full(CustomVAE):
    """A model for which there is too little memory, once."""

    asked: list[float | None]

    def encode(self, image: torch.Tensor, memory: float | None = None) -> DiagonalGaussian:
        self.asked.append(memory)
        if len(self.asked) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().encode(image, memory)


@pytest.mark.parametrize("memory", ["auto", 1.0, None])
def test_auto_tries_again_with_half(
    memory: Memory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "memory_budget", lambda asked, device: asked and 0.5)
    model = Full(tiny_model())
    model.asked = []
    runner, image = ModelRunner(model, CPU, Precision("fp32", CPU), memory), torch.rand(1, 8, 8, 8)
    if memory != "auto":
        with pytest.raises(torch.OutOfMemoryError):
            runner.reconstruct(image)
        return
    with caplog.at_level(logging.WARNING):
        found = runner.reconstruct(image)
    assert model.asked == [0.5, 0.25]
    assert "memory=auto: 0.5 GiB are not free" in caplog.text
    assert_same_output(found, runner.reconstruct(image), model)
