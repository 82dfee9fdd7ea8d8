"""Precision by name, and the steps of an optimizer in it."""

import pytest
import torch
from torch import nn

from vae3d.errors import ConfigError
from vae3d.runtime import precision
from vae3d.runtime.precision import Precision, choose_precision, has_bf16

CPU = torch.device("cpu")


def test_precision_by_name() -> None:
    assert choose_precision("fp32", CPU) == "fp32"
    assert choose_precision("bf16", CPU) == "bf16"
    assert choose_precision("auto", CPU) == ("bf16" if has_bf16(CPU) else "fp32")
    for wrong, message in (("fp16", "needs a GPU"), ("tf32", "must be one of auto, fp32")):
        with pytest.raises(ConfigError, match=message):
            choose_precision(wrong, CPU)
    layer, x = nn.Linear(2, 2), torch.ones(1, 2)
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        precision = Precision(name, CPU)
        assert not precision.skips_overflow
        with precision.autocast(CPU):
            assert layer(x).dtype == dtype


def test_gradients_are_added_and_clipped_and_steps_taken_where_finite() -> None:
    precision = Precision("fp32", CPU)
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 1.0)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0, fused=True)
    for _ in range(2):
        precision.backward(3 * layer.weight.sum())
    assert layer.weight.grad is not None
    assert layer.weight.grad.item() == 6
    assert precision.clip(layer, optimizer, 2.0).item() == 6, "the norm before clipping"
    assert layer.weight.grad.item() == pytest.approx(2, rel=1e-5)
    precision.step(optimizer, torch.tensor(False))
    assert layer.weight.item() == 1
    precision.step(optimizer, torch.tensor(True))
    assert layer.weight.item() == pytest.approx(-1, rel=1e-5)


def test_an_emulated_precision_is_reported_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda device: False)
    precision._warn_of_emulation.cache_clear()
    for _ in range(2):
        assert Precision("bf16", torch.device("cpu"), "trainer.precision").name == "bf16"
    (message,) = caplog.messages
    assert message.startswith("trainer.precision=bf16: this cpu has no bfloat16 instructions")
    assert Precision("auto", torch.device("cpu")).name == "fp32"
